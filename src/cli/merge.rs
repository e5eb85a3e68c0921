//! `seqloom merge`: the outputs of `decode --shard` in the order of the input, as one job would have written them.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::output::{OutputFormat, csv_line};
use super::roles::{FileRoles, is_stdout};
use super::shard::{Shard, ShardRecord};
use super::standard_output;
use crate::data::readers::shorten;
use crate::error::{Error, Result};

/// Arguments of `seqloom merge`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom merge out.1.csv out.2.csv out.3.csv out.4.csv --output out.csv
  seqloom merge out.[1-4].txt > out.txt")]
pub(crate) struct MergeArgs {
    /// The outputs of all jobs, in any order
    #[arg(required = true, value_name = "FILE")]
    parts: Vec<PathBuf>,
    /// Write to this file; - for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &MergeArgs) -> Result<()> {
    let roles = args.parts.iter().fold(FileRoles::default(), |roles, part| roles.reads("part", part));
    roles.writes("output", &args.output, "--output").check()?;
    let records = args.parts.iter().map(|part| ShardRecord::read(part)).collect::<Result<Vec<_>>>()?;
    let order = in_order(&args.parts, &records)?;
    let (format, rows) = (records[0].format, records[0].rows);
    let n_best = records[0].settings.get("decoding.n_best").and_then(serde_json::Value::as_u64).unwrap_or(1);
    let of = order.len() as u64;
    let open = |(number, at): (u64, usize)| Part::open(&args.parts[at], format, (number, of));
    let mut parts = (1..).zip(order).map(open).collect::<Result<Vec<_>>>()?;
    if is_stdout(&args.output) {
        return merge(&mut parts, (rows, n_best, format), &mut standard_output(), "standard output");
    }
    // Under its name only once it is whole.
    let mut name = args.output.clone().into_os_string();
    name.push(".partial");
    let (partial, place) = (PathBuf::from(name), args.output.display().to_string());
    let failed = |error: std::io::Error| Error::file("write", &args.output, &error);
    let mut file = BufWriter::new(File::create(&partial).map_err(failed)?);
    let merged = merge(&mut parts, (rows, n_best, format), &mut file, &place);
    let merged = merged.and_then(|()| file.into_inner().map_err(|error| failed(error.into_error())));
    let merged = merged.and_then(|file| file.sync_all().map_err(failed));
    match merged {
        Ok(()) => std::fs::rename(&partial, &args.output).map_err(failed),
        Err(error) => {
            // The first error is reported.
            let _ = std::fs::remove_file(&partial);
            Err(error)
        }
    }
}

/// The indices of the parts by the number of their shard.
///
/// # Errors
/// Not all shards of one decode are there, or one twice.
fn in_order(paths: &[PathBuf], records: &[ShardRecord]) -> Result<Vec<usize>> {
    let mut order: Vec<Option<usize>> = Vec::new();
    for (at, (path, record)) in paths.iter().zip(records).enumerate() {
        let shown = path.display();
        check_same((&paths[0], &records[0]), (path, record))?;
        let shard: Shard = record.shard.parse().map_err(|_| {
            Error::input(format!("{shown} must be a shard I/N, but its record says `{}`", record.shard))
        })?;
        order.resize(shard.of as usize, None);
        if let Some(other) = order[shard.number as usize - 1].replace(at) {
            let (other, shard) = (paths[other].display(), &record.shard);
            return Err(Error::input(format!(
                "each shard must be given once, but {other} and {shown} are both {shard}"
            )));
        }
    }
    let of = order.len();
    let absent: Vec<String> = (1..)
        .zip(&order)
        .filter(|(_, at)| at.is_none())
        .map(|(number, _)| format!("{number}/{of}"))
        .collect();
    match order.into_iter().collect::<Option<Vec<usize>>>() {
        Some(order) => Ok(order),
        None => {
            let message = format!("all {of} shards are needed, but these are missing: {}", absent.join(", "));
            Err(Error::input(message))
        }
    }
}

/// Two parts must be of the same decode.
fn check_same((one, record): (&Path, &ShardRecord), (path, other): (&Path, &ShardRecord)) -> Result<()> {
    let of = |record: &ShardRecord| record.shard.split('/').nth(1).unwrap_or_default().to_owned();
    let mut pairs = vec![
        ("number of shards", of(record), of(other)),
        ("number of input rows", record.rows.to_string(), other.rows.to_string()),
        ("format", format!("{:?}", record.format), format!("{:?}", other.format)),
    ];
    let names = record.settings.keys().chain(other.settings.keys()).filter(|name| *name != "--shard");
    pairs.extend(names.map(|name| {
        let [was, is] =
            [record, other].map(|one| one.settings.get(name).map_or("null".to_owned(), ToString::to_string));
        (name.as_str(), was, is)
    }));
    match pairs.into_iter().find(|(_, was, is)| was != is) {
        None => Ok(()),
        Some((name, was, is)) => {
            let (one, path) = (one.display(), path.display());
            let message = format!(
                "all shards must be of one decode, but `{name}` is {} in {one} and {} in {path}",
                shorten(&was),
                shorten(&is)
            );
            Err(Error::input(message).hint("decode all shards of one input with the same model and options"))
        }
    }
}

