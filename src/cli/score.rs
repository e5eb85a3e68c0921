//! `seqloom score`: log-probabilities of given targets, by teacher forcing.

mod summary;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use self::summary::ScoreSummary;
use super::headings::{INPUT, MODEL, OUTPUT};
use super::input::{
    Input, InputFormat, InputRow, OnError, Selection, columns_of, named_columns, source_of, too_long,
};
use super::output::{CarriedFields, Field, OutputFormat, Writer};
use super::roles::FileRoles;
use super::scored::{score_targets, target_score};
use crate::checkpoint::run::locate_model;
use crate::data::DataConfig;
use crate::data::readers::{Columns, Format, RowReader, SourceRow, shorten};
use crate::data::tokenizer::Tokenizer;
use crate::data::vocabulary::{BOS, EOS, PAD};
use crate::decoding::incremental_decoder::DecodeRequest;
use crate::decoding::token_scores::TokenScore;
use crate::error::{Error, Result};
use crate::predictor::loaded_model::LoadedModel;
use crate::runtime::StopFlag;

/// Arguments of `seqloom score`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom score runs/dates --input data/dates/test.csv --output scores.csv
  seqloom score runs/dates --input decoded.csv --target-column output
  seqloom score runs/dates --input decoded.jsonl --tokens-column tokens
  seqloom score runs/dates --input test.en --targets test.de --format jsonl --tokens

A score is the sum of the log-probabilities (natural logarithm) of the target's tokens and EOS, given the source. A target \
is tokenized as in training: with BPE, the search may have used other pieces for the same text, and an unfinished output is \
scored as if it ended there. Of several targets of a row (data.target.alternatives) the first is scored. To get the scores of the search, write the tokens with `decode --tokens` and read them with \
--tokens-column.")]
pub(crate) struct ScoreArgs {
    /// A run directory (its best checkpoint), a checkpoint folder or a model.safetensors
    run: PathBuf,
    /// Add a model to the ensemble, combined as decoding.ensemble sets; may be given more than once
    #[arg(long, value_name = "RUN", help_heading = MODEL)]
    with: Vec<PathBuf>,
    /// Pairs in .csv, .tsv, .jsonl, .json or .parquet; with --targets: text with one source per line; - for standard input
    #[arg(long, short, value_name = "FILE", help_heading = INPUT)]
    input: PathBuf,
    /// Format of the pairs [default: by the extension]
    #[arg(long, value_enum, help_heading = INPUT)]
    input_format: Option<InputFormat>,
    /// Text with one target for each line of --input
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["input_format", "header", "source_column", "target_column"],
        help_heading = INPUT
    )]
    targets: Option<PathBuf>,
    /// Whether the first row of .csv and .tsv names the columns; if not, columns are numbers from 1 [default: as in
    /// training]
    #[arg(long, value_name = "BOOL", help_heading = INPUT)]
    header: Option<bool>,
    /// Column of the sources in tables [default: as in training]
    #[arg(long, alias = "column", value_name = "COLUMN", help_heading = INPUT)]
    source_column: Option<String>,
    /// Column of the targets in tables [default: as in training]
    #[arg(long, value_name = "COLUMN", help_heading = INPUT)]
    target_column: Option<String>,
    /// Column in tables with the targets as JSON lists of tokens, as `decode --tokens` writes them;
    /// exactly these tokens are scored, and EOS only if it ends the list
    #[arg(long, value_name = "COLUMN", conflicts_with_all = ["targets", "target_column"], help_heading = INPUT)]
    tokens_column: Option<String>,
    /// Write scores to this file; - for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-", help_heading = OUTPUT)]
    output: PathBuf,
    /// Format of the scores [default: by the output's extension, else text with one score per line]; csv and jsonl have
    /// all other columns or fields of the input, then source, target, score, length (number of tokens, including EOS) and
    /// correct (tokens that are the most likely ones)
    #[arg(long, value_enum, help_heading = OUTPUT)]
    format: Option<OutputFormat>,
    /// Add each token of the target with its log-probability; for jsonl
    #[arg(long, help_heading = OUTPUT)]
    tokens: bool,
    /// What to do with a pair that is broken (for example not UTF-8), too long, or without a source
    #[arg(long, value_enum, default_value = "stop", help_heading = INPUT)]
    on_error: OnError,
    /// Cut sources that are longer than data.source.max_length (recordings: data.source.audio.max_seconds), as
    /// `decode --truncate` does, and count them
    #[arg(long, help_heading = INPUT)]
    truncate: bool,
    /// Write a JSON summary: pairs, tokens, log-probabilities, token accuracy and perplexity; - for standard output
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    summary: Option<PathBuf>,
    /// Replace decoding.ensemble, decoding.weights or a key of runtime.* or data.*.max_length; may be given more than
    /// once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE", help_heading = MODEL)]
    overrides: Vec<String>,
}

