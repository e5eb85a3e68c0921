//! Shared by all benchmarks: running a side, and summarising its runs.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The last JSON line of a side's output.
pub fn output(mut command: Command) -> Value {
    let out = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("a side prints JSON")
}

/// The same of the first of several ranks, which are started together.
#[allow(dead_code)] // not every benchmark has ranks
pub fn outputs(command: Command, ranks: usize) -> Value {
    if ranks == 1 {
        return output(command);
    }
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
    let port = port.expect("a machine has a free port").port();
    let start = |rank: usize| {
        let mut one = Command::new(command.get_program());
        one.args(command.get_args()).env("RANK", rank.to_string()).env("WORLD_SIZE", ranks.to_string());
        one.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
        one
    };
    let others: Vec<_> = (1..ranks).map(|rank| start(rank).stdout(Stdio::null()).spawn()).collect();
    let found = output(start(0));
    for other in others {
        let ended = other.and_then(|mut other| other.wait());
        assert!(ended.as_ref().is_ok_and(|status| status.success()), "a rank failed: {ended:?}");
    }
    found
}

/// The median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    // For an even count the mean of the two middle values, which coincide for an odd count.
    let middle = values.len() / 2;
    (values[(values.len() - 1) / 2] + values[middle]) / 2.0
}
