//! CSV.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seqloom::data::readers::Format;
use seqloom::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::rows(bytes, Format::Csv));
