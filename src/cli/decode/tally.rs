//! What is counted while rows are decoded, and said at the end: nothing is skipped, cut or unknown in silence.

use std::path::Path;

use serde_json::json;

use super::rows::Row;
use crate::cli::input::Input;
use crate::cli::write_summary;
use crate::data::pairs::SourceRow;
use crate::data::vocabulary::{UNK, comparable};
use crate::decoder::Output;
use crate::decoder::asked::Asked;
use crate::decoder::loaded::LoadedModel;
use crate::error::Result;
use crate::metrics::edit::{ErrorRate, Scores};
use crate::training::report::talk;

/// Rows of one kind.
#[derive(Debug, Default)]
struct Rows {
    count: usize,
    /// The place of the first one, or what is wrong with it.
    first: String,
}

impl Rows {
    fn add(&mut self, first: impl FnOnce() -> String) {
        if self.count == 0 {
            self.first = first();
        }
        self.count += 1;
    }
}

/// What is reported at the end.
#[derive(Debug, Default)]
pub struct Tally {
    rows: usize,
    /// Rows that were in the output before.
    before: u64,
    skipped: Rows,
    truncated: Rows,
    empty: Rows,
    with_nul: Rows,
    only_unknown: Rows,
    unknown: usize,
    unknown_out: usize,
    outputs: usize,
    unfinished: usize,
    fewer: usize,
    scores: Scores,
    examples_left: usize,
}

impl Tally {
    /// Shows `examples` rows; `before` rows were in the output when the command began.
    pub fn new(examples: usize, before: u64) -> Tally {
        Tally { examples_left: examples, before, ..Tally::default() }
    }

    /// Counts what is read.
    pub fn add_sources(&mut self, loaded: &LoadedModel, input: &Input, rows: &[Row<Asked>]) {
        for row in rows {
            self.rows += 1;
            let (asked, read) = match (&row.content, &row.read) {
                (Ok(asked), Some(read)) => (asked, read),
                (Err(error), _) => {
                    let first = || error.message().lines().next().unwrap_or_default().to_owned();
                    self.skipped.add(first);
                    continue;
                }
                (Ok(_), None) => continue,
            };
            self.unknown += asked.unknown;
            let ids = &asked.reading.ids;
            // White space and the marks of where words begin say nothing by themselves.
            let says_nothing =
                |&id: &i64| id == UNK || loaded.tokenizers.source.decode(&[id]).trim().is_empty();
            let kinds = [
                (&mut self.truncated, row.truncated),
                (&mut self.empty, ids.is_empty()),
                (&mut self.with_nul, read.text.contains('\0')),
                (&mut self.only_unknown, asked.unknown > 0 && ids.iter().all(says_nothing)),
            ];
            for (rows, _) in kinds.into_iter().filter(|(_, is_one)| *is_one) {
                rows.add(|| input.place(read.line).to_string());
            }
        }
    }

    /// Counts the outputs of a row, and shows the best while examples are asked for; it is held against the reference.
    pub fn add(&mut self, loaded: &LoadedModel, row: &Row<Vec<Output>>) {
        let (Ok(outputs), Some(read)) = (&row.content, &row.read) else { return };
        self.outputs += outputs.len();
        for Output { hypothesis, .. } in outputs {
            self.unfinished += usize::from(!hypothesis.finished);
            self.unknown_out += hypothesis.tokens.iter().filter(|&&token| token == UNK).count();
        }
        let is_empty = read.text.trim().is_empty();
        self.fewer += usize::from(!is_empty && outputs.len() < loaded.rules.n_best);
        let Some(Output { text, hypothesis, .. }) = outputs.first() else { return };
        let mut right = false;
        if let Some(reference) = &read.reference {
            let target = &loaded.tokenizers.target;
            let tokens = target.encode(reference).ids;
            right = target.same_text(&tokens, &hypothesis.tokens);
            self.scores.add(&comparable(&tokens), &hypothesis.tokens, right);
        }
        if self.examples_left > 0 {
            self.examples_left -= 1;
            show(read, text, right);
        }
    }

    /// Says all of it.
    pub fn say(&self) {
        if self.scores.rows > 0 {
            let ErrorRate { substitutions, deletions, insertions, reference_length } = self.scores.errors;
            talk(&format!(
                "{} rows, exact match {:.2} %, symbol error rate {:.2} % ({substitutions} substitutions, \
                 {deletions} deletions, {insertions} insertions in {reference_length} symbols)",
                self.scores.rows,
                100.0 * self.scores.exact_match(),
                100.0 * self.scores.symbol_error_rate()
            ));
        }
        let rows = [
            (&self.skipped, "rows were skipped, and their outputs are empty"),
            (&self.truncated, "sources were too long and were cut (--truncate)"),
            (&self.empty, "sources are empty, and so are their outputs"),
            (&self.with_nul, "sources have NUL characters, as UTF-16 and binary files do"),
            (&self.only_unknown, "sources have nothing but symbols that the vocabulary lacks"),
        ];
        for (rows, what) in rows.iter().filter(|(rows, _)| rows.count > 0) {
            talk(&format!("note: {} {what}; the first: {}", rows.count, rows.first));
        }
        let notes = [
            (self.unknown, "symbols of the sources are not in the vocabulary"),
            (self.unknown_out, "unknown symbols stand in the outputs"),
            (
                self.unfinished,
                "outputs were cut off before <eos>, at their limit (`decoding.max_length`) or where the rules of [decoding] left nothing to say",
            ),
            (self.fewer, "rows have fewer outputs than `decoding.n_best`: the search found no more"),
        ];
        for (count, what) in notes.iter().filter(|(count, _)| *count > 0) {
            talk(&format!("note: {count} {what}"));
        }
    }

    /// Writes the figures as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut summary = json!({
            "rows": self.rows,
            "rows_before": self.before,
            "skipped": self.skipped.count,
            "truncated": self.truncated.count,
            "empty": self.empty.count,
            "with_nul": self.with_nul.count,
            "only_unknown": self.only_unknown.count,
            "outputs": self.outputs,
            "unfinished": self.unfinished,
            "unknown": self.unknown,
        });
        if self.scores.rows > 0 {
            summary["exact_match"] = json!(self.scores.exact_match());
            summary["symbol_error_rate"] = json!(self.scores.symbol_error_rate());
        }
        write_summary(path, &summary)
    }
}

/// One example for people.
fn show(row: &SourceRow, output: &str, right: bool) {
    let verdict = match &row.reference {
        Some(_) if right => "  (right)".to_owned(),
        Some(reference) => format!("  (wrong: it is {reference})"),
        None => String::new(),
    };
    talk(&format!("  {}  ->  {output}{verdict}", row.text));
}
