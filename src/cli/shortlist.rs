//! `seqloom shortlist`: learns from training pairs which target tokens each source allows, for `decode --shortlist`.

use std::path::PathBuf;

use clap::Args;

use super::headings::{LISTS, OUTPUT};
use super::roles::FileRoles;
use crate::checkpoint::model_file;
use crate::checkpoint::run::locate_model;
use crate::console::status;
use crate::data::dataset::{Dataset, TokenizerSource, Tokenizers};
use crate::data::lexicon::Lexicon;
use crate::data::splits::{DataSplits, LoadOptions};
use crate::data::tokenizer::Tokenizer;
use crate::data::vocabulary::{SPECIALS, UNK};
use crate::error::{Error, Result, counted};
use crate::predictor::loaded_model::read_description;
use crate::predictor::shortlist::{Shortlist, of_texts};

/// Iterations of expectation maximisation.
const ROUNDS: usize = 5;

/// Arguments of `seqloom shortlist`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom shortlist runs/translate --output shortlist.json
  seqloom decode runs/translate --shortlist shortlist.json --input test.en

A shortlist pays off with large vocabularies. The target tokens for each source token are learned by IBM model 1. At the end \
the coverage of the validation targets is reported: outputs cannot contain other tokens.")]
pub(crate) struct ShortlistArgs {
    /// A run directory (its best checkpoint), a checkpoint folder or a model.safetensors
    run: PathBuf,
    /// Write the shortlist to this file
    #[arg(long, short, value_name = "FILE", help_heading = OUTPUT)]
    output: PathBuf,
    /// Allow the N most frequent target tokens for every source
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = LISTS)]
    frequent: usize,
    /// Allow the N most likely target tokens for each token of the source
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = LISTS)]
    best: usize,
    /// Learn from the first N training pairs at most
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..), help_heading = LISTS)]
    pairs: u64,
    /// Replace a key of data.*, such as data.train; may be given more than once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE", help_heading = LISTS)]
    overrides: Vec<String>,
}

/// Learns and writes a shortlist.
pub(crate) fn run(args: &ShortlistArgs) -> Result<()> {
    if let Some(text) = args.overrides.iter().find(|text| !text.starts_with("data.")) {
        return Err(Error::input(format!("only data.* can be set here, but `{text}` is given")));
    }
    let path = locate_model(&args.run)?;
    let (header, _) = model_file::read(&path)?;
    let (experiment, tokenizers) = read_description(&header, &path, &args.overrides)?;
    let roles = FileRoles::default().reads_model(&path).reads_data(&experiment.data);
    roles.writes("output", &args.output, "--output").check()?;
    of_texts(&tokenizers)?;
    let DataSplits { train, valid, tokenizers, .. } =
        DataSplits::load(&experiment.data, LoadOptions::default(), TokenizerSource::Given(&tokenizers))?;
    let shortlist = learn(args, &train, of_texts(&tokenizers)?, &tokenizers.target)?;
    shortlist.write(&args.output, &tokenizers)?;
    status(&format!("learned from {}", counted(train.corpus.len().min(args.pairs as usize), "pair")));
    status(&coverage(&shortlist, &valid, &tokenizers)?);
    Ok(())
}

fn learn(
    args: &ShortlistArgs,
    train: &Dataset,
    sources: &Tokenizer,
    targets: &Tokenizer,
) -> Result<Shortlist> {
    let rows = 0..train.corpus.len().min(args.pairs as usize);
    let rows = rows.map(|row| train.corpus.tokens(row)).collect::<Result<Vec<_>>>()?;
    let sides = rows.iter().map(|[source, target]| (source.as_slice(), target.as_slice()));
    let mut counts: Vec<(u64, i64)> = (0..targets.vocabulary_size() as i64).map(|id| (0, id)).collect();
    sides.clone().flat_map(|(_, target)| target).for_each(|&id| counts[id as usize].0 += 1);
    counts.sort_by_key(|&(count, id)| (std::cmp::Reverse(count), id));
    let seen = counts.into_iter().filter(|(count, _)| *count > 0).map(|(_, id)| id);
    let lexicon = Lexicon::train(sources.vocabulary_size(), sides, ROUNDS);
    let list = |id: i64| {
        // A source token also allows the same target token: names and numbers are often copied.
        let itself =
            (id >= SPECIALS.len() as i64).then(|| targets.vocabulary().id(sources.token(id))).flatten();
        let mut list = lexicon.best(id, args.best);
        list.extend(itself.filter(|itself| !list.contains(itself)));
        list.retain(|&id| id != UNK);
        list
    };
    let lists = (0..sources.vocabulary_size() as i64).map(list).collect();
    Ok(Shortlist::new(seen.filter(|&id| id != UNK).take(args.frequent).collect(), lists))
}

/// The share of the validation targets that the shortlist allows.
fn coverage(shortlist: &Shortlist, valid: &Dataset, tokenizers: &Tokenizers) -> Result<String> {
    let (mut tokens, mut held, mut whole, mut listed) = (0, 0, 0, 0);
    for row in 0..valid.corpus.len() {
        let [source, target] = valid.corpus.tokens(row)?;
        let allowed = shortlist.allowed(&source, std::iter::empty());
        let there = target.iter().filter(|token| allowed.binary_search(token).is_ok()).count();
        tokens += target.len();
        held += there;
        whole += usize::from(there == target.len());
        listed += allowed.len();
    }
    let (rows, percent) =
        (valid.corpus.len(), |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64);
    Ok(format!(
        "validation targets: {rows}, the lists cover {:.2} % of their tokens, and {:.2} % of the targets entirely; a list \
         has {:.0} of {} tokens on average",
        percent(held, tokens),
        percent(whole, rows),
        listed as f64 / rows.max(1) as f64,
        tokenizers.target.vocabulary_size()
    ))
}