/// A pair to score.
struct Pair {
    read: Option<SourceRow>,
    /// The token ids, or why the pair is skipped.
    ids: Result<Ids>,
}

/// A pair as token ids.
struct Ids {
    request: DecodeRequest,
    target: Vec<i64>,
    /// Whether EOS is scored at the end of the target.
    ended: bool,
}

/// Runs the command.
pub(crate) fn run(args: &ScoreArgs) -> Result<()> {
    refuse_search(&args.overrides)?;
    let loaded = LoadedModel::open_together(&args.run, &args.with, &args.overrides)?;
    let sources = open(args, &loaded.experiment.data)?;
    roles(args, &loaded)?.check()?;
    let format = OutputFormat::choose(args.format, &args.output)?;
    if args.tokens && format != OutputFormat::Jsonl {
        return Err(Error::input("--tokens writes a list for each pair, and only JSON Lines can hold lists")
            .hint("use --format jsonl, or name a .jsonl file with --output"));
    }
    let nothing = Pair { read: None, ids: Err(Error::input("")) };
    let names: Vec<&str> = fields(args, &loaded, &nothing, &[]).into_iter().map(|(name, _)| name).collect();
    let (sources, mut carried) = CarriedFields::new(sources, format, &names);
    let stop = StopFlag::on_signals(loaded.experiment.runtime.on_usr1)?;
    let mut writer = Writer::open(&args.output, format, &carried.header())?.guarded(&stop);
    let recordings = loaded.experiment.data.source.audio.is_some();
    let mut input = Input::start(sources, &args.input, Selection::default(), recordings)?;
    let mut summary = ScoreSummary::new();
    loop {
        let read = input.next_chunk()?;
        let ended = read.is_empty();
        let (pairs, fault) = encode(args, &loaded, read, &mut summary);
        let (pairs, not_finite) = score(args, &loaded, pairs)?;
        if !write(args, &loaded, &pairs, (&mut writer, &mut carried), &mut summary)? {
            return Ok(());
        }
        match not_finite.or(fault) {
            Some(error) => return Err(error),
            None if ended => break,
            None => {}
        }
    }
    summary.say(&loaded, &input);
    carried.say();
    args.summary.as_ref().map_or(Ok(()), |path| summary.write(path))
}

/// Refuses settings of the search, which scoring does not use.
fn refuse_search(overrides: &[String]) -> Result<()> {
    let free = ["decoding.ensemble=", "decoding.weights="];
    let of_search =
        |text: &&String| text.starts_with("decoding.") && !free.iter().any(|start| text.starts_with(start));
    match overrides.iter().find(of_search) {
        Some(text) => Err(Error::input(format!("scoring runs no search, but `{text}` was given"))
            .hint("only `ensemble` and `weights` of [decoding] can be set here")),
        None => Ok(()),
    }
}

