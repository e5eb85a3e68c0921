//! `seqloom inspect`: shows the content of a checkpoint.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::print;
use crate::checkpoint::files::{SMALL, read_text_within};
use crate::checkpoint::model_file;
use crate::checkpoint::run::{STATE, locate_model};
use crate::config::Experiment;
use crate::data::dataset::Tokenizers;
use crate::data::source_processor::SourceProcessor;
use crate::data::tokenizer::Tokenizer;
use crate::error::{Result, counted, printable};

/// Arguments of `seqloom inspect`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom inspect runs/dates
  seqloom inspect runs/dates --tensors --vocabulary")]
pub(crate) struct InspectArgs {
    /// A run directory (its best checkpoint), a checkpoint folder or a model.safetensors
    run: PathBuf,
    /// List every weight with its shape
    #[arg(long)]
    tensors: bool,
    /// List every token of both vocabularies
    #[arg(long)]
    vocabulary: bool,
}

/// Prints to standard output.
pub(crate) fn run(args: &InspectArgs) -> Result<()> {
    let path = locate_model(&args.run)?;
    let (header, weights) = model_file::read(&path)?;
    let experiment = Experiment::from_json(&header.config, &path.display().to_string())?;
    let tokenizers = Tokenizers::from_json(&header.tokenizers).map_err(|error| error.at(path.display()))?;
    let mut text = format!(
        "{}\nwritten by seqloom {}, format {}, after {}\n",
        path.display(),
        header.seqloom_version,
        header.format_version,
        counted(header.step, "update")
    );
    if let Ok(Some(state)) = read_text_within(&path.with_file_name(STATE), SMALL) {
        section(&mut text, "Training state (state.json)", state.trim());
    }
    section(&mut text, "Experiment", experiment.to_toml().trim());
    let source = match &tokenizers.source {
        SourceProcessor::Text(tokenizer) => describe("source", tokenizer, args.vocabulary),
        SourceProcessor::Audio(processor) => {
            format!("source: {}\n  {}", tokenizers.source.described(), processor.to_json())
        }
    };
    let lines = [source, describe("target", &tokenizers.target, args.vocabulary)];
    section(&mut text, "Vocabularies", &lines.join("\n"));
    section(&mut text, "Parameters", &parameters(&weights, args.tensors));
    print(&printable(&text))
}

fn section(text: &mut String, title: &str, body: &str) {
    // Writing to a string cannot fail.
    let _ = write!(text, "\n== {title}\n{body}\n");
}

fn describe(side: &str, tokenizer: &Tokenizer, all: bool) -> String {
    let size = tokenizer.vocabulary_size();
    let shown = if all { size } else { size.min(24) };
    let tokens: Vec<String> = (0..shown).map(|id| format!("{:?}", tokenizer.token(id as i64))).collect();
    let more = if shown < size { " ..." } else { "" };
    format!("{side}: {} of {}\n  {}{more}", size, tokenizer.kind(), tokens.join(" "))
}

/// Parameter counts: by part, in total, and per weight if requested.
fn parameters(weights: &[(String, tch::Tensor)], each: bool) -> String {
    let mut parts: BTreeMap<String, usize> = BTreeMap::new();
    for (name, tensor) in weights {
        *parts.entry(part_of(name)).or_default() += tensor.numel();
    }
    let total: usize = parts.values().sum();
    let mut lines: Vec<String> = parts.iter().map(|(part, count)| format!("{count:>12}  {part}")).collect();
    lines.push(format!("{total:>12}  in all"));
    if each {
        lines.extend(weights.iter().map(|(name, tensor)| format!("  {name} {:?}", tensor.size())));
    }
    lines.join("\n")
}

/// `encoder.layers.0.self_attention.query.weight` counts for `encoder.layers.0`, others for their first word.
fn part_of(name: &str) -> String {
    let words: Vec<&str> = name.split('.').collect();
    let depth = if words.get(1) == Some(&"layers") { 3 } else { words.len().saturating_sub(1).min(2) };
    words[..depth].join(".")
}
