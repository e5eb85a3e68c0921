//! One form for all errors: what must hold, what is there, where, and a hint.
//!
//! Callers check the kind of an error: `Input` is for the user to fix (exit code 2), all others are failures of the
//! machine or of seqloom (exit code 1). The texts of libtorch and of panics are classified once, where they arrive.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The result type of seqloom.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Wrong input of the user: a config, a data file, an argument. Exit code 2.
    Input,
    /// A failure: the disk, the device, a damaged file. Exit code 1.
    Failure,
    /// Out of memory. Exit code 1.
    OutOfMemory,
    /// A number is NaN or infinite: a loss, a score. Exit code 1.
    NotFinite,
}

/// An error for users: a sentence, and often a hint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

impl Error {
    /// Wrong input of the user; `message` states what must hold, what is there, and where.
    pub fn input(message: impl Into<String>) -> Self {
        Error { kind: Kind::Input, message: message.into(), hint: None }
    }

    /// A failure that is not the user's.
    pub fn failure(message: impl Into<String>) -> Self {
        Error { kind: Kind::Failure, ..Error::input(message) }
    }

    /// Out of memory.
    pub(crate) fn out_of_memory(message: impl Into<String>) -> Self {
        Error { kind: Kind::OutOfMemory, ..Error::input(message) }
    }

    /// A number that must be finite is NaN or infinite.
    pub(crate) fn not_finite(message: impl Into<String>) -> Self {
        Error { kind: Kind::NotFinite, ..Error::input(message) }
    }

    /// Out of memory or another failure, by the text of `message`.
    fn of_libtorch(message: String) -> Self {
        let kind = if lacks_memory(&message) { Kind::OutOfMemory } else { Kind::Failure };
        Error { kind, ..Error::input(message) }
    }

