//! The elements of a JSON array, one at a time, wherever its lines break.

use std::io::{BufRead, Result};

use super::{LONGEST, Lines, ReadError, ReadResult, bad_row, not_utf8};
use crate::error::Error;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Where reading is in an array.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct ArrayPosition {
    state: State,
    /// The line, from 1.
    line: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Before,
    /// Behind the opening bracket.
    First,
    /// Behind an element.
    After,
    /// Behind a comma.
    Comma,
    End,
}

impl Default for ArrayPosition {
    fn default() -> ArrayPosition {
        ArrayPosition { state: State::Before, line: 1 }
    }
}

impl Lines {
    /// The first byte that is no white space, without reading it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(in super::super) fn first_byte(&mut self) -> crate::error::Result<Option<u8>> {
        let bytes = self.reader.fill_buf().map_err(|error| Error::file("read", &self.file, &error))?;
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        Ok(bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace()))
    }

    /// The next element of an array, which becomes the current line; its number is that where it starts.
    pub(in super::super) fn next_element(&mut self, at: &mut ArrayPosition) -> ReadResult<Option<&str>> {
        if !self.find_element(at)? {
            return Ok(None);
        }
        self.number = at.line;
        let whole = self.read_element(at).map_err(|error| Error::file("read", &self.file, &error))?;
        at.state = State::After;
        if !whole {
            let must = match self.buffer.len() > LONGEST {
                true => format!("an element may have at most {} MiB, but this one is longer", LONGEST >> 20),
                false => "an array must end with `]`, but the file ends".to_owned(),
            };
            return Err(ReadError::End(bad_row(&must, &self.current(), &self.place())));
        }
        self.replace();
        std::str::from_utf8(&self.buffer)
            .map(Some)
            .map_err(|error| ReadError::Row(not_utf8(&self.buffer, error.valid_up_to(), &self.place())))
    }

    /// Goes to the first byte of the next element; false at the end.
    fn find_element(&mut self, at: &mut ArrayPosition) -> ReadResult<bool> {
        loop {
            let next = self.skip_white_space(at).map_err(|error| Error::file("read", &self.file, &error))?;
            at.state = match (at.state, next) {
                (State::Before, Some(b'[')) => State::First,
                (State::First | State::After, Some(b']')) => State::End,
                (State::Comma, Some(b',' | b']') | None) => {
                    return Err(self.not_an_array("an element after a comma", next, at));
                }
                (State::First | State::Comma, Some(_)) => return Ok(true),
                (State::After, Some(b',')) => State::Comma,
                (State::End, None) => return Ok(false),
                (State::Before, _) => return Err(self.not_an_array("`[` at its start", next, at)),
                (State::End, _) => return Err(self.not_an_array("nothing after `]`", next, at)),
                (State::First | State::After, _) => {
                    return Err(self.not_an_array("`,` or `]` after an element", next, at));
                }
            };
            self.reader.consume(1);
        }
    }

    fn not_an_array(&mut self, must: &str, found: Option<u8>, at: &ArrayPosition) -> ReadError {
        self.number = at.line;
        let found = match found {
            Some(byte) => format!("there is `{}`", char::from(byte).escape_default()),
            None => "the file ends".to_owned(),
        };
        ReadError::End(Error::input(format!("a JSON array must have {must}, but {found}")).at(self.place()))
    }

    /// The next byte that is no white space, without reading it; `None` at the end.
    fn skip_white_space(&mut self, at: &mut ArrayPosition) -> Result<Option<u8>> {
        loop {
            let bytes = self.reader.fill_buf()?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let is_start = at.state == State::Before && bytes.starts_with(BYTE_ORDER_MARK);
            let mark = if is_start { BYTE_ORDER_MARK.len() } else { 0 };
            let blank = bytes[mark..].iter().take_while(|byte| byte.is_ascii_whitespace()).count() + mark;
            at.line += bytes[..blank].iter().filter(|&&byte| byte == b'\n').count() as u64;
            let found = bytes.get(blank).copied();
            self.reader.consume(blank);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Reads an element into the buffer; false if it does not end, or is too long.
    fn read_element(&mut self, at: &mut ArrayPosition) -> Result<bool> {
        self.buffer.clear();
        let mut nesting = Nesting::default();
        loop {
            let bytes = self.reader.fill_buf()?;
            if bytes.is_empty() || self.buffer.len() > LONGEST {
                return Ok(nesting.closed);
            }
            let length = bytes.iter().position(|&byte| nesting.ends_before(byte));
            let taken = length.unwrap_or(bytes.len());
            at.line += bytes[..taken].iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.buffer.extend_from_slice(&bytes[..taken]);
            self.reader.consume(taken);
            if length.is_some() {
                return Ok(true);
            }
        }
    }
}

/// Brackets and strings that are open.
#[derive(Debug, Default)]
struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The bracket that opened the element is closed.
    closed: bool,
}

impl Nesting {
    /// Whether the element has ended before this byte.
    fn ends_before(&mut self, byte: u8) -> bool {
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return false;
        }
        match byte {
            _ if self.closed => return true,
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth > 0 => {
                self.depth -= 1;
                self.closed = self.depth == 0;
            }
            b',' | b']' => return self.depth == 0,
            _ => {}
        }
        false
    }
}
