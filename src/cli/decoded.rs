//! Tables that `seqloom decode` wrote, as they are read again: of each source the best output.
//!
//! Other programs may have rewritten them since: pandas writes `True` for `true`, and `1.0` for `1` beside a missing value.

use std::borrow::Cow;

use super::scored::ScoredOutputs;
use crate::data::readers::{
    FieldValue, RowReader, SourceRow, check_alternatives, shorten, split_alternatives,
};
use crate::error::{Error, Result};
use crate::metrics::{Example, TargetScore, Unit};

/// The best outputs of a table, one at a time.
pub(super) struct DecodedRows {
    rows: RowReader,
    /// What is between several references in one field; `None` if each is one reference.
    alternatives: Option<String>,
    /// Whether a source may have several outputs. If not, columns `rank` and `ranking` are those of the input.
    may_be_lists: bool,
    /// Outputs so far that are not the best of their sources.
    pub left_out: u64,
}

/// An output with the other fields of its row.
pub(super) struct DecodedRow(SourceRow);

impl DecodedRows {
    /// The rows of a reader whose column of sources is the one with the outputs.
    pub(super) fn of(rows: RowReader, alternatives: Option<&str>) -> DecodedRows {
        let alternatives = alternatives.map(str::to_owned);
        DecodedRows { rows: rows.keeping_extra_fields(), alternatives, may_be_lists: true, left_out: 0 }
    }

    /// The same, where each source has one output.
    pub(super) fn one_each(self) -> DecodedRows {
        DecodedRows { may_be_lists: false, ..self }
    }

    /// The next best output; `None` at the end.
    ///
    /// # Errors
    /// The table cannot be read, or a row lacks a column; the rank of an output is no rank.
    pub(super) fn next_row(&mut self) -> Result<Option<DecodedRow>> {
        while let Some(row) = self.rows.next_row()? {
            let row = DecodedRow(row?);
            if !self.may_be_lists || row.is_best()? {
                return Ok(Some(row));
            }
            self.left_out += 1;
        }
        Ok(None)
    }

    /// Counts a row that was read from it. Without a reference, it has an empty one.
    ///
    /// # Errors
    /// One of several references is empty; `decode` could not read the row; `finished` is neither true nor false.
    pub(super) fn score(&self, row: &DecodedRow, unit: Unit, scored: &mut ScoredOutputs) -> Result<()> {
        let (references, alternatives) = (row.references().unwrap_or_default(), self.alternatives.as_deref());
        check_alternatives(references, alternatives).map_err(|error| error.at(&row.0.place))?;
        let (reference, other_references) = split_alternatives(references, alternatives);
        let finished = row.is_finished()?;
        row.check_was_read(finished)?;
        scored.add(&Example {
            reference,
            other_references: &other_references,
            output: std::slice::from_ref(&row.0.text),
            finished,
            unit,
            reference_score: row.reference_score(),
        });
        Ok(())
    }
}

impl DecodedRow {
    /// The source, if the table has it.
    pub(super) fn source(&self) -> Option<String> {
        match self.value("source")? {
            FieldValue::Text(text) => Some(text.clone()),
            FieldValue::Json(value) => serde_json::from_str(value).ok(),
        }
    }

    /// The field of the references, if the row has one.
    pub(super) fn references(&self) -> Option<&str> {
        self.0.target.as_deref()
    }

    /// How the model scores its reference, as `decode --score-references` writes it; `None` without it, or where it cannot.
    pub(super) fn reference_score(&self) -> Option<TargetScore> {
        Some(TargetScore {
            log_probability: self.field("reference_score")?.parse().ok()?,
            tokens: self.field("reference_length")?.parse().ok()?,
            correct: self.field("reference_correct")?.parse().ok()?,
        })
    }

    /// Why the row was skipped, as `decode --on-error skip` writes it; `None` if it was not.
    pub(super) fn error(&self) -> Option<String> {
        let error = self.field("error")?;
        (!["", "null"].contains(&error.trim())).then(|| error.into_owned())
    }

    /// The output.
    pub(super) fn into_output(self) -> String {
        self.0.text
    }

    /// Whether it is the best output of its source. Only a list has a `ranking`: without one, a column `rank` is the input's.
    fn is_best(&self) -> Result<bool> {
        let (Some(_), Some(rank)) = (self.value("ranking"), self.field("rank")) else { return Ok(true) };
        match rank.trim().parse::<f64>() {
            Ok(number) if number >= 1.0 && number.fract() == 0.0 => Ok(number == 1.0),
            _ => Err(self.other_than("rank", "a whole number from 1", &rank)),
        }
    }

    /// Whether the output reached EOS; true if the row does not say.
    fn is_finished(&self) -> Result<bool> {
        let Some(finished) = self.field("finished") else { return Ok(true) };
        match finished.trim().to_ascii_lowercase().as_str() {
            "" | "null" | "true" | "1" | "1.0" => Ok(true),
            "false" | "0" | "0.0" => Ok(false),
            _ => Err(self.other_than("finished", "true or false", &finished)),
        }
    }

    /// Fails for a row that `decode --on-error skip` could not read: it has no reference, and its empty output would equal an
    /// empty one. `decode` leaves it out of its values.
    fn check_was_read(&self, finished: bool) -> Result<()> {
        let Some(error) = self.error().filter(|_| !finished) else { return Ok(()) };
        let is_empty = |text: Option<&str>| text.is_none_or(str::is_empty);
        if [self.source().as_deref(), self.references(), Some(&*self.0.text)].map(is_empty) != [true; 3] {
            return Ok(());
        }
        let why = error.lines().next().unwrap_or_default();
        let message = format!("a row must have a reference, but `decode` could not read it: {why}");
        Err(Error::input(message).at(&self.0.place).hint("remove the row to evaluate the others"))
    }