    /// A file cannot be read or written. A missing file, or a folder in its place, is an input error.
    pub(crate) fn file(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        let message =
            format!("cannot {doing} {}: {}{}", path.display(), io_reason(error), looked_for_in(path, error));
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory => Error::input(message),
            _ => Error::failure(message),
        }
    }

    /// Adds a hint: what the user can do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts the place (`file:line`) in front of the message.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Input => 2,
            Kind::Failure | Kind::OutOfMemory | Kind::NotFinite => 1,
        }
    }

    /// The sentence without the hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Its first line, for lists of errors.
    pub(crate) fn first_line(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

/// A text that is safe for a terminal: control characters, which names, files and models may contain, are escaped. Line
/// breaks stay.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let moves = |character: char| character.is_control() && character != '\n';
    if !text.contains(moves) {
        return Cow::Borrowed(text);
    }
    let shown = |character: char| match moves(character) {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// A text that is safe for a terminal and stays on one line.
pub(crate) fn printable_line(text: &str) -> Cow<'_, str> {
    match printable(text) {
        text if text.contains('\n') => Cow::Owned(text.replace('\n', "\\n")),
        text => text,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", printable(&self.message))?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {}", printable(hint)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Where a value of a config was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the file, at this byte.
    File(usize),
    /// In a file that it extends, of this number from 1, at this byte.
    Base(usize, usize),
    /// In the `--set` of this number.
    Set(usize),
    /// In no text that users see.
    Unseen,
}

/// An error in a config: a value of the wrong form, or a broken rule among values, which the module that owns the keys
/// reports by their names. The reader of the config adds the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// Where the values were written, as soon as it is known.
    pub origin: Option<Origin>,
    /// The keys that it is about: those of a broken rule are full paths (`model.transformer.heads`), the one to blame
    /// first.
    pub keys: Vec<String>,
    /// What must hold, and what is there.
    pub message: String,
    /// A hint: what the user can do.
    pub hint: Option<String>,
}

impl ConfigError {
    /// The largest size in a config, so that the product of two fits into 64 bits.
    pub(crate) const LARGEST: u64 = i32::MAX as u64;

    /// A broken rule about `keys` of one table.
    pub(crate) fn new(table: &str, keys: &[&str], message: impl Into<String>) -> Self {
        let keys: Vec<String> = keys.iter().map(|key| format!("{table}.{key}")).collect();
        ConfigError::rule(&keys, message)
    }

    /// A broken rule about keys of several tables, as full paths.
    pub(crate) fn rule(keys: &[impl ToString], message: impl Into<String>) -> Self {
        let keys = keys.iter().map(ToString::to_string).collect();
        ConfigError { origin: None, keys, message: message.into(), hint: None }
    }

    /// An error of a value that was written there.
    pub(crate) fn written(origin: Origin, message: impl Into<String>) -> Self {
        ConfigError { origin: Some(origin), keys: Vec::new(), message: message.into(), hint: None }
    }

    /// Adds a hint: what the user can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Checks that integers are at least `minimum` and at most [`ConfigError::LARGEST`].
    pub(crate) fn check_integer(
        table: &str,
        minimum: u64,
        values: &[(&str, u64)],
    ) -> std::result::Result<(), ConfigError> {
        for (key, value) in values {
            let must = match *value {
                value if value < minimum => format!("at least {minimum}"),
                value if value > Self::LARGEST => format!("at most {}", Self::LARGEST),
                _ => continue,
            };
            return Err(ConfigError::new(
                table,
                &[key],
                format!("`{key}` must be {must}, but it is {value}"),
            ));
        }
        Ok(())
    }

    /// Checks that integers are at most `most`, beyond which no machine has the memory or the time.
    pub(crate) fn check_most(
        table: &str,
        most: u64,
        values: &[(&str, u64)],
    ) -> std::result::Result<(), ConfigError> {
        match values.iter().find(|(_, value)| *value > most) {
            Some((key, value)) => {
                let message = format!("`{key}` must be at most {most}, but it is {value}");
                Err(ConfigError::new(table, &[key], message))
            }
            None => Ok(()),
        }
    }

    /// Checks that numbers are finite and pass the test `holds`, which `must` describes.
    pub(crate) fn check_float(
        table: &str,
        must: &str,
        holds: fn(f64) -> bool,
        values: &[(&str, f64)],
    ) -> std::result::Result<(), ConfigError> {
        match values.iter().find(|(_, value)| !value.is_finite() || !holds(*value)) {
            Some((key, value)) => {
                Err(ConfigError::new(table, &[key], format!("`{key}` must be {must}, but it is {value:?}")))
            }
            None => Ok(()),
        }
    }

    /// Checks that numbers are shares, at least 0 and below 1.
    pub(crate) fn check_share(table: &str, values: &[(&str, f64)]) -> std::result::Result<(), ConfigError> {
        ConfigError::check_float(table, "at least 0 and below 1", |x| (0.0..1.0).contains(&x), values)
    }

    /// Checks that a table has at most one of the alternatives of a kind (`tokenizer`, `schedule`).
    pub(crate) fn check_one(table: &str, kind: &str, named: &[&str]) -> std::result::Result<(), ConfigError> {
        if named.len() < 2 {
            return Ok(());
        }
        let message = format!("[{table}] must name one {kind}, but it names `{}`", named.join("` and `"));
        let hint = "keep one of them";
        // The last one is reported as the extra one.
        let keys: Vec<&str> = named.iter().rev().copied().collect();
        Err(ConfigError::new(table, &keys, message).hint(hint))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Only the first line of a libtorch error is for users; the rest is C++ frames.
impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        let text = error.to_string();
        Error::of_libtorch(format!("libtorch: {}", text.lines().next().unwrap_or("unknown error")))
    }
}

/// Whether a text is an out-of-memory error of libtorch's allocators (CPU and GPU), of the standard library, or of our
/// own.
pub(crate) fn lacks_memory(text: &str) -> bool {
    let phrases = [
        "out of memory",
        "can't allocate memory",
        "not enough memory",
        "no memory for",
        "memory allocation",
        "bad_alloc",
        "ALLOC_FAILED",
    ];
    phrases.iter().any(|words| text.contains(words))
}

/// The message of a panic.
pub(crate) fn reason(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no reason given")
}

/// Runs `work` and turns a panic into an error: tch panics if an operation fails, most often because it is out of
/// memory.
///
/// # Errors
/// Those of `work`; a failure for a panic.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = reason(payload.as_ref());
        let error = Error::of_libtorch(format!("an operation failed: {}", first_line(text)));
        Err(match error.kind == Kind::OutOfMemory {
            true => error.hint(
                "lower `training.tokens_per_batch`; for decoding, `decoding.batch_size` or `decoding.beam`",
            ),
            false => {
                error.hint("this is a bug in seqloom, please report it; RUST_BACKTRACE=1 shows where it is")
            }
        })
    })
}

