//! Files that are complete or absent, bounded reads, and locks.
//!
//! A write goes to a temporary file in the same folder, is flushed to the disk and renamed: a kill or a full disk
//! leaves the old file unchanged. A read accepts files only, up to a maximum size.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The most bytes of a small file: a pointer, a manifest, the state of a run.
pub(crate) const SMALL: u64 = 1 << 24;

/// The most symbolic links to follow before they count as a cycle.
const MOST_LINKS: usize = 40;

/// Writes a temporary file and renames it over the old one.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    put(&path.with_extension("partial"), path, bytes)
}

/// Writes a user's output in the same way, with a unique temporary name. A pipe or a device is written directly; for a
/// link, its target is replaced.
///
/// # Errors
/// It cannot be written. The old file stays.
pub(crate) fn write_output(path: &Path, bytes: &[u8]) -> Result<()> {
    let there = fs::metadata(path).ok();
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        return in_place(path, bytes);
    }
    let place = behind_links(path);
    let mut name = std::ffi::OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(format!(".{}.partial", std::process::id()));
    let partial = place.with_file_name(name);
    match OpenOptions::new().write(true).create_new(true).open(&partial) {
        // The folder is read-only, but the file in it is writable.
        Err(error) if error.kind() == ErrorKind::PermissionDenied && there.is_some() => {
            return in_place(path, bytes);
        }
        Err(error) => return Err(Error::file("write", path, &error)),
        Ok(_) => {}
    }
    if let Some(there) = there {
        // The new file gets the owner of the old one, if we may set it.
        let _ = fs::set_permissions(&partial, there.permissions());
    }
    put(&partial, &place, bytes)
}

fn put(partial: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let written = write_through(partial, bytes)
        .and_then(|()| fs::rename(partial, path).map_err(|error| Error::file("write", path, &error)));
    if written.is_err() {
        // The first error is reported.
        let _ = fs::remove_file(partial);
    }
    written?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    flush_folder(folder.unwrap_or(Path::new(".")))
}

fn in_place(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = OpenOptions::new().write(true).truncate(true).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(|error| Error::file("write", path, &error))
}

/// Resolves a path whose last part is a link, even if the target does not exist.
pub(crate) fn behind_links(path: &Path) -> PathBuf {
    let mut place = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&place) else { break };
        // `join` with an absolute path returns that path.
        place = place.parent().unwrap_or(Path::new("")).join(target);
    }
    place
}

/// Writes a file and flushes it to the disk.
pub(super) fn write_through(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| Error::file("write", path, &error))
}

/// A rename is durable only after its folder is flushed.
pub(super) fn flush_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| Error::file("write", path, &error))
}

/// Removes a folder or any other file.
pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("remove", path, &error)),
        _ => Ok(()),
    }
}

/// Locks a file, which is created if it is missing, while the value exists; the system releases the lock when the process
/// ends. `None` while another process holds it.
///
/// # Errors
/// It cannot be written or locked.
pub(crate) fn try_lock(path: &Path) -> Result<Option<File>> {
    locked(path, File::try_lock)
}

/// The same for a lock that several processes may hold together. `None` while another one holds it alone.
///
/// # Errors
/// It cannot be written or locked.
pub(crate) fn try_lock_shared(path: &Path) -> Result<Option<File>> {
    locked(path, File::try_lock_shared)
}

fn locked(path: &Path, lock: fn(&File) -> std::result::Result<(), TryLockError>) -> Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|error| Error::file("write", path, &error))?;
    match lock(&file) {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::file("lock", path, &error)),
    }
}

/// The bytes of a file of at most `most` bytes. Refuses pipes and devices, which might have no end or block.
///
/// # Errors
/// The file is missing, no regular file, too long or unreadable.
pub(crate) fn read_within(path: &Path, most: u64) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| Error::file("read", path, &error);
    let there = fs::metadata(path).map_err(failed)?;
    if there.is_dir() {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    let must = |what: String| Error::input(format!("{} must be a file{what}", path.display()));
    if !there.is_file() {
        return Err(must(", but it is a pipe or a device".to_owned()));
    }
    let mut bytes = Vec::new();
    let size = there.len().min(most);
    let no_memory =
        |_| Error::out_of_memory(format!("out of memory: there are no {size} bytes for {}", path.display()));
    bytes.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX)).map_err(no_memory)?;
    // A file may grow while it is read.
    File::open(path)
        .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(failed)?;
    match bytes.len() as u64 > most {
        true => Err(must(format!(" of at most {most} bytes, but it has more"))),
        false => Ok(bytes),
    }
}

/// The same for a text; `None` if there is no such file.
///
/// # Errors
/// It is no regular file, too long, not UTF-8 or unreadable.
pub(crate) fn read_text_within(path: &Path, most: u64) -> Result<Option<String>> {
    if matches!(fs::metadata(path), Err(error) if error.kind() == ErrorKind::NotFound) {
        return Ok(None);
    }
    let no_text = |_| Error::failure(format!("{} must be UTF-8 text, but it is not", path.display()));
    read_within(path, most).and_then(|bytes| String::from_utf8(bytes).map_err(no_text)).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_replaces_the_target_of_a_symbolic_link_and_leaves_its_hard_links() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("data"), "old").unwrap();
        fs::hard_link(at("data"), at("other name")).unwrap();
        std::os::unix::fs::symlink("data", at("link")).unwrap();
        std::os::unix::fs::symlink("nothing yet", at("dangling")).unwrap();
        write_output(&at("link"), b"new").unwrap();
        write_output(&at("dangling"), b"made").unwrap();
        let read = |name: &str| fs::read_to_string(at(name)).unwrap();
        assert_eq!(["data", "link", "other name"].map(read), ["new", "new", "old"]);
        assert_eq!(read("nothing yet"), "made");
        write_output(Path::new("/dev/null"), b"gone").unwrap();
        assert!(write_output(folder.path(), b"x").unwrap_err().message().ends_with("is a directory"));
        let there: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(there.len(), 5, "{there:?}");
    }

    #[test]
    fn endless_files_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latest");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let message = |most| read_within(&path, most).unwrap_err().message().to_owned();
        assert!(
            message(9).ends_with("latest must be a file, but it is a pipe or a device"),
            "{}",
            message(9)
        );
        fs::remove_file(&path).unwrap();
        fs::write(&path, "0123456789").unwrap();
        assert!(
            message(9).ends_with("latest must be a file of at most 9 bytes, but it has more"),
            "{}",
            message(9)
        );
        assert_eq!(read_within(&path, 10).unwrap(), b"0123456789");
    }
}
