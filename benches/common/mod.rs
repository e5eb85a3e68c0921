//! What both benchmarks share: how a side is run, and what is made of its runs.

use std::process::Command;

use serde_json::Value;

/// The JSON that a side prints last.
pub fn output(mut command: Command) -> Value {
    let out = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("a side prints JSON")
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    // Of an even number the mean of the two in the middle, which are one and the same of an odd number.
    let middle = values.len() / 2;
    (values[(values.len() - 1) / 2] + values[middle]) / 2.0
}
