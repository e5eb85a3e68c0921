//! A tokenizer.json, or a SentencePiece model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seqloom::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::ready_tokenizer(bytes));
