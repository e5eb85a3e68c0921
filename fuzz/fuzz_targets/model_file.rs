//! Model files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seqloom::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::model_file(bytes));
