//! Decodes files whose lines end in CR alone, as on old Macs, to LF.
//!
//! The first line decides for the whole file: it ends in a CR without LF, either directly after it or elsewhere in the
//! bytes read with it. In any other file a CR is a character of its line. Bytes only.

use std::io::{Read, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The bytes of a file.
pub(super) struct LineEndDecoder {
    bytes: Box<dyn Read + Send>,
    /// Whether lines end in CR; `None` before the end of the first line.
    by_cr: Option<bool>,
    /// A CR was read last; the next byte decides.
    held: bool,
    /// Set if each CR ends a line; shared with other threads.
    is_by_cr: Arc<AtomicBool>,
}

impl LineEndDecoder {
    pub(crate) fn new(bytes: Box<dyn Read + Send>) -> LineEndDecoder {
        LineEndDecoder { bytes, by_cr: None, held: false, is_by_cr: Arc::default() }
    }

    /// A flag that becomes true once it is known that each CR ends a line.
    pub(crate) fn by_cr(&self) -> Arc<AtomicBool> {
        self.is_by_cr.clone()
    }

    /// Looks for the first line's end. Returns how many bytes can be passed on: all but a CR at their end.
    fn decide(&mut self, bytes: &[u8]) -> usize {
        let Some(place) = bytes.iter().position(|byte| [b'\r', b'\n'].contains(byte)) else {
            return bytes.len();
        };
        let rest = &bytes[place..];
        if rest == b"\r" {
            self.held = true;
            return place;
        }
        let by_cr = !rest.contains(&b'\n');
        self.by_cr = Some(by_cr);
        self.is_by_cr.store(by_cr, Ordering::Relaxed);
        bytes.len()
    }

    /// Replaces each CR, and each CR LF, by LF; returns the new number of bytes.
    fn translate(&mut self, bytes: &mut [u8]) -> usize {
        let mut kept = 0;
        for place in 0..bytes.len() {
            let byte = bytes[place];
            let after_cr = std::mem::replace(&mut self.held, byte == b'\r');
            if !(after_cr && byte == b'\n') {
                bytes[kept] = if byte == b'\r' { b'\n' } else { byte };
                kept += 1;
            }
        }
        kept
    }
}

impl Read for LineEndDecoder {
    /// `to` must have room for two bytes.
    fn read(&mut self, to: &mut [u8]) -> Result<usize> {
        loop {
            // A held CR comes first.
            let waiting = usize::from(self.by_cr.is_none() && std::mem::take(&mut self.held));
            to[..waiting].fill(b'\r');
            let read = match self.bytes.read(&mut to[waiting..]) {
                Err(error) => {
                    self.held |= waiting > 0;
                    return Err(error);
                }
                Ok(read) => read,
            };
            if read == 0 {
                return Ok(waiting);
            }
            let mut there = waiting + read;
            if self.by_cr.is_none() {
                there = self.decide(&to[..there]);
            }
            if self.by_cr == Some(true) {
                there = self.translate(&mut to[..there]);
            }
            if there > 0 {
                return Ok(there);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns its bytes in parts of this length.
    struct Parts(Vec<u8>, usize);

    impl Read for Parts {
        fn read(&mut self, to: &mut [u8]) -> Result<usize> {
            let length = self.1.min(self.0.len()).min(to.len());
            to[..length].copy_from_slice(&self.0[..length]);
            self.0.drain(..length);
            Ok(length)
        }
    }

    fn read(text: &str, part: usize) -> (String, bool) {
        let mut ends = LineEndDecoder::new(Box::new(Parts(text.as_bytes().to_vec(), part)));
        let (by_cr, mut found, mut room) = (ends.by_cr(), Vec::new(), [0; 7]);
        loop {
            match ends.read(&mut room).unwrap() {
                0 => return (String::from_utf8(found).unwrap(), by_cr.load(Ordering::Relaxed)),
                length => found.extend_from_slice(&room[..length]),
            }
        }
    }

    #[test]
    fn each_cr_ends_a_line_if_the_first_line_ends_in_cr_alone() {
        for part in 1..12 {
            assert_eq!(read("ab\rc\r\rd\r", part), ("ab\nc\n\nd\n".to_owned(), true), "{part}");
            assert_eq!(read("\ra", part), ("\na".to_owned(), true));
        }
        // Lines with other ends after them: each end counts as one.
        assert_eq!(read("ab\rcdefgh\r\nx\ny\n", 6), ("ab\ncdefgh\nx\ny\n".to_owned(), true));
    }

    #[test]
    fn other_files_are_passed_through_unchanged() {
        for part in 1..12 {
            for text in
                ["", "ab", "a\nb\rc\n", "a\r\nb\rc\r\n", "\r", "ab\r", "\n\r\r", "abcdefghijklmn\r\n\r"]
            {
                assert_eq!(read(text, part), (text.to_owned(), false), "{text:?} {part}");
            }
        }
        assert_eq!(read("a\rb\nc\n", 6), ("a\rb\nc\n".to_owned(), false));
    }
}
