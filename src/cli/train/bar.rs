//! The progress bar of training; there is none if stderr is not a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::training::recorders::console::Bar;

/// A bar from the current step to the last one.
pub(crate) fn bar(step: u64, steps: u64) -> Option<Box<dyn Bar>> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    Some(Box::new(OnTerminal(ProgressBar::new(steps).with_style(style).with_position(step))))
}

struct OnTerminal(ProgressBar);

impl Bar for OnTerminal {
    fn suspend(&self, say: &dyn Fn()) {
        self.0.suspend(say);
    }

    fn show(&self, step: u64, words: String) {
        self.0.set_position(step);
        self.0.set_message(words);
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}