    /// The error of a field that `decode` would have written in another form.
    fn other_than(&self, name: &str, must: &str, found: &str) -> Error {
        let message =
            format!("`{name}` must be {must}, as `decode` writes it, but it is `{}`", shorten(found));
        Error::input(message).at(&self.0.place).hint("rename the column if it is not that of `decode`")
    }

    /// A field that is neither reference nor output: its text, or a value of JSON as it is written.
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.value(name)? {
            FieldValue::Text(text) => Some(Cow::Borrowed(text)),
            FieldValue::Json(value) if value.starts_with('"') => {
                serde_json::from_str::<String>(value).ok().map(Cow::Owned)
            }
            FieldValue::Json(value) => Some(Cow::Borrowed(value)),
        }
    }

    fn value(&self, name: &str) -> Option<&FieldValue> {
        self.0.others.iter().find(|field| field.name[..] == *name).map(|field| &field.value)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use super::*;
    use crate::data::readers::{Columns, Format};
    use crate::metrics::MetricKind;

    /// The best outputs of a table with the columns `reference` and `output`, and their `error_rate`.
    fn best(table: &'static str, format: Format) -> Result<(Vec<String>, f64)> {
        let columns = Columns::new(&["output"], "reference");
        let reader = Box::new(Cursor::new(table.as_bytes()));
        let mut rows = DecodedRows::of(RowReader::read(reader, Path::new("in"), format, columns)?, None);
        let mut scored = ScoredOutputs::new("in".into(), &[MetricKind::named("error_rate").unwrap()]);
        let mut outputs = Vec::new();
        while let Some(row) = rows.next_row()? {
            rows.score(&row, Unit::Characters, &mut scored)?;
            outputs.push(row.into_output());
        }
        Ok((outputs, scored.whole.values()[0].value))
    }

    #[test]
    fn a_rank_counts_only_in_a_list() {
        let outputs = |table, format| best(table, format).unwrap().0;
        let of_input = "rank,reference,output,finished\n1,a,a,true\n2,b,b,true\nX,c,c,true\n";
        assert_eq!(outputs(of_input, Format::Csv), ["a", "b", "c"]);
        let list = "reference,rank,output,ranking\na,1,a,-0.1\na,2,b,-0.2\nc,1.0,c,\n";
        assert_eq!(outputs(list, Format::Csv), ["a", "c"]);
        let objects = "{\"reference\":\"a\",\"rank\":1.0,\"output\":\"a\",\"ranking\":-0.1}\n\
                       {\"reference\":\"a\",\"rank\":\"2\",\"output\":\"b\",\"ranking\":null}\n";
        assert_eq!(outputs(objects, Format::Jsonl), ["a"]);
        for rank in ["", "0", "1.5", "first", "NaN"] {
            let table: &str = format!("reference,rank,output,ranking\na,{rank},a,-0.1\n").leak();
            let error = best(table, Format::Csv).unwrap_err();
            let must = format!(
                "in:2: `rank` must be a whole number from 1, as `decode` writes it, but it is `{rank}`"
            );
            assert_eq!((error.exit_code(), error.message()), (2, must.as_str()));
        }
    }

    /// An unfinished output counts as all wrong.
    #[test]
    fn finished_is_read_as_pandas_and_spreadsheets_write_it() {
        let rate = |finished: &str| {
            let table: &str = format!("reference,output,finished\nab,ab,{finished}\n").leak();
            best(table, Format::Csv).map(|(_, rate)| rate)
        };
        for (finished, expected) in [("true", 0.0), ("True", 0.0), ("TRUE", 0.0), ("1.0", 0.0), ("", 0.0)] {
            assert_eq!(rate(finished).unwrap(), expected, "{finished}");
        }
        for finished in ["false", "False", "FALSE", "0.0", "0"] {
            assert_eq!(rate(finished).unwrap(), 1.0, "{finished}");
        }
        let error = rate("yes").unwrap_err();
        assert!(error.message().starts_with("in:2: `finished` must be true or false, "), "{error}");
        let of_objects = |finished: &str| {
            let table: &str =
                format!("{{\"reference\":\"ab\",\"output\":\"ab\",\"finished\":{finished}}}\n").leak();
            best(table, Format::Jsonl).unwrap().1
        };
        let found = ["false", "\"False\"", "0.0", "true", "\"True\"", "null"].map(of_objects);
        assert_eq!(found, [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_row_that_could_not_be_read_is_refused_and_an_empty_pair_is_not() {
        let header = "source,reference,output,finished,error\n";
        let rows =
            |row: &str| best(format!("{header}{row}\n").leak(), Format::Csv).map(|(outputs, _)| outputs);
        let error = rows(",,,False,\"x.csv:3: the text must be UTF-8\nmore\"").unwrap_err();
        let message = "in:2: a row must have a reference, but `decode` could not read it: x.csv:3: the text must be UTF-8";
        assert_eq!(error.message(), message);
        for row in [",,,true,of the input", ",,,false,", "ab,ab,,false,too long"] {
            assert_eq!(rows(row).unwrap(), [""], "{row}");
        }
    }
}
