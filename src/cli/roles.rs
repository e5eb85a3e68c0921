//! The roles of a command's files: a file to write must have no other role, under any name.
//!
//! Two names are one file if they have the same device and inode: hard links, symbolic links, redirected standard input
//! and output. Everything is checked before any file is opened for writing.

use std::fs::{self, File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::checkpoint::files::behind_links;
use crate::checkpoint::run::{OWN_FILES, OWN_FOLDERS, run_of_model};
use crate::data::DataConfig;
use crate::error::{Error, Result};

/// The files of a command. `-` is standard input among those that are read, and standard output among those that are
/// written.
#[derive(Debug, Default)]
pub(crate) struct FileRoles {
    read: Vec<Role>,
    written: Vec<Role>,
    runs: Vec<PathBuf>,
}

/// A file: its role, its path, and the option that names it.
#[derive(Debug)]
struct Role {
    what: String,
    path: PathBuf,
    option: &'static str,
}

/// The identity of a file.
#[derive(Debug, Default)]
struct Identity {
    /// Device and inode of an existing file; `None` for pipes, terminals and devices, which may have several roles.
    file: Option<(u64, u64)>,
    /// The path of a file that does not exist yet.
    would_be: Option<PathBuf>,
    is_stdout: bool,
}

impl FileRoles {
    /// Adds a file to read.
    pub(crate) fn reads(mut self, what: impl Into<String>, path: &Path) -> FileRoles {
        self.read.push(Role { what: what.into(), path: path.to_owned(), option: "" });
        self
    }

    /// Adds a file to read, if there is one.
    pub(crate) fn may_read(self, what: &str, path: Option<&Path>) -> FileRoles {
        path.into_iter().fold(self, |roles, path| roles.reads(what, path))
    }

    /// Adds a file to write, and its option.
    pub(crate) fn writes(mut self, what: impl Into<String>, path: &Path, option: &'static str) -> FileRoles {
        self.written.push(Role { what: what.into(), path: path.to_owned(), option });
        self
    }

    /// Adds a file to write, if there is one.
    pub(crate) fn may_write(self, what: &str, path: Option<&Path>, option: &'static str) -> FileRoles {
        path.into_iter().fold(self, |roles, path| roles.writes(what, path, option))
    }

    /// Adds a model file; if it belongs to a run, the run's own files must not be written.
    pub(crate) fn reads_model(mut self, model: &Path) -> FileRoles {
        self.runs.extend(run_of_model(model));
        self.reads("model", model)
    }

    /// Adds the data files of a config, relative to the working directory and to all folders above the runs, one of
    /// which was the working directory of training.
    pub(crate) fn reads_data(self, data: &DataConfig) -> FileRoles {
        let above: Vec<PathBuf> =
            self.runs.iter().flat_map(|run| run.ancestors().skip(1)).map(PathBuf::from).collect();
        let named = |key: &str| match key {
            "train" => "`data.train`",
            "valid" => "`data.valid`",
            _ => "`data.test`",
        };
        let sets = data.sets().map(|(key, files)| (named(key), files));
        let files = sets.flat_map(|(what, files)| files.paths().map(move |path| (what, path)));
        let ready = [&data.source, &data.target].into_iter().filter_map(|side| side.pretrained.as_ref());
        let ready = ready.map(|ready| ("`pretrained.file`", ready.file.as_path()));
        files.chain(ready).fold(self, |roles, (what, path)| {
            let elsewhere = above.iter().map(|folder| folder.join(path)).filter(|path| path.is_file());
            elsewhere.fold(roles.reads(what, path), |roles, path| roles.reads(what, &path))
        })
    }

    /// Refuses a file to write that has another role as well.
    ///
    /// # Errors
    /// An input error that names the file and both roles.
    pub(crate) fn check(&self) -> Result<()> {
        let read = self.read.iter().map(|role| (role, Identity::of_input(&role.path)));
        let mut others: Vec<(&Role, Identity)> = read.collect();
        for role in &self.written {
            let identity = Identity::of_output(&role.path);
            if let Some((other, _)) = others.iter().find(|(_, other)| identity.is(other)) {
                let paths = [&other.path, &role.path];
                let named = paths.into_iter().find(|path| path.as_path() != Path::new("-"));
                let path = named.map_or("standard output".into(), |path| path.to_string_lossy());
                let (other, what) = (&other.what, &role.what);
                return Err(Error::input(format!("{path} cannot be both the {other} and the {what}"))
                    .hint(format!("name another file with {}", role.option)));
            }
            if let Some((run, own)) =
                self.runs.iter().find_map(|run| Some((run, own_of(run, role, &identity)?)))
            {
                let (path, what, run) = (role.path.display(), &role.what, run.display());
                let message = format!("{path} cannot be the {what}: it belongs to the run {run} ({own})");
                return Err(Error::input(message).hint(format!("name another file with {}", role.option)));
            }
            others.push((role, identity));
        }
        Ok(())
    }
}

/// Whether a path is standard output, which must not be opened by its name: that would truncate a redirected file.
pub(crate) fn is_stdout(path: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name))
}

impl Identity {
    fn of_input(path: &Path) -> Identity {
        let there = match path == Path::new("-") {
            true => of_handle(&std::io::stdin()),
            false => fs::metadata(path).ok(),
        };
        Identity { file: there.and_then(|there| number(&there)), ..Identity::default() }
    }

