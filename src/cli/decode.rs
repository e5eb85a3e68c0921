//! `seqloom decode`: sources in, outputs out, in the same order.
//!
//! The input is read and written a chunk at a time; within a chunk rows are sorted by length.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::loaded::LoadedModel;
use crate::data::pairs::{Format, SourceRow, Sources};
use crate::data::vocabulary::{UNK, comparable};
use crate::decoding::rules::Rules;
use crate::decoding::search::Hypothesis;
use crate::decoding::workers::decode_best;
use crate::error::{Error, Result};
use crate::metrics::edit::{ErrorRate, Scores};
use crate::training::report::talk;

/// Rows that are read, decoded and written together.
const CHUNK: usize = 2048;

/// Arguments of `seqloom decode`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  echo 'March 5, 2024' | seqloom decode runs/dates
  seqloom decode runs/dates --input data/dates/test.csv --output out.csv --beam 5
  seqloom decode runs/dates --input words.txt --format jsonl --set decoding.max_length=40")]
pub struct DecodeArgs {
    /// A run directory (its best checkpoint), a checkpoint folder or a model.safetensors
    run: PathBuf,
    /// Text with a source a line, or .csv, .tsv, .jsonl; - for standard input
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// The sources' column in .csv, .tsv and .jsonl [default: as in training]
    #[arg(long)]
    column: Option<String>,
    /// Where outputs go; - for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// How outputs are written [default: by the output's extension, else text]
    #[arg(long, value_enum)]
    format: Option<OutputFormat>,
    /// Prints this many rows with their references to standard error
    #[arg(long, value_name = "N", default_value_t = 0)]
    examples: usize,
    /// Writes rows, exact match, error rate and unfinished outputs to a JSON file
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Hypotheses that go on side by side for each source; short for --set decoding.beam=N [default: as in training]
    #[arg(long, value_name = "N")]
    beam: Option<usize>,
    /// Replaces a key of decoding.* or runtime.*; may be given more than once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
}

/// How outputs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// An output a line
    Text,
    /// Columns source, reference (where there is one), output, score, finished
    Csv,
    /// The same, an object a line
    Jsonl,
}

/// Decodes.
pub fn run(args: &DecodeArgs) -> Result<()> {
    let beam = args.beam.map(|width| format!("decoding.beam={width}"));
    let overrides: Vec<String> = args.overrides.iter().cloned().chain(beam).collect();
    let loaded = LoadedModel::open(&args.run, &overrides)?;
    let data = &loaded.experiment.data;
    if args.column.is_some() && Format::of(&args.input) == Format::Text {
        return Err(Error::input("--column is for tables, but the input is text with a source a line")
            .hint("name a .csv, .tsv or .jsonl file with --input"));
    }
    let column = args.column.as_deref().unwrap_or(&data.source.column);
    let mut sources = Sources::open(&args.input, column, &data.target.column)?;
    refuse_same_file(&args.input, &args.output)?;
    if args.input == Path::new("-") && std::io::stdin().is_terminal() {
        talk("reading sources from standard input, one a line; Ctrl-D ends them");
    }
    let mut writer = Writer::open(&args.output, args.format, sources.has_references())?;
    let mut tally = Tally { examples_left: args.examples, ..Tally::default() };
    loop {
        let rows = sources.by_ref().take(CHUNK).collect::<Result<Vec<SourceRow>>>()?;
        if rows.is_empty() {
            break;
        }
        let decoded = decode_rows(&loaded, &sources, &rows, &mut tally)?;
        for (row, (hypothesis, output)) in rows.iter().zip(&decoded) {
            tally.add(&loaded, row, hypothesis, output);
            if !writer.write(row, hypothesis, output)? {
                return Ok(());
            }
        }
        if !writer.flush()? {
            return Ok(());
        }
    }
    tally.say();
    args.summary.as_ref().map_or(Ok(()), |path| tally.write(path))
}

/// The output is written while the input is read.
fn refuse_same_file(input: &Path, output: &Path) -> Result<()> {
    match (input.canonicalize(), output.canonicalize()) {
        (Ok(one), Ok(other)) if one == other && one.is_file() => {
            Err(Error::input(format!("{} cannot be the input and the output at once", input.display()))
                .hint("name another file with --output"))
        }
        _ => Ok(()),
    }
}

/// The hypothesis and the output text of each row. An empty source has an empty output.
fn decode_rows(
    loaded: &LoadedModel,
    sources: &Sources,
    rows: &[SourceRow],
    tally: &mut Tally,
) -> Result<Vec<(Hypothesis, String)>> {
    let limit = loaded.experiment.data.source.max_length;
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let encoded = loaded.tokenizers.source.encode_all(&texts);
    for (row, source) in rows.iter().zip(&encoded) {
        if source.ids.len() > limit {
            let length = source.ids.len();
            let message = format!(
                "a source may have {limit} tokens (`data.source.max_length`), but this row's has {length}"
            );
            return Err(Error::input(message)
                .at(sources.place(row.line))
                .hint("split it into shorter sources"));
        }
        tally.unknown += source.unknown;
    }
    let said: Vec<usize> = (0..rows.len()).filter(|&row| !encoded[row].ids.is_empty()).collect();
    let ids: Vec<&[i64]> = said.iter().map(|&row| encoded[row].ids.as_slice()).collect();
    let silent = Hypothesis { finished: true, ..Hypothesis::default() };
    let rules = Rules::new(&loaded.experiment.decoding, |text| loaded.tokenizers.target.encode(text).ids);
    let mut out = vec![(silent, String::new()); rows.len()];
    for (row, hypothesis) in said.into_iter().zip(decode_best(&loaded.stepper(), &ids, &rules)?) {
        let text = loaded.tokenizers.target.decode(&hypothesis.tokens);
        out[row] = (hypothesis, text);
    }
    Ok(out)
}

