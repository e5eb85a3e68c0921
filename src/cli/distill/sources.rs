//! The sources that a teacher decodes: those of its training pairs, read as training reads them, or those of other files.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use super::DistillArgs;
use super::choice::without_reference;
use super::table::absolute;
use crate::cli::input::{Input, RowSink, Selection, guessed};
use crate::cli::source_args::open_sources;
use crate::console::status;
use crate::data::DataConfig;
use crate::data::held_out::{HeldOut, source_hash};
use crate::data::left_out::Tally;
use crate::data::readers::{ExtraField, FieldValue, Pair, SourceRow};
use crate::data::selection::{Selected, each_used};
use crate::error::Result;

/// The rows to decode.
pub(super) struct Sources {
    /// The rows.
    pub input: Input,
    /// What becomes of the other training pairs, once all are read; `None` for other files.
    others: Option<Receiver<Others>>,
    /// Notes about the formats of other files.
    guessed: Vec<String>,
}

/// The training pairs that are not decoded.
struct Others {
    selected: Selected,
    held_out: usize,
}

impl Sources {
    /// Opens the sources of a command.
    ///
    /// # Errors
    /// A file cannot be read, or lacks a column.
    pub(super) fn open(args: &DistillArgs, data: &DataConfig, wanted: Selection) -> Result<Sources> {
        match args.input.is_empty() {
            true => Sources::of_training(data, wanted),
            false => Sources::of_files(args, data, wanted),
        }
    }

    /// Whether they are those of the training pairs.
    pub(super) fn are_of_training(&self) -> bool {
        self.others.is_some()
    }

    /// The training pairs that the policies use, and that are not held out for validation.
    fn of_training(data: &DataConfig, wanted: Selection) -> Result<Sources> {
        let held_out = data.valid.share().map(|share| HeldOut::of_training(share, data)).transpose()?;
        let (tell, others) = channel();
        let config = data.clone();
        let read = move |sink: &mut RowSink| -> Result<()> {
            let mut count = 0;
            let selected = each_used(&config.train, &config, &mut |pair| {
                if held_out.is_some_and(|held_out| held_out.has(source_hash(&config, &pair))) {
                    count += 1;
                    return Ok(());
                }
                sink.take(Ok(row_of(pair, &config)?), true)
            })?;
            // Nobody hears of it if the command has ended.
            let _ = tell.send(Others { selected, held_out: count });
            Ok(())
        };
        let file = data.train.paths().next().unwrap_or(Path::new("")).into();
        let input = Input::produced(file, wanted, data.source.audio.is_some(), read)?;
        Ok(Sources { input, others: Some(others), guessed: Vec::new() })
    }

    fn of_files(args: &DistillArgs, data: &DataConfig, wanted: Selection) -> Result<Sources> {
        let (mut all, mut notes) = (Vec::new(), Vec::new());
        for path in &args.input {
            let opened =
                open_sources(path, args.input_format, [args.column.as_deref(), None, None], None, data)?;
            if args.closest.is_some() && !opened.rows.has_targets() {
                return Err(without_reference().at(path.display()));
            }
            notes.extend(guessed(path).filter(|_| args.input_format.is_none() && !opened.listed));
            all.push(opened.rows);
        }
        let input = Input::start_all(all, wanted, data.source.audio.is_some())?;
        Ok(Sources { input, others: None, guessed: notes })
    }

    /// Reports what reading has found, of `rows` rows.
    pub(super) fn say(&self, rows: u64) {
        let note = |note: &String| status(&format!("note: {note}"));
        let Some(others) = &self.others else {
            self.guessed.iter().chain(&self.input.notes(rows)).for_each(note);
            return;
        };
        let Ok(Others { selected: Selected { left_out, notes }, held_out }) = others.try_recv() else {
            return;
        };
        for (reason, Tally { count, first }) in left_out.iter() {
            let first = first.first().map_or(String::new(), |first| format!(", the first at {first}"));
            status(&format!("note: training pairs skipped because {}: {count}{first}", reason.why()));
        }
        if held_out > 0 {
            status(&format!(
                "note: training pairs held out for validation (`data.valid`), and not decoded: {held_out}"
            ));
        }
        notes.iter().for_each(note);
    }
}

/// A training pair as a row of an input. Its recording is named from the working directory, and that of a row from the folder
/// of its file.
fn row_of(pair: Pair, data: &DataConfig) -> Result<SourceRow> {
    let between = data.target.alternatives.as_deref().unwrap_or_default();
    let (field, segment) = (pair.targets().collect::<Vec<&str>>().join(between), pair.segment());
    let Pair { source: text, place, .. } = pair;
    let row = SourceRow { text, target: Some(field), prefix: None, others: Vec::new(), place };
    let Some(audio) = &data.source.audio else { return Ok(row) };
    let text = absolute(Path::new(&row.text))?.to_string_lossy().into_owned();
    let seconds = [&audio.start_column, &audio.end_column].into_iter().zip(segment);
    let field = |(name, seconds): (&String, Option<f64>)| {
        let value = FieldValue::Json(seconds?.to_string());
        Some(ExtraField { name: name.as_str().into(), value })
    };
    Ok(SourceRow { text, others: seconds.filter_map(field).collect(), ..row })
}