    fn of_output(path: &Path) -> Identity {
        if is_stdout(path) {
            let there = of_handle(&std::io::stdout());
            return Identity {
                file: there.and_then(|there| number(&there)),
                is_stdout: true,
                ..Identity::default()
            };
        }
        match fs::metadata(path) {
            Ok(there) => Identity { file: number(&there), ..Identity::default() },
            Err(_) => Identity { would_be: place_of(path), ..Identity::default() },
        }
    }

    fn is(&self, other: &Identity) -> bool {
        self.file.is_some() && self.file == other.file
            || self.would_be.is_some() && self.would_be == other.would_be
            || self.is_stdout && other.is_stdout
    }
}

fn of_handle(handle: &impl AsFd) -> Option<Metadata> {
    File::from(handle.as_fd().try_clone_to_owned().ok()?).metadata().ok()
}

fn number(there: &Metadata) -> Option<(u64, u64)> {
    there.is_file().then(|| (there.dev(), there.ino()))
}

/// The path of a new file in an existing folder.
fn place_of(path: &Path) -> Option<PathBuf> {
    let place = behind_links(path);
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty());
    Some(folder.unwrap_or(Path::new(".")).canonicalize().ok()?.join(place.file_name()?))
}

/// Which file of a run the file to write is, if any.
fn own_of(run: &Path, role: &Role, identity: &Identity) -> Option<String> {
    if is_stdout(&role.path) && identity.file.is_none() {
        return None;
    }
    let place = place_of(&role.path).unwrap_or_else(|| role.path.clone());
    if let Ok(inside) = place.strip_prefix(run) {
        let inside_folder = OWN_FOLDERS.iter().any(|folder| inside.starts_with(folder));
        if inside_folder || OWN_FILES.iter().any(|file| inside == Path::new(file)) {
            return Some(inside.display().to_string());
        }
    }
    // By a link from outside the run.
    let wanted = identity.file?;
    let is_it = |path: &Path| fs::metadata(path).ok().and_then(|there| number(&there)) == Some(wanted);
    let mut folders: Vec<PathBuf> = OWN_FOLDERS.iter().map(|folder| run.join(folder)).collect();
    let mut found = OWN_FILES.iter().map(|file| run.join(file)).find(|path| is_it(path));
    while let Some(folder) = folders.pop().filter(|_| found.is_none()) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in entries {
            match fs::symlink_metadata(&path) {
                Ok(there) if there.is_dir() => folders.push(path),
                _ if is_it(&path) => found = Some(path),
                _ => {}
            }
        }
    }
    let found = found?;
    Some(found.strip_prefix(run).unwrap_or(&found).display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_recognized_under_each_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("in.txt"), "a\n").unwrap();
        fs::create_dir(at("sub")).unwrap();
        fs::hard_link(at("in.txt"), at("hard")).unwrap();
        std::os::unix::fs::symlink("in.txt", at("soft")).unwrap();
        std::os::unix::fs::symlink(folder.path(), at("here")).unwrap();
        std::os::unix::fs::symlink("new.txt", at("dangling")).unwrap();
        let message = |read: &str, written: [&str; 2]| {
            let roles = FileRoles::default().reads("input", &at(read));
            let roles = roles.writes("output", &at(written[0]), "--output");
            roles.writes("summary", &at(written[1]), "--summary").check().err().map(|error| error.to_string())
        };
        for name in ["in.txt", "hard", "soft", "here/in.txt", "sub/../in.txt", "here/here/soft"] {
            let same = message("in.txt", [name, "s.json"]).unwrap();
            assert!(same.ends_with(
                "in.txt cannot be both the input and the output\nhint: name another file with --output"
            ));
            assert!(
                message(name, ["s.json", "hard"]).unwrap().contains("the input and the summary"),
                "{name}"
            );
        }
        for names in [["new.txt", "here/new.txt"], ["dangling", "new.txt"], ["new.txt", "sub/../dangling"]] {
            assert!(message("in.txt", names).unwrap().contains("the output and the summary"), "{names:?}");
        }
        assert_eq!(message("in.txt", ["a.txt", "sub/a.txt"]), None);
        let device = |path: &str| {
            FileRoles::default().reads("input", Path::new(path)).writes(
                "output",
                Path::new("/dev/null"),
                "--output",
            )
        };
        assert!(device("/dev/null").check().is_ok(), "a device loses nothing");
    }

    #[test]
    fn a_file_of_a_run_cannot_be_an_output_but_a_new_file_beside_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().canonicalize().unwrap().join("run");
        let step = run.join("checkpoints/step-00000001");
        fs::create_dir_all(&step).unwrap();
        for name in ["model.safetensors", "state.json", "../../config.toml", "../../latest"] {
            fs::write(step.join(name), "").unwrap();
        }
        fs::hard_link(step.join("state.json"), folder.path().join("other name")).unwrap();
        let writes = |path: &Path| {
            FileRoles::default()
                .reads_model(&step.join("model.safetensors"))
                .writes("output", path, "--output")
                .check()
        };
        for path in ["run/latest", "run/config.toml", "run/metrics.csv", "run/checkpoints/new", "other name"]
        {
            let error = writes(&folder.path().join(path)).unwrap_err();
            assert!(error.message().contains("cannot be the output: it belongs to the run"), "{error}");
        }
        assert!(
            writes(&step.join("model.safetensors"))
                .unwrap_err()
                .message()
                .contains("the model and the output")
        );
        assert!(writes(&run.join("outputs.txt")).is_ok());
    }
}