/// The first line of a libtorch error; the rest is a stack trace. In a panic of tch the text is in quotes.
fn first_line(text: &str) -> &str {
    const QUOTED: &str = "called `Result::unwrap()` on an `Err` value: Torch(\"";
    let text = text.strip_prefix(QUOTED).unwrap_or(text);
    let end = text.find('\n').into_iter().chain(text.find("\\n")).min();
    &text[..end.unwrap_or(text.len())]
}

/// A count with its noun: `1 thread`, `2 threads`. `one` is the singular.
pub(crate) fn counted(number: impl TryInto<u64>, one: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// A note for a missing path: the folder in which a relative one is looked up, which is the working directory also for
/// paths in a config, and what has nearly the same name.
pub(crate) fn sought_from(path: &Path) -> String {
    let place = match std::env::current_dir() {
        Ok(folder) if path.is_relative() => format!(" (looked for in {})", folder.display()),
        _ => String::new(),
    };
    match similar_path(path) {
        Some(similar) => format!("{place}; did you mean {}?", similar.display()),
        None => place,
    }
}

/// What lies in the folder of a missing path by nearly the same name, up to one typo per three letters.
fn similar_path(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let entries = std::fs::read_dir(Path::new(".").join(path.parent()?)).ok()?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let distances = names.map(|other| (strsim::damerau_levenshtein(name, &other), other));
    // An extension that is right says nothing.
    let letters =
        |other: &str| Path::new(other).file_stem().map_or(0, |stem| stem.to_string_lossy().chars().count());
    let near = distances.filter(|(distance, other)| distance * 3 <= letters(other));
    near.min().map(|(_, other)| path.with_file_name(other))
}

fn looked_for_in(path: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => sought_from(path),
        _ => String::new(),
    }
}

/// The operating system's reason without its error number.
fn io_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!([0, 1, 2].map(|number| counted(number, "thread")), ["0 threads", "1 thread", "2 threads"]);
    }

    #[test]
    fn the_error_for_a_missing_path_names_the_folder() {
        let message = |path: &str, kind: ErrorKind| {
            Error::file("read", Path::new(path), &std::io::Error::from(kind)).message().to_owned()
        };
        let here = format!(" (looked for in {})", std::env::current_dir().unwrap().display());
        assert!(message("no.csv", ErrorKind::NotFound).ends_with(&here));
        assert!(!message("/no.csv", ErrorKind::NotFound).contains("looked for"));
        assert!(!message("no.csv", ErrorKind::PermissionDenied).contains("looked for"));
    }

    #[test]
    fn a_name_that_is_nearly_right_is_answered_by_the_right_one() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["roman-seed1", "roman-seed2", "words.csv"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let ending = |name: &str| sought_from(&folder.path().join(name));
        let meant = |name: &str| format!("; did you mean {}?", folder.path().join(name).display());
        assert_eq!(ending("roman-sed2"), meant("roman-seed2"));
        assert_eq!(ending("roman-seed3"), meant("roman-seed1"));
        assert_eq!(ending("word.csv"), meant("words.csv"));
        assert_eq!(ending("pairs.csv"), "");
        assert_eq!(ending("no/words.csv"), "");
        assert!(sought_from(Path::new("README.mt")).ends_with("); did you mean README.md?"));
    }

    #[test]
    fn control_characters_in_messages_are_escaped() {
        let error = Error::input("no \u{1b}]0;owned\u{7}\u{9b}31m file\r\n  row").hint("\u{1b}[2J\tä");
        let shown = "error: no \\u{1b}]0;owned\\u{7}\\u{9b}31m file\\r\n  row\nhint: \\u{1b}[2J\\tä";
        assert_eq!(error.to_string(), shown);
    }

    #[test]
    fn the_first_line_of_a_libtorch_error_is_reported() {
        let text = "can't allocate memory: you tried 5 bytes.\nframe #0: c10";
        let failed =
            || -> std::result::Result<(), tch::TchError> { Err(tch::TchError::Torch(text.to_owned())) };
        let panic = || -> Result<()> {
            failed().unwrap();
            Ok(())
        };
        let error = caught(panic).unwrap_err();
        assert_eq!(error.message(), "an operation failed: can't allocate memory: you tried 5 bytes.");
        assert!(error.to_string().contains("hint: lower `training.tokens_per_batch`"));
        assert_eq!(first_line("plain"), "plain");
    }
}
