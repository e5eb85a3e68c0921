//! `seqloom data`: what the pairs of a config are made of, and what its policies would do, before anything is trained.

mod page;
mod report;
mod text;

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;

use self::report::{Report, SetReport};
use super::headings::{INPUT, OUTPUT};
use super::roles::FileRoles;
use crate::checkpoint::files::write_output;
use crate::config::Experiment;
use crate::console::status;
use crate::data::dataset::Tokenizers;
use crate::data::held_out::{HeldOut, source_hash};
use crate::data::readers::Pair;
use crate::data::selection::reading;
use crate::data::survey::{Seen, Side, Survey};
use crate::data::tokenizer::TextForm;
use crate::data::{DataConfig, Files, SideConfig};
use crate::error::{Error, Result};

/// Arguments of `seqloom data`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom data pairs.toml
  seqloom data pairs.toml --page pairs.html

Nothing is trained, and no pair is left out: the report counts texts that are too long or empty and pairs that are repeated or \
copied, and shows the policy of [data] for each. Vocabularies are learned from the first `data.learn_from` training pairs.")]
pub(crate) struct DataArgs {
    /// The config
    config: PathBuf,
    /// Replace a key of the config; may be given more than once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE", help_heading = INPUT)]
    overrides: Vec<String>,
    /// Also write everything as one HTML page, which needs no network
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    page: Option<PathBuf>,
}

/// Reads all sets, and prints what they are made of.
pub(crate) fn run(args: &DataArgs) -> Result<()> {
    let experiment = Experiment::load(&args.config, &args.overrides)?;
    let data = &experiment.data;
    if data.source.audio.is_some() {
        return Err(recordings());
    }
    FileRoles::default().reads_data(data).may_write("page", args.page.as_deref(), "--page").check()?;
    // A share of the pairs that training would use.
    let held_out =
        data.valid.share().map(|share| HeldOut::of_training(share, &data.counting())).transpose()?;
    let is_held_out = |pair: &Pair| held_out.is_some_and(|held_out| held_out.has(source_hash(data, pair)));
    let tokenizers = learn(data, &|pair| !is_held_out(pair))?;
    let train = survey(&data.train, data, &tokenizers, (None, &|pair| !is_held_out(pair)))?;
    let mut sets = vec![SetReport::new("Training", &data.train, &train, data)];
    let mut add = |name, files, wanted: Wanted| -> Result<()> {
        let found = survey(files, data, &tokenizers, (Some(train.seen()), wanted))?;
        sets.push(SetReport::new(name, files, &found, data));
        Ok(())
    };
    match data.valid.files() {
        Some(files) => add("Validation", files, &|_| true)?,
        None => add("Validation", &data.train, &is_held_out)?,
    }
    data.test.as_ref().map_or(Ok(()), |files| add("Test", files, &|_| true))?;
    let report = Report::new(&experiment.name, &tokenizers, sets);
    super::print(&text::render(&report))?;
    if let Some(path) = &args.page {
        write_output(path, page::render(&report).as_bytes())?;
        status(&format!("wrote {}", path.display()));
    }
    Ok(())
}

fn recordings() -> Error {
    Error::input("this command reads texts, but the sources of the config are recordings")
}

/// Which pairs of some files belong to a set.
type Wanted<'a> = &'a dyn Fn(&Pair) -> bool;

/// The tokenizers of the training pairs, also of those that a policy would leave out.
fn learn(data: &DataConfig, wanted: Wanted) -> Result<Tokenizers> {
    let mut pairs = Vec::new();
    each(&data.train, data, &mut |pair| {
        if wanted(&pair) {
            pairs.push(pair);
        }
        match pairs.len() < data.learn_from {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    Tokenizers::train(data, &pairs.iter().collect::<Vec<_>>())
}

fn survey(
    files: &Files,
    data: &DataConfig,
    tokenizers: &Tokenizers,
    (training, wanted): (Option<&Seen>, Wanted),
) -> Result<Survey> {
    let side = |tokenizer, config: &SideConfig| {
        let (form, max_length) = (TextForm::of(config), config.max_length);
        Side { tokenizer, form, max_length }
    };
    let source = tokenizers.source.tokenizer().ok_or_else(recordings)?;
    let sides = [side(source, &data.source), side(&tokenizers.target, &data.target)];
    let mut survey = Survey::default();
    each(files, data, &mut |pair| {
        if wanted(&pair) {
            survey.add(&pair, sides, training);
        }
        ControlFlow::Continue(())
    })?;
    Ok(survey)
}

/// Passes on all pairs of some files; a break ends reading.
fn each(files: &Files, data: &DataConfig, take: &mut dyn FnMut(Pair) -> ControlFlow<()>) -> Result<()> {
    let sources = data.source.columns();
    let mut ended = false;
    for file in files.0.iter() {
        if ended {
            break;
        }
        reading(data, &sources).each(file, &mut |pair, _| {
            let next = take(pair);
            ended = next.is_break();
            Ok(next)
        })?;
    }
    Ok(())
}