fn open(args: &ScoreArgs, data: &DataConfig) -> Result<RowReader> {
    if let Some(targets) = &args.targets {
        return RowReader::parallel(&args.input, targets);
    }
    let (header, sources, target) = columns_of(data, args.header);
    let sources = args.source_column.as_deref().map_or(Ok(sources), |option| named_columns(data, option))?;
    let tokens = args.tokens_column.is_some();
    let target = args.tokens_column.as_deref().or(args.target_column.as_deref()).unwrap_or(target);
    let format = args.input_format.map(Format::from);
    let of_target = if tokens { "--tokens-column" } else { "--target-column" };
    let named_by = ["--source-column", of_target];
    let columns = Columns { header, tokens, named_by, ..Columns::new(&sources, target) };
    let opened = RowReader::with_targets(&args.input, format, columns);
    opened.map_err(|error| match format.unwrap_or(Format::of(&args.input)) {
        Format::Text if args.input == Path::new("-") => error.hint("name its format with --input-format"),
        Format::Text => {
            error.hint("for parallel text, --input is the file of sources and --targets the file of targets")
        }
        _ => error,
    })
}

/// The files of the command.
fn roles(args: &ScoreArgs, loaded: &LoadedModel) -> Result<FileRoles> {
    let mut roles =
        FileRoles::default().reads("input", &args.input).may_read("targets", args.targets.as_deref());
    for path in std::iter::once(&args.run).chain(&args.with) {
        roles = roles.reads_model(&locate_model(path)?);
    }
    roles = loaded.members().fold(roles, |roles, one| roles.reads_data(&one.experiment.data));
    roles = roles.writes("output", &args.output, "--output");
    Ok(roles.may_write("summary", args.summary.as_deref(), "--summary"))
}

/// Tokenizes pairs. If a pair has an error and errors stop the command, returns the pairs before it and the error.
fn encode(
    args: &ScoreArgs,
    loaded: &LoadedModel,
    rows: Vec<InputRow>,
    summary: &mut ScoreSummary,
) -> (Vec<Pair>, Option<Error>) {
    let mut pairs = Vec::with_capacity(rows.len());
    for InputRow { row, .. } in rows {
        let (read, ids) = match row {
            Ok(read) => {
                let mut read = read;
                let ids = encode_row(args, loaded, &mut read, summary);
                let ids = ids.map_err(|error| error.at(&read.place));
                (Some(read), ids)
            }
            Err(error) => (None, Err(error)),
        };
        match &ids {
            Err(error) if args.on_error == OnError::Stop => {
                let error = error.clone();
                return (pairs, Some(error));
            }
            _ => pairs.push(Pair { read, ids }),
        }
    }
    (pairs, None)
}

/// Tokenizes a row, of several right targets the first one. A list of tokens in `row` is replaced by its text.
fn encode_row(
    args: &ScoreArgs,
    loaded: &LoadedModel,
    row: &mut SourceRow,
    summary: &mut ScoreSummary,
) -> Result<Ids> {
    let tokenizer = &loaded.tokenizers.target;
    let target = row.target.as_deref().unwrap_or_default();
    summary.changed[0].add(loaded.tokenizers.source.changes(&row.text));
    let (target, ended) = match args.tokens_column {
        None => {
            let (target, _) = loaded.check_references(target).map(|()| loaded.references(target))?;
            summary.changed[1].add(tokenizer.changes(target));
            (tokenizer.encode(target), true)
        }
        Some(_) => {
            let (target, ended) = read_tokens(tokenizer, target)?;
            row.target = Some(tokenizer.decode(&target));
            (target, ended)
        }
    };
    let source = loaded.encode_source(source_of(loaded, row)?, too_long(args.truncate))?;
    let request = source.decode;
    loaded.check_target(&request.source, &target).map_err(|error| match request.source.is_empty() {
        true => error,
        false => error.hint("allow more with --set data.target.max_length=N"),
    })?;
    summary.truncated += usize::from(source.length_before.is_some());
    summary.unknown[0] += source.unknown;
    summary.unknown[1] += tokenizer.count_unknown(&target);
    Ok(Ids { request, target, ended })
}

/// A target as a JSON list of tokens, and whether `<eos>` ends it.
fn read_tokens(tokenizer: &Tokenizer, list: &str) -> Result<(Vec<i64>, bool)> {
    let tokens: Vec<String> = serde_json::from_str(list).map_err(|_| {
        let message = format!(
            "a target must be a JSON list of tokens (--tokens-column), but it is `{}`",
            shorten(list)
        );
        Error::input(message).hint("`decode --tokens` writes such lists; for texts use --target-column")
    })?;
    let mut ids = tokens.iter().map(|token| tokenizer.id(token)).collect::<Result<Vec<i64>>>()?;
    let ended = ids.pop_if(|id| *id == EOS).is_some();
    if let Some(id) = ids.iter().find(|id| [PAD, BOS, EOS].contains(id)) {
        let message = format!("{} must not occur within a target", tokenizer.token(*id));
        return Err(Error::input(message));
    }
    Ok((ids, ended))
}

