//! `--from`: training that starts from the weights of another model, on new data.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::Tensor;

use crate::checkpoint::model_file::{self, ModelHeader};
use crate::checkpoint::run::{Origin, locate_model};
use crate::checkpoint::tensors::{NamedTensors, load_into};
use crate::config::Experiment;
use crate::data::dataset::Tokenizers;
use crate::data::readers::Pair;
use crate::data::tokenizer::{TextForm, Tokenizer};
use crate::data::{DataConfig, SideConfig};
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::model::params::Params;

/// A model to begin with.
pub struct InitialModel {
    path: PathBuf,
    sha256: String,
    /// Of the experiment that made it.
    config: Value,
    tokenizers: Tokenizers,
    weights: NamedTensors,
    /// Whether its vocabularies may grow.
    extend: bool,
}

impl InitialModel {
    /// Reads a run directory (its best checkpoint), a checkpoint folder or a model file.
    pub fn read(path: &Path, extend: bool) -> Result<InitialModel> {
        let path = locate_model(path)?;
        let (header, weights) = model_file::read(&path)?;
        let tokenizers =
            Tokenizers::from_json(&header.tokenizers).map_err(|error| error.at(path.display()))?;
        let ModelHeader { sha256, config, .. } = header;
        Ok(InitialModel { path, sha256, config, tokenizers, weights, extend })
    }

    /// What it is, for the run's records.
    pub fn origin(&self) -> Origin {
        Origin { path: self.path.clone(), sha256: self.sha256.clone() }
    }

    /// The model's tokenizers, if they have every symbol of the training pairs, or may grow.
    ///
    /// # Errors
    /// A tokenizer of another kind than the config's, or of another size; a vocabulary that lacks symbols.
    pub fn tokenizers(&self, config: &DataConfig, pairs: &[&Pair]) -> Result<Tokenizers> {
        let sources = pairs.iter().map(|pair| pair.source.as_str());
        let targets = pairs.iter().map(|pair| pair.target.as_str());
        let Tokenizers { source, target } = &self.tokenizers;
        if config.shared_vocabulary {
            if source.to_json() != target.to_json() {
                let message = format!(
                    "{}: `data.shared_vocabulary` is true, but the model has two vocabularies",
                    self.path.display()
                );
                return Err(Error::input(message));
            }
            let shared = self.grown("shared", source, &config.source, sources.chain(targets))?;
            return Ok(Tokenizers { source: shared.clone(), target: shared });
        }
        Ok(Tokenizers {
            source: self.grown("source", source, &config.source, sources)?,
            target: self.grown("target", target, &config.target, targets)?,
        })
    }

    fn grown<'a>(
        &self,
        side: &str,
        tokenizer: &Tokenizer,
        config: &SideConfig,
        texts: impl Iterator<Item = &'a str>,
    ) -> Result<Tokenizer> {
        let place = self.path.display();
        if tokenizer.kind() != config.tokenizer_kind() {
            let (there, wanted) = (tokenizer.kind(), config.tokenizer_kind());
            let message = format!(
                "{place}: the {side} tokenizer must be of the kind that the config names, `{wanted}`, but it is `{there}`"
            );
            return Err(Error::input(message));
        }
        if tokenizer.form() != TextForm::of(config) {
            let (there, wanted) = (tokenizer.form(), TextForm::of(config));
            let message = format!(
                "{place}: the {side} texts must be read as the config sets it ({wanted}), but the model reads them as \
                 {there}"
            );
            let hint = "set `normalize` and `whitespace` in [data.source] and [data.target]";
            return Err(Error::input(message).hint(hint));
        }
        if let Some(bpe) = &config.bpe {
            self.check_size(side, tokenizer.vocabulary_size(), bpe.vocabulary)?;
        }
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
        let hint = "add them with `--extend-vocabulary`: each starts as the mean of the old ones";
        Err(Error::input(message).hint(hint))
    }

    /// The config must ask for as many pieces as there are; or for as many as the model's own, which may have found fewer.
    fn check_size(&self, side: &str, there: usize, wanted: usize) -> Result<()> {
        let table = if side == "shared" { "source" } else { side };
        let asked = self.config.pointer(&format!("/data/{table}/bpe/vocabulary")).and_then(Value::as_u64);
        if wanted == there || asked == Some(wanted as u64) {
            return Ok(());
        }
        let place = self.path.display();
        let message = format!(
            "{place}: the {side} vocabulary has {there} tokens, but `data.{table}.bpe.vocabulary` is {wanted}"
        );
        Err(Error::input(message).hint(format!(
            "set it to {there}, or train from scratch, without --from, for a vocabulary of {wanted}"
        )))
    }

    /// Puts its weights into a model over the tokenizers of [`InitialModel::tokenizers`]. A new token's row is the mean of the
    /// rows of the old ones, the special tokens not among them. Which weights have how many new rows is the answer.
    ///
    /// # Errors
    /// Weights of other names or shapes.
    pub fn load_into(self, params: &Params, experiment: &Experiment) -> Result<Vec<(String, i64)>> {
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
