//! Features from `.npy` files, the format of `numpy.save`: a matrix (T, F) of floats of 16, 32 or 64 bits,
//! little-endian, row by row. Versions 1 to 3 of the format.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::Frames;
use crate::error::{Error, Result};

/// The first bytes of every file.
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// A longer header belongs to no matrix.
const LONGEST_HEADER: usize = 1 << 16;

#[derive(Clone, Copy)]
enum Float {
    F16,
    F32,
    F64,
}

/// Reads a matrix of features.
///
/// # Shapes
/// (T, F)
///
/// # Errors
/// The file can't be read, or is no such matrix, or has a value that is not finite.
pub(crate) fn read_npy(path: &Path) -> Result<Frames> {
    let (file, size) = open(path)?;
    read_npy_from(file, size).map_err(|error| error.at(path.display()))
}

/// The shape of a matrix of features, without its values: (T, F)
///
/// # Errors
/// As [`read_npy`], but for the values.
pub(crate) fn read_npy_shape(path: &Path) -> Result<(usize, usize)> {
    let (mut file, _) = open(path)?;
    let shape = read_header(&mut file).and_then(|(header, _)| shape_of(value(&header, "shape")?));
    let (frames, bins) = shape.map_err(|error| error.at(path.display()))?;
    Ok((frames as usize, bins as usize))
}

fn open(path: &Path) -> Result<(BufReader<File>, u64)> {
    let failed = |error: std::io::Error| Error::file("read", path, &error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    Ok((BufReader::new(file), metadata.len()))
}

/// Reads a matrix of features from a source of `size` bytes.
///
/// # Errors
/// As [`read_npy`].
pub(crate) fn read_npy_from(mut source: impl Read, size: u64) -> Result<Frames> {
    let (header, start) = read_header(&mut source)?;
    let float = Float::of(value(&header, "descr")?)?;
    if value(&header, "fortran_order")? != "False" {
        let hint = "save `numpy.ascontiguousarray(matrix)`";
        return Err(Error::input("features must be in C order (row by row), but they are in Fortran order")
            .hint(hint));
    }
    let (frames, bins) = shape_of(value(&header, "shape")?)?;
    let bytes = frames.checked_mul(bins).and_then(|values| values.checked_mul(float.bytes() as u64));
    let there = size.saturating_sub(start);
    match bytes.and_then(|bytes| usize::try_from(bytes).ok()) {
        Some(bytes) if bytes as u64 == there => {
            let mut data = vec![0; bytes];
            source.read_exact(&mut data).map_err(cut_off)?;
            finite(Frames::new(bins as usize, float.convert(&data))?)
        }
        _ => Err(Error::input(format!(
            "{frames} frames of {bins} bins must have {} bytes for each value, but the data has {there} bytes",
            float.bytes()
        ))
        .hint("the file is cut off or damaged")),
    }
}

/// The header's dictionary, and where the data starts.
fn read_header(source: &mut impl Read) -> Result<(String, u64)> {
    let mut start = [0; 8];
    source.read_exact(&mut start).map_err(cut_off)?;
    if &start[..6] != MAGIC {
        return Err(Error::input("features must be a .npy file, but its first bytes are not those of one"));
    }
    let width = match start[6] {
        1 => 2,
        2 | 3 => 4,
        version => {
            return Err(Error::input(format!(
                "a .npy file must be of version 1, 2 or 3, but it is of version {version}"
            )));
        }
    };
    let mut length = [0; 4];
    source.read_exact(&mut length[..width]).map_err(cut_off)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST_HEADER {
        let message = format!("the header must have at most {LONGEST_HEADER} bytes, but it has {length}");
        return Err(Error::input(message));
    }
    let mut header = vec![0; length];
    source.read_exact(&mut header).map_err(cut_off)?;
    let header =
        String::from_utf8(header).map_err(|_| Error::input("the header must be UTF-8, but it is not"))?;
    Ok((header, (8 + width + length) as u64))
}

/// The value of a key in a Python dictionary of plain values.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str> {
    let missing =
        || Error::input(format!("the header must have `{key}`, but it has none: {}", header.trim()));
    let (_, behind) = header.split_once(&format!("'{key}'")).ok_or_else(missing)?;
    let behind = behind.trim_start().strip_prefix(':').ok_or_else(missing)?.trim_start();
    let end = match behind.starts_with('(') {
        true => behind.find(')').map(|end| end + 1),
        false => behind.find([',', '}']),
    };
    Ok(behind[..end.ok_or_else(missing)?].trim())
}

fn shape_of(text: &str) -> Result<(u64, u64)> {
    let inner = text.trim_start_matches('(').trim_end_matches(')').trim_end_matches(',');
    let sizes: Option<Vec<u64>> = inner.split(',').map(|size| size.trim().parse().ok()).collect();
    match sizes.as_deref() {
        Some([frames, bins]) if *frames > 0 && *bins > 0 => Ok((*frames, *bins)),
        _ => Err(Error::input(format!(
            "features must have the shape (frames, bins), each at least 1, but it is {text}"
        ))),
    }
}

fn finite(frames: Frames) -> Result<Frames> {
    match frames.data().iter().position(|value| !value.is_finite()) {
        None => Ok(frames),
        Some(at) => {
            let (frame, bin) = (at / frames.bins(), at % frames.bins());
            Err(Error::input(format!(
                "features must be finite, but bin {bin} of frame {frame} is {}",
                frames.data()[at]
            )))
        }
    }
}

fn cut_off(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::input("features must be a whole .npy file, but it is cut off")
        }
        _ => Error::failure(format!("the features cannot be read: {error}")),
    }
}