/// A pair, and the score of each token of its target.
type Scored = (Pair, Vec<TokenScore>);

/// The scores of each pair's tokens; none for a skipped one. If those of a pair are not finite and errors stop the
/// command, returns the pairs before it and the error.
fn score(args: &ScoreArgs, loaded: &LoadedModel, pairs: Vec<Pair>) -> Result<(Vec<Scored>, Option<Error>)> {
    let asked = pairs.iter().map(|pair| pair.ids.as_ref().ok());
    let asked: Vec<Option<(&DecodeRequest, &[i64])>> =
        asked.map(|ids| ids.map(|Ids { request, target, .. }| (request, target.as_slice()))).collect();
    let scores = score_targets(loaded, &asked)?;
    let mut scored = Vec::with_capacity(pairs.len());
    for (Pair { read, ids }, score) in pairs.into_iter().zip(scores) {
        let found = ids.and_then(|ids| {
            let mut tokens = score.unwrap_or_else(|| Ok(Vec::new())).map_err(|error| match &read {
                Some(read) => error.at(&read.place),
                None => error,
            })?;
            tokens.truncate(ids.target.len() + usize::from(ids.ended));
            Ok((ids, tokens))
        });
        match found {
            Ok((ids, tokens)) => scored.push((Pair { read, ids: Ok(ids) }, tokens)),
            Err(error) if args.on_error == OnError::Stop => return Ok((scored, Some(error))),
            Err(error) => scored.push((Pair { read, ids: Err(error) }, Vec::new())),
        }
    }
    Ok((scored, None))
}

/// Writes the rows; false if the reader has closed the output.
fn write(
    args: &ScoreArgs,
    loaded: &LoadedModel,
    scored: &[Scored],
    (writer, carried): (&mut Writer, &mut CarriedFields),
    summary: &mut ScoreSummary,
) -> Result<bool> {
    for (pair, tokens) in scored {
        summary.add(pair, tokens);
        let line = match &pair.ids {
            Ok(_) => target_score(tokens).log_probability.to_string(),
            Err(_) => String::new(),
        };
        let others = pair.read.as_ref().map_or(&[][..], |read| &read.others);
        if !writer.write(&line, &carried.of_row(others), fields(args, loaded, pair, tokens))? {
            return Ok(false);
        }
    }
    writer.flush()
}

/// The fields of a row, in the order of the columns. A skipped pair has no score.
fn fields(args: &ScoreArgs, loaded: &LoadedModel, pair: &Pair, tokens: &[TokenScore]) -> Vec<Field<'static>> {
    let (read, ids) = (pair.read.as_ref(), pair.ids.as_ref().ok());
    let score = ids.map(|_| target_score(tokens));
    let mut fields = vec![
        ("source", json!(read.map(|read| &read.text))),
        ("target", json!(read.and_then(|read| read.target.as_ref()))),
        ("score", json!(score.map(|score| score.log_probability))),
        ("length", json!(score.map(|score| score.tokens))),
        ("correct", json!(score.map(|score| score.correct))),
    ];
    if args.tokens {
        let target = &loaded.tokenizers.target;
        let named = ids.map(|Ids { target, .. }| target.iter().copied().chain([EOS]).take(tokens.len()));
        let named = named.map(|ids| ids.map(|id| target.token(id)).collect::<Vec<_>>());
        let log_p = tokens.iter().map(|token| token.log_probability).collect::<Vec<f32>>();
        fields.push(("tokens", json!(named)));
        fields.push(("log_probabilities", json!(ids.map(|_| log_p))));
    }
    if args.on_error == OnError::Skip {
        fields.push(("error", json!(pair.ids.as_ref().err().map(Error::message))));
    }
    fields
}