/// Writes the rows of all parts in the order of the input.
fn merge(
    parts: &mut [Part],
    (rows, n_best, format): (u64, u64, OutputFormat),
    to: &mut dyn Write,
    place: &str,
) -> Result<()> {
    let failed = |error: std::io::Error| Error::failure(format!("cannot write {place}: {error}"));
    let headers: Vec<Option<String>> = parts.iter().map(Part::header).collect::<Result<_>>()?;
    if let Some(at) = headers.iter().position(|header| *header != headers[0]) {
        let (one, other) = (parts[0].path.display(), parts[at].path.display());
        return Err(Error::input(format!(
            "all shards must have the same columns, but {one} and {other} differ"
        )));
    }
    if let Some(header) = &headers[0] {
        to.write_all(header.as_bytes()).map_err(failed)?;
    }
    let of = parts.len() as u64;
    for row in 1..=rows {
        let part = &mut parts[((row - 1) % of) as usize];
        let lines = part.row((row, n_best), format)?;
        to.write_all(lines.as_bytes()).map_err(failed)?;
    }
    parts.iter_mut().try_for_each(|part| part.ended(format))?;
    to.flush().map_err(failed)
}

/// A part, read row by row.
struct Part {
    path: PathBuf,
    lines: Lines,
    /// The line that was read last and belongs to the next row: its number and its text.
    next: Option<(u64, String)>,
    /// The number of the next row of text, which has one line for each row of its shard.
    row: u64,
    of: u64,
}

/// The lines of a part.
enum Lines {
    Plain(BufReader<File>),
    /// With the header and the place of the column `row`.
    Table(Box<csv::Reader<File>>, csv::StringRecord, usize),
}

impl Part {
    fn open(path: &Path, format: OutputFormat, shard: (u64, u64)) -> Result<Part> {
        let file = File::open(path).map_err(|error| Error::file("read", path, &error))?;
        let lines = match format {
            OutputFormat::Csv => {
                let mut reader = csv::ReaderBuilder::new().from_reader(file);
                let header = reader.headers().map_err(|error| unreadable(path, &error))?.clone();
                let at = header.iter().position(|name| name == "row").ok_or_else(|| without_number(path))?;
                Lines::Table(Box::new(reader), header, at)
            }
            OutputFormat::Text | OutputFormat::Jsonl => Lines::Plain(BufReader::new(file)),
        };
        Ok(Part { path: path.to_path_buf(), lines, next: None, row: shard.0, of: shard.1 })
    }

    /// The header without the column `row`.
    fn header(&self) -> Result<Option<String>> {
        match &self.lines {
            Lines::Plain(_) => Ok(None),
            Lines::Table(_, header, at) => without(header, *at).map(Some),
        }
    }

    /// All lines of a row, at most `n_best`.
    fn row(&mut self, (row, n_best): (u64, u64), format: OutputFormat) -> Result<String> {
        let mut all = String::new();
        for _ in 0..n_best {
            let next = self.next.take().map_or_else(|| self.line(format), |next| Ok(Some(next)))?;
            match next {
                Some((number, line)) if number == row => all += &line,
                other => {
                    self.next = other;
                    break;
                }
            }
        }
        match all.is_empty() {
            false => Ok(all),
            true => Err(Error::input(format!(
                "{} must have row {row} of the input, but lacks it",
                self.path.display()
            ))),
        }
    }

    /// The next line, and the number of its row.
    fn line(&mut self, format: OutputFormat) -> Result<Option<(u64, String)>> {
        let path = &self.path;
        match &mut self.lines {
            Lines::Table(reader, _, at) => {
                let mut record = csv::StringRecord::new();
                if !reader.read_record(&mut record).map_err(|error| unreadable(path, &error))? {
                    return Ok(None);
                }
                let number =
                    record.get(*at).and_then(|text| text.parse().ok()).ok_or_else(|| without_number(path))?;
                Ok(Some((number, without(&record, *at)?)))
            }
            Lines::Plain(reader) => {
                let mut line = String::new();
                if reader.read_line(&mut line).map_err(|error| unreadable(path, &error))? == 0 {
                    return Ok(None);
                }
                if format == OutputFormat::Text {
                    let row = self.row;
                    self.row += self.of;
                    return Ok(Some((row, line)));
                }
                numbered(&line).map(Some).ok_or_else(|| without_number(path))
            }
        }
    }

    /// Nothing may follow the last row.
    fn ended(&mut self, format: OutputFormat) -> Result<()> {
        let next = self.next.take().map_or_else(|| self.line(format), |next| Ok(Some(next)))?;
        match next {
            None => Ok(()),
            Some(_) => Err(Error::input(format!(
                "{} must have each row of its shard once, in order, but has others",
                self.path.display()
            ))),
        }
    }
}

fn without(record: &csv::StringRecord, at: usize) -> Result<String> {
    csv_line(&record.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, field)| field).collect::<Vec<_>>())
}

/// The number of an object's row, and the object without it. `decode` writes the number in front of the source, behind the
/// fields of the input: so the last place of these two is its own.
fn numbered(line: &str) -> Option<(u64, String)> {
    let source = line.rfind(",\"source\":")?;
    let start = line[..source].rfind("\"row\":")?;
    let number = line[start + "\"row\":".len()..source].parse().ok()?;
    Some((number, format!("{}{}", &line[..start], &line[source + 1..])))
}

fn without_number(path: &Path) -> Error {
    Error::input(format!(
        "{} must have the number of each row, as `decode --shard` writes it",
        path.display()
    ))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::failure(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_object_is_the_one_in_front_of_its_source() {
        let line = r#"{"row":1,"x":"\"row\":2,\"source\":","row":3,"source":"a,\"source\":b","output":"c"}"#;
        let rest = r#"{"row":1,"x":"\"row\":2,\"source\":","source":"a,\"source\":b","output":"c"}"#;
        assert_eq!(numbered(line), Some((3, rest.to_owned())));
        assert_eq!(numbered(r#"{"source":"a"}"#), None);
    }
}