impl Float {
    fn of(descr: &str) -> Result<Self> {
        match descr.trim_matches(['\'', '"']) {
            "<f2" => Ok(Float::F16),
            "<f4" => Ok(Float::F32),
            "<f8" => Ok(Float::F64),
            other => Err(Error::input(format!(
                "features must be floats (`<f2`, `<f4` or `<f8`), but they are `{other}`"
            ))
            .hint("save `matrix.astype(\"<f4\")`")),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Float::F16 => 2,
            Float::F32 => 4,
            Float::F64 => 8,
        }
    }

    fn convert(self, data: &[u8]) -> Vec<f32> {
        match self {
            Float::F16 => {
                data.as_chunks().0.iter().map(|bytes| from_half(u16::from_le_bytes(*bytes))).collect()
            }
            Float::F32 => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Float::F64 => data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        }
    }
}

/// IEEE 754 binary16: 1 bit of sign, 5 of exponent, 10 of fraction.
fn from_half(half: u16) -> f32 {
    let (sign, exponent, fraction) =
        (u32::from(half >> 15) << 31, u32::from(half >> 10 & 31), u32::from(half & 1023));
    match exponent {
        0 => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as `numpy.save` writes it; the header is padded to a multiple of 64 bytes.
    fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let prefix = if version == 1 { 10 } else { 12 };
        let padded = format!(
            "{header:<width$}\n",
            width = (prefix + header.len() + 1).next_multiple_of(64) - prefix - 1
        );
        let mut bytes = [MAGIC, [version, 0].as_slice()].concat();
        match version {
            1 => bytes.extend((padded.len() as u16).to_le_bytes()),
            _ => bytes.extend((padded.len() as u32).to_le_bytes()),
        }
        [&bytes, padded.as_bytes(), data].concat()
    }

    fn dictionary(descr: &str, order: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}")
    }

    fn read(bytes: &[u8]) -> Result<Frames> {
        read_npy_from(bytes, bytes.len() as u64)
    }

    fn refused(descr: &str, order: &str, shape: &str, data: &[u8]) -> String {
        read(&npy(1, &dictionary(descr, order, shape), data)).unwrap_err().message().to_owned()
    }

    #[test]
    fn all_versions_and_widths_are_read() {
        let values = [0.5_f32, -1.0, 2.0, 65504.0, 6.103_515_6e-5, 5.960_464_5e-8];
        let expected = Frames::new(3, values.to_vec()).unwrap();
        let halves = [0x3800_u16, 0xbc00, 0x4000, 0x7bff, 0x0400, 0x0001];
        let data: [(&str, Vec<u8>); 3] = [
            ("<f2", halves.iter().flat_map(|half| half.to_le_bytes()).collect()),
            ("<f4", values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            ("<f8", values.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect()),
        ];
        for version in 1..=3 {
            for (descr, data) in &data {
                let bytes = npy(version, &dictionary(descr, "False", "(2, 3)"), data);
                assert_eq!(read(&bytes).unwrap(), expected, "version {version}, {descr}");
            }
        }
    }

    #[test]
    fn anything_but_a_matrix_of_floats_is_refused() {
        let message = refused("<i8", "False", "(1, 1)", &[0; 8]);
        assert_eq!(message, "features must be floats (`<f2`, `<f4` or `<f8`), but they are `<i8`");
        assert!(refused(">f4", "False", "(1, 1)", &[0; 4]).ends_with("but they are `>f4`"));
        assert!(refused("<f4", "True", "(1, 1)", &[0; 4]).ends_with("but they are in Fortran order"));
        for shape in ["(4,)", "()", "(1, 2, 2)", "(0, 4)", "(4, 0)", "(-1, 4)", "(1, 99999999999999999999)"] {
            assert!(
                refused("<f4", "False", shape, &[0; 16]).ends_with(&format!("but it is {shape}")),
                "{shape}"
            );
        }
        assert_eq!(
            read(b"hello world").unwrap_err().message(),
            "features must be a .npy file, but its first bytes are not those of one"
        );
        let nan = refused("<f4", "False", "(2, 1)", &[0, 0, 0, 0, 0, 0, 0xc0, 0x7f]);
        assert_eq!(nan, "features must be finite, but bin 0 of frame 1 is NaN");
        let error = read(&npy(1, "{'descr': '<f4'}", &[])).unwrap_err();
        assert_eq!(
            error.message(),
            "the header must have `fortran_order`, but it has none: {'descr': '<f4'}"
        );
    }

    #[test]
    fn a_declared_size_without_data_takes_no_memory() {
        let must = "must have 4 bytes for each value, but the data has 8 bytes";
        for shape in ["1000000000, 1000000000", "18446744073709551615, 2", "1, 1", "3, 1"] {
            let message = refused("<f4", "False", &format!("({shape})"), &[0; 8]);
            assert!(message.ends_with(must), "{message}");
        }
        let mut long = npy(2, &dictionary("<f4", "False", "(1, 1)"), &[0; 4]);
        long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            read(&long).unwrap_err().message(),
            "the header must have at most 65536 bytes, but it has 4294967295"
        );
    }

    #[test]
    fn damaged_files_never_panic() {
        let whole = npy(1, &dictionary("<f4", "False", "(2, 2)"), &[1; 16]);
        for at in 0..whole.len() {
            assert!(read(&whole[..at]).is_err());
            for value in [0, b'(', b'\'', 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = read(&bytes);
            }
        }
        assert!(read(&whole).is_ok());
    }
}
