//! Signals that request a stop or a checkpoint, and when they take effect.
//!
//! While there is nothing to save (reading data, learning a vocabulary, building a model), a signal ends the process at
//! once. Code that has something to save listens to the flag and checks it between steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::error::{Error, Result};

/// What SIGUSR1 does, which batch systems send before a job's time is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUsr1 {
    /// Save a checkpoint and stop.
    #[default]
    Stop,
    /// Save a checkpoint at the next update; training continues.
    Save,
}

/// A request to stop, by a signal or by the program.
#[derive(Clone, Debug, Default)]
pub struct StopFlag {
    signal: Arc<AtomicUsize>,
    /// Whether a signal ends the process at once.
    at_once: Arc<AtomicBool>,
    save: Arc<AtomicBool>,
}

impl StopFlag {
    /// A flag that SIGINT, SIGTERM, SIGHUP, SIGUSR2 and, depending on `usr1`, SIGUSR1 raise. Until [`StopFlag::listen`]
    /// each of them ends the process at once, with exit code 128 plus its number; after it a second SIGINT or SIGTERM
    /// does.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub(crate) fn on_signals(usr1: OnUsr1) -> Result<StopFlag> {
        let flag = StopFlag { at_once: Arc::new(AtomicBool::new(true)), ..StopFlag::default() };
        let seen = Arc::new(AtomicBool::new(false));
        let failed = |error| Error::failure(format!("cannot install signal handlers: {error}"));
        // Under `nohup`, SIGHUP is ignored.
        let heard = |signal: &i32| matches!(*signal, SIGINT | SIGTERM) || !is_ignored(*signal);
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2].into_iter().filter(heard) {
            if signal == SIGUSR1 && usr1 == OnUsr1::Save {
                signal_hook::flag::register(signal, Arc::clone(&flag.save)).map_err(failed)?;
                continue;
            }
            let ends = |when: &Arc<AtomicBool>| {
                signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(when))
            };
            ends(&flag.at_once).map_err(failed)?;
            // A closing terminal sends SIGHUP itself and once more through its shell, and SIGTERM may follow: one stop.
            if matches!(signal, SIGINT | SIGTERM) {
                // In this order: at the first signal `seen` is still false, at the second it is true.
                ends(&seen).map_err(failed)?;
                signal_hook::flag::register(signal, Arc::clone(&seen)).map_err(failed)?;
            }
            signal_hook::flag::register_usize(signal, Arc::clone(&flag.signal), signal as usize)
                .map_err(failed)?;
        }
        Ok(flag)
    }

    /// From here on the flag is checked, and a signal does not end the process at once.
    pub(crate) fn listen(&self) {
        self.at_once.store(false, Ordering::SeqCst);
    }

    /// Runs work that no signal may interrupt: a signal meanwhile ends the process afterwards.
    pub(crate) fn whole<T>(&self, work: impl FnOnce() -> T) -> T {
        let nobody_listens = self.at_once.swap(false, Ordering::SeqCst);
        let done = work();
        if nobody_listens {
            self.at_once.store(true, Ordering::SeqCst);
            if let Some(signal) = self.raised() {
                std::process::exit(128 + i32::from(signal));
            }
        }
        done
    }

    /// The signal that requested a stop.
    pub(crate) fn raised(&self) -> Option<u8> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal as u8),
        }
    }

    /// Requests a stop, as this signal does.
    pub(crate) fn raise(&self, signal: u8) {
        self.signal.store(usize::from(signal), Ordering::SeqCst);
    }

    /// Requests a checkpoint.
    pub(crate) fn ask_to_save(&self) {
        self.save.store(true, Ordering::SeqCst);
    }

    /// Whether a checkpoint was requested since the last call.
    pub(crate) fn save_asked(&self) -> bool {
        self.save.swap(false, Ordering::SeqCst)
    }
}

/// Whether the parent process made this one ignore a signal. False if the system does not report it.
fn is_ignored(signal: i32) -> bool {
    let ignored = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    ignored.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
