//! `--ranks`: starts the same command as several processes of this machine, each a rank of the run.

use std::ffi::OsString;
use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::cli::child_processes::{kill_all, pass_on};
use crate::distributed::launch::Rank;
use crate::error::{Error, Result};

/// The option that a rank must not have.
const OPTION: &str = "--ranks";

/// Starts `count` ranks, passes signals on to them, and waits for them. Returns the exit code of the first one that
/// fails.
pub(super) fn run(count: usize) -> Result<u8> {
    if let Some(Rank { rank, ranks, by }) = Rank::from_environment()? {
        let message =
            format!("{OPTION} starts ranks, but this process is rank {rank} of {ranks} already, by {by}");
        return Err(Error::input(message).hint(format!("leave {OPTION} to the launcher")));
    }
    let failed = |error: std::io::Error| Error::failure(format!("cannot start ranks: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2]).map_err(failed)?;
    let port = free_port().map_err(failed)?;
    let start = |rank| start(rank, count, port).map_err(failed);
    let mut ranks = Ranks((0..count).map(start).collect::<Result<_>>()?);
    loop {
        signals.pending().for_each(|signal| pass_on(signal, ranks.0.iter()));
        if let Some(code) = ranks.ended().map_err(failed)? {
            return Ok(code);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nothing listens on.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn start(rank: usize, ranks: usize, port: u16) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(without_option(std::env::args_os().skip(1)));
    command.env("RANK", rank.to_string()).env("WORLD_SIZE", ranks.to_string());
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
    own_group(&mut command);
    command.spawn()
}

/// A terminal's Ctrl-C would reach each rank itself, and once more from here: the second one ends it at once.
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

/// The arguments without `--ranks N` and `--ranks=N`.
fn without_option(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let (mut kept, mut is_value) = (Vec::new(), false);
    for argument in arguments {
        let with_value = argument.to_string_lossy().starts_with(&format!("{OPTION}="));
        if !std::mem::replace(&mut is_value, argument == OPTION) && argument != OPTION && !with_value {
            kept.push(argument);
        }
    }
    kept
}

/// The processes that are running, each with its exit code once it has ended.
struct Ranks(Vec<Child>);

impl Ranks {
    /// The exit code, once all have ended: of the first rank that failed. One that a signal ended has none.
    fn ended(&mut self) -> std::io::Result<Option<u8>> {
        let mut codes = Vec::new();
        for child in &mut self.0 {
            let Some(status) = child.try_wait()? else { return Ok(None) };
            codes.push(status.code().map_or(1, |code| code as u8));
        }
        Ok(Some(codes.into_iter().find(|code| *code != 0).unwrap_or(0)))
    }
}

/// An error here must leave no rank behind.
impl Drop for Ranks {
    fn drop(&mut self) {
        kill_all(self.0.iter_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_started_without_the_option() {
        for (arguments, kept) in [
            ("train a.toml --ranks 2 --resume", "train a.toml --resume"),
            ("train --ranks=4 a.toml", "train a.toml"),
            ("train a.toml --ranks 2", "train a.toml"),
        ] {
            let arguments = arguments.split(' ').map(OsString::from);
            let kept: Vec<OsString> = kept.split(' ').map(OsString::from).collect();
            assert_eq!(without_option(arguments), kept);
        }
    }
}
