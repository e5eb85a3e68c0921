//! `--from`: training that starts from the weights of another model, on new data.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::Tensor;

use super::RunOptions;
use crate::checkpoint::model_file::{self, ModelHeader};
use crate::checkpoint::run::{Origin, RunDirectory, locate_model, run_of_pointer};
use crate::checkpoint::tensors::{NamedTensors, load_into};
use crate::config::Experiment;
use crate::data::audio::config::AudioConfig;
use crate::data::audio::processor::AudioProcessor;
use crate::data::dataset::Tokenizers;
use crate::data::readers::Pair;
use crate::data::source_processor::SourceProcessor;
use crate::data::tokenizer::{TextForm, Tokenizer};
use crate::data::{DataConfig, SideConfig};
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::model::params::Params;
use crate::training::recorders::Recorder;

/// The hint where the config describes another tokenizer than the model's.
const SETTINGS: &str = "use the model's tokenizer settings in the config; `seqloom inspect` shows them";

/// The initial model.
pub(crate) struct InitialModel {
    path: PathBuf,
    sha256: String,
    /// The config of its experiment.
    config: Value,
    tokenizers: Tokenizers,
    weights: NamedTensors,
    /// Whether its vocabularies may grow.
    extend: bool,
}

impl InitialModel {
    /// Reads a run directory (its best checkpoint), a checkpoint folder or a model file.
    pub(crate) fn read(path: &Path, extend: bool) -> Result<InitialModel> {
        let path = locate_model(path)?;
        let (header, weights) = model_file::read(&path)?;
        let tokenizers =
            Tokenizers::from_json(&header.tokenizers).map_err(|error| error.at(path.display()))?;
        let ModelHeader { sha256, config, .. } = header;
        Ok(InitialModel { path, sha256, config, tokenizers, weights, extend })
    }

    /// Its origin, for the run's records.
    pub(crate) fn origin(&self) -> Origin {
        Origin { path: self.path.clone(), sha256: self.sha256.clone() }
    }

    /// What the tokenizers depend on, beside the training pairs.
    pub(crate) fn key(&self) -> String {
        format!("{} {}", self.sha256, self.extend)
    }

    /// The model's tokenizers, extended if allowed. They must have every symbol of the training pairs.
    ///
    /// # Errors
    /// A tokenizer of another kind or size than the config's; missing symbols.
    pub(crate) fn tokenizers(&self, config: &DataConfig, pairs: &[&Pair]) -> Result<Tokenizers> {
        let sources = pairs.iter().map(|pair| pair.source.as_str());
        let targets = pairs.iter().map(|pair| pair.target.as_str());
        let Tokenizers { source, target } = &self.tokenizers;
        let (source, audio) = match (source, &config.source.audio) {
            (SourceProcessor::Text(source), None) => (source, None),
            (SourceProcessor::Audio(_), Some(audio)) => (target, Some((source, audio))),
            _ => return Err(self.other_kind(source)),
        };
        if let Some((source, audio)) = audio {
            self.check_features(source, audio)?;
            let target = self.grown("target", target, &config.target, targets)?;
            return Ok(Tokenizers { source: source.clone(), target });
        }
        if config.shared_vocabulary {
            if source.to_json() != target.to_json() {
                let message = format!(
                    "{}: `data.shared_vocabulary` is true, but the model has two vocabularies",
                    self.path.display()
                );
                return Err(Error::input(message).hint("set `data.shared_vocabulary` = false"));
            }
            let shared = self.grown("shared", source, &config.source, sources.chain(targets))?;
            return Ok(Tokenizers { source: SourceProcessor::Text(shared.clone()), target: shared });
        }
        Ok(Tokenizers {
            source: SourceProcessor::Text(self.grown("source", source, &config.source, sources)?),
            target: self.grown("target", target, &config.target, targets)?,
        })
    }

    fn other_kind(&self, source: &SourceProcessor) -> Error {
        let place = self.path.display();
        let message = format!(
            "{place}: [data.source] must describe the sources of the model, which are {}",
            source.described()
        );
        Error::input(message).hint("`seqloom inspect` shows the model's config")
    }

    /// The features are the model's own; what the config asks for must not be something else.
    fn check_features(&self, source: &SourceProcessor, audio: &AudioConfig) -> Result<()> {
        let Some(there) = source.audio() else { return Ok(()) };
        let asked = AudioProcessor::new(audio, there.sample_rate())?;
        match there.has_same_features(&asked) {
            true => Ok(()),
            false => Err(self.other_kind(source)),
        }
    }

