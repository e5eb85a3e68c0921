//! The file of a SentencePiece model: a message `ModelProto` of protocol buffers, of which a tokenizer needs a few fields.
//!
//! Reading is strict: a length beyond the end, a text that is not UTF-8 or a field of another type is an error. Other fields are
//! passed over, as protocol buffers want it.

use std::collections::HashSet;

use super::super::bytes;

/// What a tokenizer needs of a model.
#[derive(Debug)]
pub(super) struct ModelProto {
    pub pieces: Vec<Piece>,
    pub algorithm: Algorithm,
    pub byte_fallback: bool,
    pub treat_whitespace_as_suffix: bool,
    pub add_dummy_prefix: bool,
    pub remove_extra_whitespaces: bool,
    pub escape_whitespaces: bool,
    /// The rules of the normalizer, as a double array and texts; empty without any.
    pub charsmap: Vec<u8>,
    /// Whether outputs are normalized, too.
    denormalizes: bool,
}

/// A piece.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: Kind,
}

/// The kind of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// How a text is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Unigram,
    Bpe,
}

type Checked<T> = Result<T, String>;

impl ModelProto {
    /// Reads the bytes of a `.model`.
    ///
    /// # Errors
    /// They are no such message.
    pub(super) fn read(bytes: &[u8]) -> Checked<ModelProto> {
        let mut model = ModelProto {
            pieces: Vec::new(),
            algorithm: Algorithm::Unigram,
            byte_fallback: false,
            treat_whitespace_as_suffix: false,
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
            charsmap: Vec::new(),
            denormalizes: false,
        };
        each_field(bytes, &mut |number, value| match number {
            1 => Piece::read(value.bytes()?).map(|piece| model.pieces.push(piece)),
            2 => model.read_trainer(value.bytes()?),
            3 => model.read_normalizer(value.bytes()?),
            5 => each_field(value.bytes()?, &mut |number, value| {
                model.denormalizes |= number == 2 && !value.bytes()?.is_empty();
                Ok(())
            }),
            _ => Ok(()),
        })?;
        Ok(model)
    }

    fn read_trainer(&mut self, bytes: &[u8]) -> Checked<()> {
        each_field(bytes, &mut |number, value| {
            match number {
                3 => {
                    self.algorithm = match value.number()? {
                        1 => Algorithm::Unigram,
                        2 => Algorithm::Bpe,
                        3 => return Err("its type must be unigram or bpe, but it is word".to_owned()),
                        4 => return Err("its type must be unigram or bpe, but it is char".to_owned()),
                        other => return Err(format!("its type must be unigram or bpe, but it is {other}")),
                    }
                }
                24 => self.treat_whitespace_as_suffix = value.number()? != 0,
                35 => self.byte_fallback = value.number()? != 0,
                _ => {}
            }
            Ok(())
        })
    }

    fn read_normalizer(&mut self, bytes: &[u8]) -> Checked<()> {
        each_field(bytes, &mut |number, value| {
            match number {
                2 => self.charsmap = value.bytes()?.to_vec(),
                3 => self.add_dummy_prefix = value.number()? != 0,
                4 => self.remove_extra_whitespaces = value.number()? != 0,
                5 => self.escape_whitespaces = value.number()? != 0,
                _ => {}
            }
            Ok(())
        })
    }

    /// The pieces of a kind, with their numbers.
    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (usize, &Piece)> + Clone {
        self.pieces.iter().enumerate().filter(move |(_, piece)| piece.kind == kind)
    }

