//! The columns of an output, and the fields of a row.

use serde_json::{Map, Value, json};

use super::DecodeArgs;
use super::Row;
use super::format::DecodeFormat;
use crate::cli::input::OnError;
use crate::cli::output::{CarriedFields, Field, Kept, OutputFormat, Record, Writer};
use crate::console::status;
use crate::data::readers::{FieldValue, RowReader, SourceRow};
use crate::data::vocabulary::{EOS, Vocabulary};
use crate::decoding::incremental_decoder::Hypothesis;
use crate::error::{Error, Result, counted};
use crate::predictor::Output;
use crate::predictor::loaded_model::LoadedModel;

/// The settings on which outputs depend, for the record of an unfinished output.
pub(crate) fn settings(args: &DecodeArgs, loaded: &LoadedModel) -> Result<Map<String, Value>> {
    let mut all = args.model.settings(loaded)?;
    all.extend([
        ("--prefix".to_owned(), json!(args.source.prefix)),
        ("--prefix-column".to_owned(), json!(args.source.prefix_column)),
        ("--column".to_owned(), json!(args.source.column)),
        ("--header".to_owned(), json!(args.source.header)),
        ("--target-column".to_owned(), json!(args.source.target_column)),
        ("--targets".to_owned(), json!(args.source.targets)),
        ("--shard".to_owned(), json!(args.shard.map(|shard| shard.to_string()))),
        ("--tokens".to_owned(), json!(args.tokens)),
        ("--score-references".to_owned(), json!(args.score_references)),
        ("--times".to_owned(), json!(args.times)),
        ("--mbr".to_owned(), json!(args.mbr.metric)),
        ("--candidates".to_owned(), json!(args.mbr.metric.as_ref().map(|_| args.mbr.candidates))),
        ("--truncate".to_owned(), json!(args.source.truncate)),
        ("--on-error skip".to_owned(), json!(args.source.on_error == OnError::Skip)),
    ]);
    Ok(all)
}

fn split_columns(args: &DecodeArgs, loaded: &LoadedModel) -> Option<[String; 2]> {
    let audio = loaded.experiment.data.source.audio.as_ref().filter(|_| args.split)?;
    Some([audio.start_column.clone(), audio.end_column.clone()])
}

/// The columns of an output besides source, output, score and finished.
pub(crate) struct Columns {
    number: bool,
    reference: bool,
    /// Whether references are scored.
    reference_score: bool,
    truncated: bool,
    error: bool,
    /// The target vocabulary, if tokens are written.
    vocabulary: Option<Vocabulary>,
    times: bool,
    /// The names of start and end, if recordings are split.
    split: Option<[String; 2]>,
    /// Whether outputs are chosen by the expected value of a metric.
    expected: bool,
    /// Outputs per source; with more than one, each has a rank.
    n_best: usize,
}

impl Columns {
    /// The columns that the command line requests and the input has.
    pub(crate) fn new(args: &DecodeArgs, sources: &RowReader, loaded: &LoadedModel) -> Columns {
        let vocabulary = loaded.tokenizers.target.vocabulary();
        Columns {
            number: args.shard.is_some(),
            reference: sources.has_targets(),
            reference_score: args.score_references,
            truncated: args.source.truncate,
            error: args.source.on_error == OnError::Skip,
            vocabulary: args.tokens.then(|| vocabulary.clone()),
            times: args.times,
            split: split_columns(args, loaded),
            expected: args.mbr.metric.is_some(),
            n_best: loaded.experiment.decoding.n_best,
        }
    }

    /// The format of outputs.
    ///
    /// # Errors
    /// An extension that is not for outputs; those of [`DecodeFormat::check`].
    pub(crate) fn format(&self, args: &DecodeArgs) -> Result<DecodeFormat> {
        let format = DecodeFormat::choose(args.format, &args.output)?;
        format.check(self.n_best, [args.tokens, args.times, args.resume])?;
        Ok(format)
    }

    /// The fields to copy from the input to the output.
    pub(crate) fn carried(&self, sources: RowReader, format: OutputFormat) -> (RowReader, CarriedFields) {
        let blank = Row::skipped(0, None, Error::input(""));
        let own: Vec<&str> = self.fields(&blank, 1).into_iter().map(|(name, _)| name).collect();
        CarriedFields::new(sources, format, &own)
    }

