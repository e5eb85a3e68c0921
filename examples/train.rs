//! Trains an experiment into a run directory, from Rust: `cargo run --release --example train configs/dates.toml runs/dates`

use seqloom::config::Experiment;
use seqloom::error::{Error, Result};
use seqloom::experiment::{RunOptions, train};
use seqloom::runtime::StopFlag;
use seqloom::training::recorders::{Event, Recorder};

/// Prints messages and the scores of validations.
struct Lines;

impl Recorder for Lines {
    fn record(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Message(text) => println!("{text}"),
            Event::Validation { step, found, .. } => println!("step {step}: {found}"),
            _ => {}
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let argument =
        |n| std::env::args().nth(n).ok_or_else(|| Error::input("name a config and a run directory"));
    let experiment = Experiment::load(argument(1)?.as_ref(), &[])?;
    let options = RunOptions { resume: true, ..RunOptions::into(argument(2)?) };
    println!("{} updates", train(&experiment, &options, &StopFlag::default(), &mut Lines)?.step);
    Ok(())
}
