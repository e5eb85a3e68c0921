//! The processes of an experiment: several at once, each a step of a task, until all tasks are done.
//!
//! They end with the experiment: a signal is passed on to them, and if it is killed, the system kills them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::cli::child_processes::{kill_all, pass_on};
use crate::console::status;
use crate::distributed::launch::RANK_VARIABLES;
use crate::error::{Error, Result};
use crate::runtime::{AT_ONCE, StopFlag};

/// The environment variable with the experiment's process id.
const PARENT: &str = "SEQLOOM_EXPERIMENT_PROCESS";

/// The end of a log in which the error of a process is looked for, in bytes.
const LONGEST_END: u64 = 1 << 16;

/// A process to run.
pub(super) struct Step {
    /// What it does, for messages.
    pub what: String,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its messages are added to this file.
    pub log: PathBuf,
    /// What to do once it has ended well.
    pub then: Box<dyn FnOnce() -> Result<()>>,
}

/// Finds the next step of a task; `None` if it is done.
pub(super) type Next<'a> = &'a mut dyn FnMut(usize) -> Result<Option<Step>>;

/// A process that is running.
struct Running {
    task: usize,
    what: String,
    then: Box<dyn FnOnce() -> Result<()>>,
    child: Child,
    /// Where its messages are, and where in the file they begin.
    log: (PathBuf, u64),
}

/// Runs the steps of all tasks, of `jobs` tasks at once. Returns the tasks that failed, each with the reason. After a
/// signal those that have not begun are left out.
///
/// # Errors
/// A process cannot be watched.
pub(super) fn run_all(
    tasks: &[usize],
    jobs: usize,
    stop: &StopFlag,
    next: Next<'_>,
) -> Result<Vec<(usize, String)>> {
    let jobs = jobs.min(tasks.len());
    let mut pool = Pool { jobs, running: Vec::new(), failed: Vec::new() };
    let (mut waiting, mut is_passed_on) = (tasks.iter().copied(), false);
    loop {
        if let Some(signal) = stop.raised().filter(|_| !is_passed_on) {
            pass_on(i32::from(signal), pool.running.iter().map(|running| &running.child));
            is_passed_on = true;
        }
        for ended in pool.ended()? {
            let (task, what) = (ended.task, ended.what.clone());
            if pool.conclude(ended, stop) && stop.raised().is_none() {
                pool.start(task, Some(&what), next);
            }
        }
        while pool.running.len() < jobs && stop.raised().is_none() {
            let Some(task) = waiting.next() else { break };
            pool.start(task, None, next);
        }
        if pool.running.is_empty() {
            if stop.raised().is_some() {
                status("stopped; to continue, run the same command again");
            }
            return Ok(std::mem::take(&mut pool.failed));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Pool {
    /// How many processes share the cores.
    jobs: usize,
    running: Vec<Running>,
    failed: Vec<(usize, String)>,
}

impl Pool {
    /// Starts the next step of a task; `last` is the one that has just ended.
    fn start(
        &mut self,
        task: usize,
        last: Option<&str>,
        next: &mut dyn FnMut(usize) -> Result<Option<Step>>,
    ) {
        let started = match next(task) {
            Ok(None) => return,
            Ok(Some(step)) if last == Some(step.what.as_str()) => {
                Err(Error::failure(format!("{} succeeded, but its files are incomplete", step.what)))
            }
            Ok(Some(step)) => spawn(task, step, self.jobs),
            Err(error) => Err(error),
        };
        match started {
            Ok(running) => self.running.push(running),
            Err(error) => self.fail(task, told(&error)),
        }
    }

    /// Takes out the processes that have ended.
    fn ended(&mut self) -> Result<Vec<Running>> {
        let (mut ended, mut at) = (Vec::new(), 0);
        while at < self.running.len() {
            let there = self.running[at].child.try_wait();
            match there.map_err(|error| Error::failure(format!("cannot wait for a process: {error}")))? {
                Some(_) => ended.push(self.running.remove(at)),
                None => at += 1,
            }
        }
        Ok(ended)
    }

    /// Whether a process has ended well. What a signal has stopped has not failed.
    fn conclude(&mut self, ended: Running, stop: &StopFlag) -> bool {
        let Running { task, what, then, mut child, log } = ended;
        let why = match child.wait() {
            Ok(code) if code.success() => match then() {
                Ok(()) => return true,
                Err(error) => told(&error),
            },
            Ok(code) => {
                let error = last_error(&log).map(|error| format!("\n{error}")).unwrap_or_default();
                format!("{what} failed ({code}), see {}{error}", log.0.display())
            }
            Err(error) => format!("{what} failed: {error}"),
        };
        if stop.raised().is_none() {
            self.fail(task, why);
        }
        false
    }

    fn fail(&mut self, task: usize, why: String) {
        status(&why);
        self.failed.push((task, why));
    }
}

/// An error with its hint.
fn told(error: &Error) -> String {
    let text = error.to_string();
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

/// The error at the end of a process's messages, with its hint; `None` of one that was killed.
fn last_error((log, start): &(PathBuf, u64)) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let end = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(end.saturating_sub(LONGEST_END).max(*start))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().rposition(|line| line.starts_with("error: "))?;
    Some(lines[first..].join("\n"))
}

/// An error here must leave no process behind.
impl Drop for Pool {
    fn drop(&mut self) {
        kill_all(self.running.iter_mut().map(|running| &mut running.child));
    }
}

fn spawn(task: usize, step: Step, jobs: usize) -> Result<Running> {
    use std::os::unix::process::CommandExt;
    let Step { what, arguments, log, then } = step;
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).map_err(|error| Error::file("make", folder, &error))?;
    }
    let opened = File::options().create(true).append(true).open(&log);
    let opened = opened.and_then(|messages| Ok((messages.metadata()?.len(), messages)));
    let (start, messages) = opened.map_err(|error| Error::file("write", &log, &error))?;
    let failed = |error: std::io::Error| Error::failure(format!("cannot start {what}: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(arguments).env(PARENT, std::process::id().to_string()).env(AT_ONCE, jobs.to_string());
    // A training of the experiment is no rank, even if the experiment is one.
    for name in RANK_VARIABLES.as_flattened() {
        command.env_remove(name);
    }
    // A terminal's Ctrl-C would reach it directly, and once more from here.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(messages);
    let child = command.spawn().map_err(failed)?;
    status(&what);
    Ok(Running { task, what, then, child, log: (log, start) })
}

/// In a process that an experiment has started: asks the system to kill it when the experiment is killed, so that the same
/// command may start again at once. Its files are complete at any moment.
pub(crate) fn end_with_parent() {
    let Some(parent) = std::env::var_os(PARENT) else { return };
    // Where the system cannot do it, the process ends by itself.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let there = rustix::process::getppid().map(|process| process.as_raw_nonzero().to_string());
    // The experiment may have ended before.
    if there.is_none_or(|there| parent != there.as_str()) {
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_process_is_the_last_one_of_its_own_messages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let before = "error: of an earlier start\n";
        let of = |text: &str| {
            fs::write(&path, format!("{before}{text}")).unwrap();
            last_error(&(path.clone(), before.len() as u64))
        };
        assert_eq!(of("step 1\n"), None);
        let error = "error: cannot read a.csv\n  a row\nhint: look";
        assert_eq!(of(&format!("step 1\nerror: no\nstep 2\n{error}\n")).unwrap(), error);
        assert_eq!(told(&Error::input("must").hint("do")), "must\nhint: do");
        let long = "x".repeat(2 * LONGEST_END as usize);
        assert_eq!(of(&format!("{long}\n{error}\n")).unwrap(), error);
    }
}
