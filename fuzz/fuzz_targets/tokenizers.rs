//! The tokenizers of model files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seqloom::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::tokenizers(bytes));
