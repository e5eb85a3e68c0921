//! Processes that a command has started: they get its signals, and end with it.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

/// Passes a signal on. A process that has ended needs none.
pub(super) fn pass_on<'a>(signal: i32, children: impl Iterator<Item = &'a Child>) {
    let Some(signal) = Signal::from_named_raw(signal) else { return };
    for child in children {
        if let Some(process) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(process, signal);
        }
    }
}

/// Kills those that have not ended.
pub(super) fn kill_all<'a>(children: impl Iterator<Item = &'a mut Child>) {
    for child in children {
        if matches!(child.try_wait(), Ok(None)) {
            let _ = child.kill();
        }
    }
}
