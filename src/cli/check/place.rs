//! The place of a run that does not exist yet: whether its folder could be made, and the room on its disk.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

use crate::error::Error;

/// Why no file could be written in a folder; `None` if one could.
pub(super) fn problem(folder: &Path) -> Option<Error> {
    let there = existing(folder);
    // A file in place of a folder is reported with the run.
    if !there.is_dir() || access(there.as_path(), Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        return None;
    }
    let message = format!("the run needs a folder that can be written, but {} cannot", there.display());
    Some(Error::input(message).hint("name another folder with --out"))
}

/// Bytes that are free there; `None` if the system does not report them.
pub(super) fn free(folder: &Path) -> Option<u64> {
    let disk = statvfs(existing(folder).as_path()).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// The folder, or the nearest one above it that exists.
fn existing(folder: &Path) -> PathBuf {
    let there = folder.ancestors().find(|above| above.exists() && !above.as_os_str().is_empty());
    there.unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_does_not_exist_has_the_room_of_the_one_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        assert_eq!(existing(&deep), folder.path());
        assert!(free(&deep).is_some_and(|bytes| bytes > 0) && problem(&deep).is_none());
        assert_eq!(existing(Path::new("no/such")), Path::new("."));
    }
}
