//! What reads bytes that nobody has checked, for fuzzers: each function must return, whatever the bytes are.
//!
//! fuzz/ has a target for each, and tests/broken_bytes.rs tries many inputs in every test run.

use std::io::Cursor;
use std::path::Path;

use serde_json::Value;

use crate::checkpoint::model_file;
use crate::config::Experiment;
use crate::data::dataset::Tokenizers;
use crate::data::readers::{Columns, Format, RowReader};
use crate::data::tokenizer::Tokenizer;

/// The name of the input in messages.
const NAME: &str = "fuzz";

/// A config: TOML, as in a file, and JSON, as in a checkpoint.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    drop(Experiment::parse(&text, NAME, &[]));
    drop(Experiment::parse(
        "name = \"a\"\n[data]\ntrain = \"a.csv\"\nvalid = \"a.csv\"",
        NAME,
        &[text.into_owned()],
    ));
}

/// A table or a text: all rows, with and without a header.
pub fn rows(bytes: &[u8], format: Format) {
    for header in [true, false] {
        let sources = if header { ["source"] } else { ["1"] };
        let columns = Columns { header, ..Columns::new(&sources, if header { "target" } else { "2" }) };
        let reader = RowReader::read(Box::new(Cursor::new(bytes.to_vec())), Path::new(NAME), format, columns);
        let Ok(mut rows) = reader.map(RowReader::keeping_extra_fields) else { continue };
        while let Ok(Some(_)) = rows.next_row() {}
    }
}

/// A model file: its header, its tensors and what both declare.
pub fn model_file(bytes: &[u8]) {
    drop(model_file::parse(bytes, Path::new(NAME)));
}

/// The tokenizers of a model file, and what they make of a text.
pub fn tokenizers(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let Ok(Tokenizers { source, target }) = Tokenizers::from_json(&value) else { return };
    source.tokenizer().into_iter().chain([&target]).for_each(|tokenizer| use_it(tokenizer, bytes));
}

/// A ready tokenizer: a `tokenizer.json` or a SentencePiece model.
pub fn ready_tokenizer(bytes: &[u8]) {
    if let Ok(tokenizer) = Tokenizer::ready(bytes) {
        use_it(&tokenizer, bytes);
    }
}

/// Tokenizes a text, and joins ids.
fn use_it(tokenizer: &Tokenizer, bytes: &[u8]) {
    let text: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
    let ids = tokenizer.encode(&text);
    tokenizer.decode(&ids);
    tokenizer.decode(&[0, 1, 2, 3, 4, i64::MAX, -1]);
}