    /// Checks what SentencePiece itself checks, and that nothing is asked for that we do not have.
    ///
    /// # Errors
    /// The first problem.
    pub(super) fn check(&self) -> Checked<()> {
        let mut seen = HashSet::new();
        for piece in &self.pieces {
            if piece.text.is_empty() || !seen.insert(piece.text.as_str()) {
                return Err(format!(
                    "it must have each piece once, and no empty one, but it has {:?}",
                    piece.text
                ));
            }
            if !piece.score.is_finite() {
                return Err(format!(
                    "the score of a piece must be finite, but that of {:?} is not",
                    piece.text
                ));
            }
            if piece.kind == Kind::Byte && !bytes::is_token(&piece.text) {
                return Err(format!("a byte must be named `<0x41>` or so, but one is {:?}", piece.text));
            }
        }
        let count = |kind| self.of_kind(kind).count();
        if count(Kind::Unknown) != 1 {
            return Err(format!("it must have one unknown piece, but it has {}", count(Kind::Unknown)));
        }
        if count(Kind::Normal) == 0 {
            return Err("it must have pieces of texts, but it has none".to_owned());
        }
        let (there, wanted) = (count(Kind::Byte), if self.byte_fallback { 256 } else { 0 });
        if there != wanted {
            return Err(format!("it must have {wanted} pieces that are bytes, but it has {there}"));
        }
        match self.denormalizes {
            true => Err("it must not normalize outputs, but it has a denormalizer".to_owned()),
            false => Ok(()),
        }
    }
}

impl Piece {
    fn read(bytes: &[u8]) -> Checked<Piece> {
        let mut piece = Piece { text: String::new(), score: 0.0, kind: Kind::Normal };
        each_field(bytes, &mut |number, value| {
            match number {
                1 => {
                    let text = std::str::from_utf8(value.bytes()?);
                    piece.text = text.map_err(|_| "a piece must be UTF-8".to_owned())?.to_owned();
                }
                2 => piece.score = value.float()?,
                3 => {
                    piece.kind = match value.number()? {
                        1 => Kind::Normal,
                        2 => Kind::Unknown,
                        3 => Kind::Control,
                        4 => Kind::UserDefined,
                        5 => Kind::Unused,
                        6 => Kind::Byte,
                        other => {
                            return Err(format!("the type of a piece must be 1 to 6, but it is {other}"));
                        }
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(piece)
    }
}

/// The value of a field.
enum Field<'a> {
    Number(u64),
    Four([u8; 4]),
    Eight,
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn number(&self) -> Checked<u64> {
        match self {
            Field::Number(number) => Ok(*number),
            _ => Err("a field of a number must have one".to_owned()),
        }
    }

    fn float(&self) -> Checked<f32> {
        match self {
            Field::Four(bytes) => Ok(f32::from_le_bytes(*bytes)),
            _ => Err("a field of a float must have four bytes".to_owned()),
        }
    }

    fn bytes(&self) -> Checked<&'a [u8]> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            _ => Err("a field of bytes must have a length".to_owned()),
        }
    }
}

/// Gives number and value of each field of a message.
fn each_field(mut rest: &[u8], each: &mut dyn FnMut(u64, Field) -> Checked<()>) -> Checked<()> {
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let value = match key & 7 {
            0 => Field::Number(varint(&mut rest)?),
            1 => take(&mut rest, 8).map(|_| Field::Eight)?,
            2 => {
                let length = varint(&mut rest)?;
                Field::Bytes(take(&mut rest, length)?)
            }
            5 => {
                let bytes = take(&mut rest, 4)?.try_into();
                Field::Four(bytes.map_err(|_| "it ends within a number".to_owned())?)
            }
            other => {
                return Err(format!(
                    "it must be a Protocol Buffers message, but it has a field of type {other}"
                ));
            }
        };
        each(key >> 3, value)?;
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Checked<&'a [u8]> {
    let length = usize::try_from(length).ok().filter(|&length| length <= rest.len());
    let Some((taken, left)) = length.map(|length| rest.split_at(length)) else {
        return Err("it must be a Protocol Buffers message, but it ends within a field".to_owned());
    };
    *rest = left;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Checked<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err("it must be a Protocol Buffers message, but it has a number of more than 64 bits".to_owned())
}