/// What is reported at the end.
#[derive(Debug, Default)]
struct Tally {
    rows: usize,
    unknown: usize,
    unknown_out: usize,
    unfinished: usize,
    scores: Scores,
    examples_left: usize,
}

impl Tally {
    fn add(&mut self, loaded: &LoadedModel, row: &SourceRow, hypothesis: &Hypothesis, output: &str) {
        let mut right = false;
        self.rows += 1;
        self.unfinished += usize::from(!hypothesis.finished);
        self.unknown_out += hypothesis.tokens.iter().filter(|&&token| token == UNK).count();
        if let Some(reference) = &row.reference {
            let target = &loaded.tokenizers.target;
            let tokens = target.encode(reference).ids;
            right = target.same_text(&tokens, &hypothesis.tokens);
            self.scores.add(&comparable(&tokens), &hypothesis.tokens, right);
        }
        if self.examples_left > 0 {
            self.examples_left -= 1;
            show(row, output, right);
        }
    }

    fn say(&self) {
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
        let notes = [
            (self.unknown, "symbols of the sources are not in the vocabulary"),
            (self.unknown_out, "unknown symbols stand in the outputs"),
            (self.unfinished, "outputs hit the length limit (`decoding.max_length`)"),
        ];
        for (count, what) in notes.iter().filter(|(count, _)| *count > 0) {
            talk(&format!("note: {count} {what}"));
        }
    }

    fn write(&self, path: &Path) -> Result<()> {
        let mut summary =
            json!({ "rows": self.rows, "unfinished": self.unfinished, "unknown": self.unknown });
        if self.scores.rows > 0 {
            summary["exact_match"] = json!(self.scores.exact_match());
            summary["symbol_error_rate"] = json!(self.scores.symbol_error_rate());
        }
        std::fs::write(path, format!("{summary}\n")).map_err(|error| Error::file("write", path, &error))
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

/// Writes rows in one of the formats.
struct Writer {
    to: Box<dyn Write>,
    format: OutputFormat,
    place: String,
    /// Whether rows have a reference column.
    references: bool,
}

impl Writer {
    fn open(output: &Path, format: Option<OutputFormat>, references: bool) -> Result<Writer> {
        let format = match (format, Format::of(output)) {
            (Some(format), _) => format,
            (None, Format::Csv) => OutputFormat::Csv,
            (None, Format::Jsonl) => OutputFormat::Jsonl,
            (None, Format::Text) => OutputFormat::Text,
            (None, Format::Tsv) => {
                return Err(Error::input(format!(
                    "outputs are not written as TSV, but {} asks for it",
                    output.display()
                ))
                .hint("name a .csv or .jsonl, or say --format"));
            }
        };
        let stdout = output == Path::new("-");
        let to: Box<dyn Write> = if stdout {
            Box::new(BufWriter::new(std::io::stdout()))
        } else {
            Box::new(BufWriter::new(
                File::create(output).map_err(|error| Error::file("write", output, &error))?,
            ))
        };
        let place = if stdout { "standard output".to_owned() } else { output.display().to_string() };
        let mut writer = Writer { to, format, place, references };
        if format == OutputFormat::Csv {
            let header = writer.csv("source", "reference", "output", "score", "finished")?;
            let written = writer.to.write_all(header.as_bytes());
            writer.unless_gone(written)?;
        }
        Ok(writer)
    }

    /// Writes a row; false when the reader has gone away.
    fn write(&mut self, row: &SourceRow, hypothesis: &Hypothesis, output: &str) -> Result<bool> {
        let text = match self.format {
            OutputFormat::Text => format!("{}\n", one_line(output)),
            OutputFormat::Csv => {
                let (score, finished) = (hypothesis.score.to_string(), hypothesis.finished.to_string());
                let reference = row.reference.as_deref().unwrap_or_default();
                self.csv(&row.text, reference, output, &score, &finished)?
            }
            OutputFormat::Jsonl => {
                let mut object = json!({ "source": row.text, "output": output, "score": hypothesis.score, "finished": hypothesis.finished });
                if let Some(reference) = &row.reference {
                    object["reference"] = json!(reference);
                }
                format!("{object}\n")
            }
        };
        let written = self.to.write_all(text.as_bytes());
        self.unless_gone(written)
    }

    /// One line of the table.
    fn csv(
        &self,
        source: &str,
        reference: &str,
        output: &str,
        score: &str,
        finished: &str,
    ) -> Result<String> {
        let mut fields = vec![source, output, score, finished];
        if self.references {
            fields.insert(1, reference);
        }
        let failed =
            |error: &dyn std::fmt::Display| Error::failure(format!("cannot lay out a CSV row: {error}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&fields).map_err(|error| failed(&error))?;
        let bytes = writer.into_inner().map_err(|error| failed(&error))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes what is buffered; false when the reader has gone away.
    fn flush(&mut self) -> Result<bool> {
        let flushed = self.to.flush();
        self.unless_gone(flushed)
    }

    fn unless_gone(&self, written: std::io::Result<()>) -> Result<bool> {
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Error::failure(format!("cannot write {}: {error}", self.place))),
        }
    }
}

/// An output a line: a line break that a model says would shift all lines behind it.
fn one_line(output: &str) -> String {
    output.replace(['\n', '\r'], " ")
}
