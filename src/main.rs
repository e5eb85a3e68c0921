//! The `seqloom` command: parse, dispatch, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    seqloom::cli::main()
}
