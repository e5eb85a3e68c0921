//! Shared by all benchmarks: running a side, and summarising its runs.

use std::process::Command;

use serde_json::Value;

/// The last JSON line of a side's output.
pub fn output(mut command: Command) -> Value {
    let out = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("a side prints JSON")
}

/// The median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    // For an even count the mean of the two middle values, which coincide for an odd count.
    let middle = values.len() / 2;
    (values[(values.len() - 1) / 2] + values[middle]) / 2.0
}