    fn grown<'a>(
        &self,
        side: &str,
        tokenizer: &Tokenizer,
        config: &SideConfig,
        texts: impl Iterator<Item = &'a str>,
    ) -> Result<Tokenizer> {
        let place = self.path.display();
        self.check_alike(side, tokenizer, config)?;
        let missing = tokenizer.missing(config, texts);
        let Some(first) = missing.first() else { return Ok(tokenizer.clone()) };
        if self.extend {
            return tokenizer.extended(&missing);
        }
        let (there, lacking) = (tokenizer.vocabulary_size(), missing.len());
        let needed = there + lacking;
        let message = format!(
            "{place}: the {side} vocabulary has {there} tokens, but with these training pairs it must have {needed}: it lacks {lacking}, such as `{first}`"
        );
        let hint = "add them with `--extend-vocabulary`: the embedding of each starts as the mean of the old embeddings";
        Err(Error::input(message).hint(hint))
    }

    /// The tokenizer must be what the config asks for, but for its tokens.
    fn check_alike(&self, side: &str, tokenizer: &Tokenizer, config: &SideConfig) -> Result<()> {
        let place = self.path.display();
        if tokenizer.kind() != config.tokenizer_kind() {
            let (there, wanted) = (tokenizer.kind(), config.tokenizer_kind());
            let message = format!(
                "{place}: the {side} tokenizer must be of the kind that the config names, `{wanted}`, but it is `{there}`"
            );
            return Err(Error::input(message).hint(SETTINGS));
        }
        if tokenizer.form() != TextForm::of(config) {
            let (there, wanted) = (tokenizer.form(), TextForm::of(config));
            let message = format!(
                "{place}: the {side} texts must be read as the config sets it ({wanted}), but the model reads them as \
                 {there}"
            );
            let hint = "set `normalize`, `whitespace` and `lowercase` in [data.source] and [data.target]";
            return Err(Error::input(message).hint(hint));
        }
        if let Some((key, there)) = tokenizer.other_rule(config) {
            let message = format!(
                "{place}: `{key}` of the {side} tokenizer must be as in the model, {there}, but the config sets {}",
                !there
            );
            return Err(Error::input(message).hint(SETTINGS));
        }
        match config.pieces() {
            Some(pieces) => self.check_size([side, tokenizer.kind()], tokenizer.vocabulary_size(), pieces),
            None => Ok(()),
        }
    }

    /// The config must have the actual number of pieces, or that of the model's config, which may be larger.
    fn check_size(&self, [side, kind]: [&str; 2], there: usize, wanted: usize) -> Result<()> {
        let table = if side == "shared" { "source" } else { side };
        let asked = self.config.pointer(&format!("/data/{table}/{kind}/vocabulary")).and_then(Value::as_u64);
        if wanted == there || asked == Some(wanted as u64) {
            return Ok(());
        }
        let place = self.path.display();
        let message = format!(
            "{place}: the {side} vocabulary has {there} tokens, but `data.{table}.{kind}.vocabulary` is {wanted}"
        );
        Err(Error::input(message).hint(format!(
            "set it to {there}, or train from scratch, without --from, for a vocabulary of {wanted}"
        )))
    }

    /// Loads its weights into a model with the tokenizers of [`InitialModel::tokenizers`]. A new token's row is the
    /// mean of the old rows, without the special tokens. Returns the weights with new rows, and how many.
    ///
    /// # Errors
    /// Weights with other names or shapes.
    pub(crate) fn load_into(self, params: &Params, experiment: &Experiment) -> Result<Vec<(String, i64)>> {
        let special = crate::data::vocabulary::SPECIALS.len() as i64;
        let rows_grow = |name: &str| name.ends_with("_embedding.weight") || name == "output.weight";
        let mut new_rows = Vec::new();
        let mut grown = |name: &str, tensor: Tensor| -> Tensor {
            let (have, Some(want)) = (tensor.size(), params.get(name).map(Tensor::size)) else {
                return tensor;
            };
            let may = rows_grow(name) && have.len() == 2 && want.len() == 2 && have[1] == want[1];
            if !may || want[0] <= have[0] || have[0] <= special {
                return tensor;
            }
            new_rows.push((name.to_string(), want[0] - have[0]));
            let old = tensor.narrow(0, special, have[0] - special);
            let mean = old.mean_dim([0i64].as_slice(), true, tensor.kind()); // (1, D)
            Tensor::cat(&[&tensor, &mean.expand([want[0] - have[0], have[1]], false)], 0)
        };
        let weights: NamedTensors =
            self.weights.into_iter().map(|(name, tensor)| (name.clone(), grown(&name, tensor))).collect();
        let hint = format!(
            "[model] of `{}` must describe the model of --from, except for dropout; `seqloom inspect` shows that model",
            experiment.name
        );
        load_into(params, &weights, &self.path)
            .map_err(|error| Error::input(error.message()).hint(hint.as_str()))?;
        let differing = ModelConfig::differences(&self.config, &experiment.to_json());
        if !differing.is_empty() {
            let (place, keys) = (self.path.display(), differing.join("`, `"));
            let message = format!("{place} is not the network that [model] describes: `{keys}` differ");
            return Err(Error::input(message).hint(hint));
        }
        Ok(new_rows)
    }
}

/// Checks `--from`: a resumed run has its own weights; one without a checkpoint must start from the same model as
/// before.
pub(crate) fn check_origin(
    run: &RunDirectory,
    options: &RunOptions,
    resumes: bool,
    recorder: &mut dyn Recorder,
) -> Result<()> {
    let (was, from) = (run.from().filter(|_| options.resume), options.from.as_deref());
    let place = run.path().display();
    match (was, from) {
        (Some(was), None) if !resumes => {
            let message = format!("{place} started from {} and has no checkpoint yet", was.path.display());
            Err(Error::input(message).hint("use the same --from again, or another folder with --out"))
        }
        (was, Some(from)) if resumes && was.as_ref().is_none_or(|was| !lies_in(&was.path, from)) => {
            let from = from.display();
            recorder
                .say(&format!("note: {place} resumes from its own checkpoint; it did not start from {from}"));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether a path is inside a folder, with links resolved.
fn lies_in(path: &Path, folder: &Path) -> bool {
    let folder = run_of_pointer(folder).unwrap_or(folder);
    let [path, folder] = [path, folder].map(|path| path.canonicalize().unwrap_or(path.to_path_buf()));
    path.starts_with(folder)
}
