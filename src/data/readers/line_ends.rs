//! Decodes files whose lines end in CR alone, as on old Macs, to LF.
//!
//! The bytes decide, however they arrive: lines end in CR if the first line end is a CR that is not the last byte, and no LF
//! follows it within [`WINDOW`] bytes. In any other file a CR is a character of its line. So a stream of such lines is passed on
//! when it has this many bytes, or ends. Bytes only.

use std::collections::VecDeque;
use std::io::{Read, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How far behind the first CR an LF is looked for, in bytes.
pub(super) const WINDOW: usize = 1 << 16;

/// The bytes of a file.
pub(super) struct LineEndDecoder {
    bytes: Box<dyn Read + Send>,
    /// [`WINDOW`], but for tests.
    window: usize,
    /// Whether lines end in CR; `None` before the end of the first line.
    by_cr: Option<bool>,
    /// The bytes from the first CR on that were read to decide.
    ahead: VecDeque<u8>,
    /// A CR was read last, and lines end in CR.
    after_cr: bool,
    /// Set if each CR ends a line; shared with other threads.
    is_by_cr: Arc<AtomicBool>,
}

impl LineEndDecoder {
    pub(crate) fn new(bytes: Box<dyn Read + Send>, window: usize) -> LineEndDecoder {
        let ahead = VecDeque::new();
        LineEndDecoder { bytes, window, by_cr: None, ahead, after_cr: false, is_by_cr: Arc::default() }
    }

    /// A flag that becomes true once it is known that each CR ends a line.
    pub(crate) fn by_cr(&self) -> Arc<AtomicBool> {
        self.is_by_cr.clone()
    }

    /// Looks for the first line's end. Returns how many bytes can be passed on: those before a CR, or all.
    fn pass_first_line(&mut self, bytes: &[u8]) -> usize {
        match bytes.iter().position(|byte| [b'\r', b'\n'].contains(byte)) {
            None => bytes.len(),
            Some(place) if bytes[place] == b'\r' => {
                self.ahead.extend(&bytes[place..]);
                place
            }
            Some(_) => {
                self.by_cr = Some(false);
                bytes.len()
            }
        }
    }

    /// Reads from the first CR on until an LF, the end of the file or that of the window.
    fn decide(&mut self) -> Result<()> {
        let mut part = [0; 1 << 12];
        let mut is_by_lf = self.ahead.contains(&b'\n');
        while !is_by_lf && self.ahead.len() < self.window {
            let most = self.window - self.ahead.len();
            let read = self.bytes.by_ref().take(most as u64).read(&mut part)?;
            if read == 0 {
                break;
            }
            self.ahead.extend(&part[..read]);
            is_by_lf = part[..read].contains(&b'\n');
        }
        let by_cr = !is_by_lf && self.ahead.len() > 1;
        self.by_cr = Some(by_cr);
        self.is_by_cr.store(by_cr, Ordering::Relaxed);
        Ok(())
    }

    /// Replaces each CR, and each CR LF, by LF; returns the new number of bytes.
    fn translate(&mut self, bytes: &mut [u8]) -> usize {
        let mut kept = 0;
        for place in 0..bytes.len() {
            let byte = bytes[place];
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            if !(after_cr && byte == b'\n') {
                bytes[kept] = if byte == b'\r' { b'\n' } else { byte };
                kept += 1;
            }
        }
        kept
    }
}

impl Read for LineEndDecoder {
    fn read(&mut self, to: &mut [u8]) -> Result<usize> {
        loop {
            if self.by_cr.is_none() && !self.ahead.is_empty() {
                self.decide()?;
            }
            let read = if self.ahead.is_empty() { self.bytes.read(to)? } else { self.ahead.read(to)? };
            let passed = match self.by_cr {
                None => self.pass_first_line(&to[..read]),
                Some(true) => self.translate(&mut to[..read]),
                Some(false) => read,
            };
            if passed > 0 || read == 0 {
                return Ok(passed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL_WINDOW: usize = 20;

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
        let mut ends = LineEndDecoder::new(Box::new(Parts(text.as_bytes().to_vec(), part)), SMALL_WINDOW);
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
        // Lines with other ends far behind them: each end counts as one.
        let long = "c".repeat(SMALL_WINDOW - 1);
        for part in 1..12 {
            let found = read(&format!("ab\r{long}\r\nx\ny\n"), part);
            assert_eq!(found, (format!("ab\n{long}\nx\ny\n"), true), "{part}");
            let near = format!("ab\r{}\nx\ry\n", &long[1..]);
            assert_eq!(read(&near, part), (near, false), "{part}");
        }
    }

    #[test]
    fn other_files_are_passed_through_unchanged() {
        for part in 1..12 {
            for text in [
                "",
                "ab",
                "a\nb\rc\n",
                "a\r\nb\rc\r\n",
                "\r",
                "ab\r",
                "\n\r\r",
                "abcdefghijklmn\r\n\r",
                // A CR within the first line, in the bytes that are read first and behind them.
                "a\rb\nc\n",
                "a\rbcdefghijklmn\nc\n",
                "ab\rcdefgh\r\nx\ny\n",
            ] {
                assert_eq!(read(text, part), (text.to_owned(), false), "{text:?} {part}");
            }
        }
    }
}
