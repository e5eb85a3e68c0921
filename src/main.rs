//! The `seqloom` command: parse, dispatch, exit code.

fn main() {
    seqloom::cli::main()
}
