//! A trained model, ready to decode: all of it comes out of one model file.

use std::cell::OnceCell;
use std::path::Path;

use crate::checkpoint::model_file;
use crate::checkpoint::run::locate_model;
use crate::checkpoint::tensors::load_into;
use crate::config::Experiment;
use crate::data::dataset::Tokenizers;
use crate::data::tokenizer::Tokenizer;
use crate::decoding::decoder::ModelStepper;
use crate::decoding::rules::Rules;
use crate::error::{Error, Result};
use crate::model::params::Params;
use crate::model::transformer::Transformer;
use crate::model::{Tied, Weights};
use crate::runtime::{Runtime, RuntimeConfig};

/// What a model file holds, on the device that it runs on.
pub struct LoadedModel {
    /// The experiment that made it, with what the command line overrode.
    pub experiment: Experiment,
    /// Both sides' tokenizers.
    pub tokenizers: Tokenizers,
    /// The network over them.
    pub model: Transformer,
    /// What it runs on.
    pub runtime: Runtime,
    /// In what numbers its matrices are kept for decoding.
    pub weights: Weights,
    /// How it is searched.
    pub rules: Rules,
    /// Made when it is first asked for.
    stepper: OnceCell<ModelStepper>,
}

impl LoadedModel {
    /// Opens a run directory (its best checkpoint), a checkpoint folder or a model file.
    ///
    /// # Errors
    /// Nothing of that kind there, a damaged file, an override of what the weights depend on.
    pub fn open(path: &Path, overrides: &[String]) -> Result<LoadedModel> {
        let path = locate_model(path)?;
        refuse_fixed(overrides)?;
        let (header, weights) = model_file::read(&path)?;
        let place = path.display().to_string();
        // What the model was trained on says nothing of the machine that it is run on.
        let trained = Experiment::from_json(&header.config, &place)?;
        let portable = Experiment { runtime: RuntimeConfig::default(), ..trained };
        let experiment = portable.with_overrides(overrides)?;
        let tokenizers = Tokenizers::from_json(&header.tokenizers).map_err(|error| error.at(&place))?;
        let sizes = [&tokenizers.source, &tokenizers.target].map(Tokenizer::vocabulary_size);
        if experiment.model.transformer.tied_embeddings == Tied::All && sizes[0] != sizes[1] {
            let [source, target] = sizes;
            let message = format!(
                "{place} ties its embeddings, but its vocabularies have {source} and {target} tokens"
            );
            return Err(Error::failure(message));
        }
        let runtime = Runtime::start(&experiment.runtime)?;
        let mut params = Params::blank(runtime.device).computing_in(runtime.compute);
        let model = build(&experiment, &tokenizers, &mut params);
        load_into(&params, &weights, &path)?;
        let weights = experiment.decoding.weights.unwrap_or(Weights::of(runtime.compute));
        let rules = Rules::new(&experiment.decoding, |text| tokenizers.target.encode(text).ids);
        Ok(LoadedModel { experiment, tokenizers, model, runtime, weights, rules, stepper: OnceCell::new() })
    }

    /// The model as a search sees it.
    pub fn stepper(&self) -> &ModelStepper {
        self.stepper.get_or_init(|| ModelStepper::new(&self.model, self.weights))
    }
}

/// The network that an experiment describes.
pub fn build(experiment: &Experiment, tokenizers: &Tokenizers, params: &mut Params) -> Transformer {
    let sizes = (tokenizers.source.vocabulary_size(), tokenizers.target.vocabulary_size());
    Transformer::new(&experiment.model.transformer, sizes.0, sizes.1, params)
}

/// What can be changed after the training: how a model is run, and how long its texts may be.
fn refuse_fixed(overrides: &[String]) -> Result<()> {
    let free = ["decoding.", "runtime.", "data.source.max_length=", "data.target.max_length="];
    let fixed = overrides.iter().find(|text| !free.iter().any(|start| text.starts_with(start)));
    match fixed {
        Some(text) => {
            let keys = "decoding.*, runtime.* and data.*.max_length";
            Err(Error::input(format!("only {keys} can be set here, but not `{text}`"))
                .hint("the rest was settled by training, and stands in the checkpoint"))
        }
        None => Ok(()),
    }
}
