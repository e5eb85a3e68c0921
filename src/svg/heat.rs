//! Heat maps: a grid of numbers as shades of one colour.
//!
//! The grid is a greyscale PNG in a `data:` URI, a byte for each number, and masks a rectangle whose colour the page's
//! style decides. Its image data is stored, not compressed: a spectrogram hardly shrinks.
//!
//! Source: PNG (ISO/IEC 15948), zlib (RFC 1950), DEFLATE (RFC 1951), Base64 (RFC 4648).

use std::fmt::Write as _;

use crc::{CRC_32_ISO_HDLC, Crc, Table};

static CRC32: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// A rectangle of the page: left and top, width and height.
pub(crate) type Frame = [f64; 4];

/// A grid of shades.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Heat {
    columns: usize,
    /// Row after row from the top; 255 is the full colour.
    levels: Vec<u8>,
}

impl Heat {
    /// The grid of these numbers, row after row from the top: `low` has no colour, `high` the full one. What is not a
    /// number has none.
    pub(crate) fn new(columns: usize, numbers: impl Iterator<Item = f32>, low: f32, high: f32) -> Heat {
        let level = |number: f32| {
            let share = (number - low) / (high - low);
            // A cast makes 0 of NaN.
            (255.0 * share.clamp(0.0, 1.0)).round() as u8
        };
        Heat { columns, levels: numbers.map(level).collect() }
    }

    /// Draws it into a rectangle in the colour of `attributes`; `id` is unique on the page. Cells are smoothed unless
    /// `crisp`.
    pub(crate) fn draw(
        &self,
        out: &mut String,
        id: &str,
        [x, y, width, height]: Frame,
        attributes: &str,
        crisp: bool,
    ) {
        if self.levels.is_empty() {
            return;
        }
        let style = if crisp { " style=\"image-rendering: pixelated\"" } else { "" };
        let place = format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"");
        let image = base64(&self.png());
        let _ = writeln!(
            out,
            "<mask id=\"{id}\"><image {place} preserveAspectRatio=\"none\"{style} \
             href=\"data:image/png;base64,{image}\"/></mask>\n<rect {place} {attributes} mask=\"url(#{id})\"/>"
        );
    }

    /// The grid as a greyscale PNG of 8 bits.
    fn png(&self) -> Vec<u8> {
        let rows = self.levels.len() / self.columns;
        let mut header = Vec::new();
        header.extend((self.columns as u32).to_be_bytes());
        header.extend((rows as u32).to_be_bytes());
        // 8 bits, greyscale, and the only methods of compression, filtering and interlacing that need no code.
        header.extend([8, 0, 0, 0, 0]);
        // Each row begins with the number of its filter.
        let scanlines: Vec<u8> = self
            .levels
            .chunks_exact(self.columns)
            .flat_map(|row| std::iter::once(&0).chain(row))
            .copied()
            .collect();
        let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, content) in [(b"IHDR", header), (b"IDAT", stored(&scanlines)), (b"IEND", Vec::new())] {
            let checked = [&kind[..], &content].concat();
            out.extend((content.len() as u32).to_be_bytes());
            out.extend(&checked);
            out.extend(CRC32.checksum(&checked).to_be_bytes());
        }
        out
    }
}

/// A zlib stream of these bytes in stored blocks.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let blocks = bytes.chunks(usize::from(u16::MAX));
    let last = blocks.len().saturating_sub(1);
    for (n, block) in blocks.enumerate() {
        let length = block.len() as u16;
        out.push(u8::from(n == last));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    out.extend(adler32(bytes).to_be_bytes());
    out
}

fn adler32(bytes: &[u8]) -> u32 {
    const PRIME: u32 = 65_521;
    let (mut low, mut high) = (1, 0);
    for byte in bytes {
        low = (low + u32::from(*byte)) % PRIME;
        high = (high + low) % PRIME;
    }
    high << 16 | low
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, n| bits << 8 | usize::from(three.get(n).copied().unwrap_or(0)));
        for n in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * n) & 63]);
            out.push(if n <= three.len() { digit } else { '=' });
        }
    }
    out
}

/// A picture whose masks have a prefix before their ids, which differ then from those of other pictures on a page.
pub(crate) fn with_ids_of_its_own(picture: &str, prefix: &str) -> String {
    let masks = picture.split("<mask id=\"").skip(1).filter_map(|rest| rest.split('"').next());
    // No text of a picture has `<` or `>`.
    masks.fold(picture.to_owned(), |renamed, id| {
        renamed
            .replace(&format!("<mask id=\"{id}\">"), &format!("<mask id=\"{prefix}{id}\">"))
            .replace(&format!("mask=\"url(#{id})\"/>"), &format!("mask=\"url(#{prefix}{id})\"/>"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pictures_on_a_page_keep_their_masks_apart() {
        let mut picture = "<text>url(#a)</text>\n".to_owned();
        for id in ["a", "aa"] {
            let frame = [0.0, 0.0, 1.0, 1.0];
            Heat::new(1, [0.5].into_iter(), 0.0, 1.0).draw(&mut picture, id, frame, "", true);
        }
        let renamed = with_ids_of_its_own(&picture, "p2-");
        for (part, count) in [
            ("<text>url(#a)</text>", 1),
            ("<mask id=\"p2-a\">", 1),
            ("mask=\"url(#p2-a)\"/>", 1),
            ("<mask id=\"p2-aa\">", 1),
            ("mask=\"url(#p2-aa)\"/>", 1),
            ("p2-", 4),
        ] {
            assert_eq!(renamed.matches(part).count(), count, "{part} in {renamed}");
        }
    }

    #[test]
    fn bytes_are_written_as_in_rfc_4648() {
        let written = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(written, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    /// `zlib.adler32` of Python.
    #[test]
    fn the_checksum_equals_that_of_zlib() {
        assert_eq!([&b""[..], b"Wikipedia", &[255; 70_000]].map(adler32), [1, 0x11e6_0398, 0x2a28_6e81]);
    }

    #[test]
    fn a_grid_is_a_png_with_a_row_after_another() {
        let png = Heat::new(2, [0.0, 1.0, 0.5, 7.0, -1.0, f32::NAN].into_iter(), 0.0, 1.0).png();
        let header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x03\x08\0\0\0\0";
        assert!(png.starts_with(header));
        let rows = [0, 0, 255, 0, 128, 255, 0, 0, 0];
        let data = [&[0x78, 0x01, 1, 9, 0, 246, 255][..], &rows, &adler32(&rows).to_be_bytes()].concat();
        let place = header.len() + 4;
        assert_eq!(png[place..][..8], *b"\0\0\0\x14IDAT");
        assert_eq!(png[place + 8..][..20], data);
        // The end of every PNG.
        assert!(png.ends_with(b"\0\0\0\0IEND\xae\x42\x60\x82"));
    }

    #[test]
    fn long_data_is_in_several_blocks() {
        let stream = stored(&[7; 70_000]);
        assert_eq!(stream.len(), 2 + 5 + 65_535 + 5 + 4_465 + 4);
        assert_eq!((stream[2], stream[2 + 5 + 65_535]), (0, 1), "only the last block is final");
    }

    #[test]
    fn an_empty_grid_draws_nothing_and_one_of_a_single_value_is_even() {
        let mut out = String::new();
        Heat::new(0, std::iter::empty(), 0.0, 1.0).draw(&mut out, "a", [0.0; 4], "", true);
        assert_eq!(out, "");
        assert_eq!(Heat::new(3, [5.0; 3].into_iter(), 5.0, 5.0).levels, [0; 3]);
    }
}
