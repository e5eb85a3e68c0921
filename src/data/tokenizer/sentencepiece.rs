//! SentencePiece models (Kudo and Richardson 2018), cut as the package cuts: Unigram models and byte-pair encoding.
//!
//! The ids of its tokens are in the order of the file, behind our special ones, and behind the 256 bytes of a model with byte
//! fallback. Its own special and control symbols have no ids: none can come from a text but `<unk>`.

mod merging;
mod normalizer;
mod proto;

use std::borrow::Cow;
use std::sync::Arc;

use self::merging::Merging;
use self::normalizer::Normalizer;
use self::proto::{Algorithm, Kind, ModelProto};
use super::bytes;
use super::marked_words::SPACE;
use super::pieces::{plain, spelled_by, unmark};
use super::ready_file::ReadyFile;
use super::scheme::{Each, Scheme};
use super::trie::Trie;
use super::unigram::{Cutter, Score};
use crate::data::vocabulary::{UNK, Vocabulary, is_special};
use crate::error::{Error, Result};

/// A SentencePiece model.
#[derive(Debug)]
pub(super) struct SentencePiece {
    file: ReadyFile,
    vocabulary: Vocabulary,
    /// Our ids of its pieces.
    ids: Vec<i64>,
    normalizer: Normalizer,
    algorithm: Cutting,
    has_bytes: bool,
    /// Whether an output's first space is none of the text.
    drops_first: bool,
}

#[derive(Debug)]
enum Cutting {
    Unigram { cutter: Cutter, pieces: Vec<usize> },
    Bpe(Merging),
}

impl SentencePiece {
    /// Reads a `.model`.
    ///
    /// # Errors
    /// It is no such file, or has something that cannot be kept, such as a model of words.
    pub(super) fn read(file: ReadyFile) -> std::result::Result<SentencePiece, String> {
        let proto = ModelProto::read(file.bytes())?;
        proto.check()?;
        let has_bytes = proto.byte_fallback;
        let mut tokens = bytes::reserved_tokens(has_bytes);
        let mut ids = Vec::with_capacity(proto.pieces.len());
        for piece in &proto.pieces {
            ids.push(match piece.kind {
                Kind::Byte => bytes::byte_of(&piece.text).map_or(UNK, bytes::id),
                Kind::Normal | Kind::UserDefined | Kind::Unused if !is_special(&piece.text) => {
                    tokens.push(piece.text.clone());
                    (tokens.len() - 1) as i64
                }
                _ => UNK,
            });
        }
        let vocabulary = Vocabulary::from_tokens(tokens).map_err(|error| error.message().to_owned())?;
        let of_user = proto.of_kind(Kind::UserDefined);
        let symbols = Trie::new(of_user.clone().map(|(n, piece)| (piece.text.as_str(), n as u32)));
        let algorithm = match proto.algorithm {
            Algorithm::Bpe => Cutting::Bpe(Merging::new(&proto.pieces, symbols.clone())),
            Algorithm::Unigram => {
                let used = of_user.chain(proto.of_kind(Kind::Normal));
                let score = |piece: &proto::Piece| match piece.kind {
                    Kind::UserDefined => Score::UserDefined,
                    _ => Score::Normal(piece.score),
                };
                let (pieces, used) = used.map(|(n, piece)| (n, (piece.text.as_str(), score(piece)))).unzip();
                Cutting::Unigram { cutter: Cutter::new(used), pieces }
            }
        };
        let drops_first = proto.add_dummy_prefix || proto.remove_extra_whitespaces;
        let normalizer = Normalizer::new(&proto, symbols)?;
        Ok(SentencePiece { file, vocabulary, ids, normalizer, algorithm, has_bytes, drops_first })
    }

    /// Gives the pieces of a normalized text: the numbers of those that are known.
    fn pieces(&self, normal: &str, each: &mut dyn FnMut(Option<usize>, &str)) {
        match &self.algorithm {
            Cutting::Unigram { cutter, pieces } => {
                cutter.cut(normal, &mut |piece, covered| each(piece.map(|piece| pieces[piece]), covered));
            }
            Cutting::Bpe(merging) => merging.cut(normal, each),
        }
    }
}

impl Scheme for SentencePiece {
    fn name(&self) -> &'static str {
        "pretrained"
    }

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Unknown characters in a row are one token.
    fn cut(&self, text: &str, each: Each) {
        let normal = self.normalizer.apply(text);
        // Pieces follow each other, so that those of a run are one part of the text.
        let (mut end, mut unknown) = (0, 0);
        self.pieces(&normal, &mut |piece, covered| {
            let id = piece.map_or(UNK, |piece| self.ids[piece]);
            let start = end;
            end += covered.len();
            if id == UNK && !self.has_bytes {
                return;
            }
            if unknown < start {
                each(UNK, &normal[unknown..start]);
            }
            unknown = end;
            match id {
                UNK => covered.chars().for_each(|one| bytes::fall_back(one.encode_utf8(&mut [0; 4]), each)),
                _ => each(id, covered),
            }
        });
        if unknown < normal.len() {
            each(UNK, &normal[unknown..]);
        }
    }

    fn piece(&self, id: i64, first: bool) -> Cow<'_, [u8]> {
        if self.has_bytes
            && let Some(byte) = bytes::piece(id)
        {
            return Cow::Borrowed(byte);
        }
        spelled_by(self.vocabulary.token(id).unwrap_or_default(), first && self.drops_first)
    }

    fn unknown<'a>(&self, symbol: &'a str, first: bool) -> Cow<'a, str> {
        unmark(symbol.strip_prefix(SPACE).filter(|_| first && self.drops_first).unwrap_or(symbol))
    }

    fn plain<'a>(&self, covered: &'a str) -> Cow<'a, str> {
        plain(covered)
    }

    fn spelled(&self, text: &str) -> String {
        let normal = self.normalizer.apply(text);
        self.unknown(&normal, true).into_owned()
    }

    fn extended(&self, symbols: &[String]) -> Result<Arc<dyn Scheme>> {
        let lacks =
            format!("a SentencePiece model has its own vocabulary, and cannot have {} more", symbols.len());
        Err(Error::failure(lacks))
    }

    fn settings(&self) -> serde_json::Map<String, serde_json::Value> {
        self.file.settings()
    }
}