    /// Opens the output with these columns; returns the rows that it already has.
    ///
    /// # Errors
    /// The output cannot be written or resumed, or was started with other settings.
    pub(crate) fn writer(
        &self,
        args: &DecodeArgs,
        format: OutputFormat,
        names: &[&str],
        record: &Record,
    ) -> Result<(Writer, Kept)> {
        if !args.resume {
            return Ok((Writer::open(&args.output, format, names)?, Kept::default()));
        }
        let (writer, mut answered) = Writer::resume(&args.output, format, names, self.n_best as u64)?;
        if answered.rows > 0 {
            let known = record.check()?;
            let (output, rows) = (args.output.display(), counted(answered.rows, "row"));
            let unknown = ", without a record of their settings";
            status(&format!(
                "{output} already has {rows}: resuming after them{}; the counts and scores below cover the rest only",
                if known.is_none() { unknown } else { "" }
            ));
            answered.first_source = known.and_then(|known| known.first_source);
        }
        Ok((writer, answered))
    }

    /// The fields of the output with this rank, from 1, in the order of the columns. A skipped row has one output,
    /// which is empty and has no score.
    pub(crate) fn fields(&self, row: &Row<Vec<Output>>, rank: usize) -> Vec<Field<'static>> {
        let read = row.read.as_ref();
        let output = row.content.as_ref().ok().and_then(|outputs| outputs.get(rank - 1));
        let ranked = self.n_best > 1;
        let scored = row.reference_score.as_ref().and_then(|score| score.as_ref().ok());
        let all = [
            (self.number, "row", json!(row.number)),
            (true, "source", json!(read.map(|read| &read.text))),
            (self.reference, "reference", json!(read.and_then(|read| read.target.as_ref()))),
            (ranked, "rank", json!(rank)),
            (true, "output", json!(output.map_or("", |output| &output.text))),
            (true, "score", json!(output.map(|output| output.hypothesis.score))),
            (self.vocabulary.is_some(), "tokens", json!(output.map(|output| self.tokens(output)))),
            (self.split.is_some(), "start", self.seconds(read, 0)),
            (self.split.is_some(), "end", self.seconds(read, 1)),
            (self.times, "times", json!(output.map(|output| &output.times))),
            (ranked, "ranking", json!(output.map(|output| output.hypothesis.ranking))),
            (self.expected, "expected", json!(output.and_then(|output| output.expected))),
            (self.reference_score, "reference_score", json!(scored.map(|score| score.log_probability))),
            (self.reference_score, "reference_length", json!(scored.map(|score| score.tokens))),
            (self.reference_score, "reference_correct", json!(scored.map(|score| score.correct))),
            (true, "finished", json!(output.is_some_and(|output| output.hypothesis.finished))),
            (self.truncated, "truncated", json!(row.truncated)),
            (
                self.error,
                "error",
                row.content.as_ref().err().map_or(Value::Null, |error| json!(error.message())),
            ),
        ];
        all.into_iter().filter(|(there, _, _)| *there).map(|(_, name, value)| (name, value)).collect()
    }

    /// The start (0) or the end (1) of the part of a recording; null if it is whole.
    fn seconds(&self, read: Option<&SourceRow>, side: usize) -> Value {
        let field = self
            .split
            .as_ref()
            .zip(read)
            .and_then(|(names, read)| read.others.iter().find(|field| field.name[..] == names[side][..]));
        let number = field.and_then(|field| {
            let (FieldValue::Text(text) | FieldValue::Json(text)) = &field.value;
            text.trim().parse::<f64>().ok()
        });
        json!(number)
    }

    /// The tokens of an output, as shown.
    fn tokens(&self, output: &Output) -> Vec<&str> {
        let Hypothesis { tokens, finished, .. } = &output.hypothesis;
        let ids = tokens.iter().copied().chain(finished.then_some(EOS));
        ids.filter_map(|id| self.vocabulary.as_ref()?.token(id)).collect()
    }
}
