//! Files as they are, or compressed by gzip or Zstandard: recognized by their first bytes, whatever their names.

use std::fs::File;
use std::io::{Chain, Cursor, Read, Result};
use std::path::Path;

use flate2::read::MultiGzDecoder;

const GZIP: &[u8] = &[0x1F, 0x8B];
const ZSTANDARD: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];

/// The extensions of compressed files.
pub(super) const EXTENSIONS: [&str; 3] = ["gz", "zst", "zstd"];

/// Opens a file; what is read is decompressed. A file may have several compressed parts, one after the other.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>> {
    let mut file = File::open(path)?;
    let mut first = Vec::new();
    file.by_ref().take(4).read_to_end(&mut first)?;
    let (is_gzip, is_zstandard) = (first.starts_with(GZIP), first.starts_with(ZSTANDARD));
    let whole: Chain<Cursor<Vec<u8>>, File> = Cursor::new(first).chain(file);
    Ok(if is_gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else if is_zstandard {
        Box::new(zstd::Decoder::new(whole)?)
    } else {
        Box::new(whole)
    })
}
