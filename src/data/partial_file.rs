//! A file that is being written. It is in its place once it is whole; until then it has a name beside it that is not read.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The file, for one writer. What is not put in its place is removed.
pub(super) struct PartialFile {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
}

impl PartialFile {
    /// Begins the file that will be at `path`.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn create(path: &Path) -> Result<PartialFile> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        let file = File::create(&partial).map_err(|error| Error::file("write", path, &error))?;
        // Held while the process lives, so that others know that it does.
        let _ = file.try_lock();
        Ok(PartialFile { path: path.to_owned(), partial, file: BufWriter::with_capacity(1 << 20, file) })
    }

    /// Puts the file in its place, where it stays whatever happens to the machine.
    pub(super) fn put(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        std::fs::rename(&self.partial, &self.path)
    }

    /// Where it will be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is written.
    #[cfg(test)]
    pub(super) fn partial(&self) -> &Path {
        &self.partial
    }

    /// The error of writing it.
    pub(super) fn failed(&self, error: &io::Error) -> Error {
        Error::file("write", &self.path, error)
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // Behind `put`, it has another name.
        let _ = std::fs::remove_file(&self.partial);
    }
}

/// Writes a whole file.
///
/// # Errors
/// It cannot be written.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = PartialFile::create(path)?;
    let written = file.write_all(bytes).and_then(|()| file.put());
    written.map_err(|error| file.failed(&error))
}

/// Changes each byte of a file, and cuts it at each length. A changed one must not be intact, and a cut one must not open.
#[cfg(test)]
pub(super) fn damage(path: &Path, opens: impl Fn() -> bool, is_intact: impl Fn() -> bool) {
    let whole = std::fs::read(path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(path, &bytes).unwrap();
        assert!(!is_intact(), "byte {at}");
        std::fs::write(path, &whole[..at]).unwrap();
        assert!(!opens(), "{at} bytes");
    }
}

/// Removes half-written files of a folder that no process holds.
pub(super) fn remove_abandoned(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_partial = |name: &str| name.starts_with('.') && name.ends_with(".partial");
        if name.to_str().is_some_and(is_partial)
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
        {
            // Another process may have been faster.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
