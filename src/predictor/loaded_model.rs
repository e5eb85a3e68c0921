//! A trained model, ready to decode, loaded from one model file. Others may be loaded with it as an ensemble.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use tch::Tensor;

use crate::checkpoint::model_file::{self, ModelHeader};
use crate::checkpoint::run::locate_model;
use crate::checkpoint::tensors::{check, load_into};
use crate::config::Experiment;
use crate::config::page::meant;
use crate::data::Policy;
use crate::data::dataset::Tokenizers;
use crate::data::readers::{check_alternatives, split_alternatives};
use crate::data::source::SourceItem;
use crate::data::tokenizer::Tokenizer;
use crate::decoding::constraints::token_texts::TokenTexts;
use crate::decoding::ensemble::Ensemble;
use crate::decoding::network_decoder::{NetworkDecoder, weights_for};
use crate::decoding::options::SearchOptions;
use crate::error::{Error, Result};
use crate::model::network::Network;
use crate::model::params::Params;
use crate::model::{Tied, Weights};
use crate::predictor::shortlist::Shortlist;
use crate::runtime::{Runtime, RuntimeConfig};

/// The content of a model file, on its device.
pub struct LoadedModel {
    /// The checksum of its file.
    pub sha256: String,
    /// Its experiment, with the overrides.
    pub experiment: Experiment,
    /// Both sides' tokenizers.
    pub tokenizers: Tokenizers,
    /// The network.
    pub model: Network,
    /// The device and threads.
    pub runtime: Runtime,
    /// Number format of its matrices for decoding.
    pub weights: Weights,
    /// The options of the search. It may look for more outputs than the experiment's `decoding.n_best`: candidates, among
    /// which a caller chooses.
    pub options: SearchOptions,
    /// The other models of an ensemble (`decoding.ensemble`), with the same target vocabulary.
    pub others: Vec<LoadedModel>,
    /// The tokens that a source allows; `None` for all tokens.
    pub shortlist: Option<Shortlist>,
    /// Whether all models tokenize sources alike.
    cuts_alike: bool,
    /// Built on first use.
    decoder: OnceCell<Ensemble<NetworkDecoder>>,
}

impl LoadedModel {
    /// Opens a run directory (its best checkpoint), a checkpoint folder or a model file.
    ///
    /// # Errors
    /// No model there, a damaged file, an override of a key on which the weights depend, a number format that the
    /// device does not support.
    pub fn open(path: &Path, overrides: &[String]) -> Result<LoadedModel> {
        let path = locate_model(path)?;
        refuse_fixed_keys(overrides)?;
        let (header, weights) = model_file::read(&path)?;
        let (experiment, tokenizers) = read_description(&header, &path, overrides)?;
        check_weights(&experiment, &tokenizers, &weights, &path)?;
        if experiment.decoding.replace_unknown && tokenizers.source.tokenizer().is_none() {
            let message =
                "`decoding.replace_unknown` copies symbols of texts, but the model reads recordings";
            return Err(Error::input(message));
        }
        let runtime = Runtime::start(&experiment.runtime)?;
        let mut params = Params::blank(runtime.device).with_compute_kind(runtime.compute);
        let model = build(&experiment, &tokenizers, &mut params);
        load_into(&params, &weights, &path)?;
        let weights = weights_for(&experiment.decoding, runtime.device, runtime.compute)?;
        let options = SearchOptions::with_texts(&experiment.decoding, texts_of(&tokenizers.target))?;
        Ok(LoadedModel {
            sha256: header.sha256,
            experiment,
            tokenizers,
            model,
            runtime,
            weights,
            options,
            others: Vec::new(),
            shortlist: None,
            cuts_alike: true,
            decoder: OnceCell::new(),
        })
    }

    /// Opens an ensemble: a model and others, combined as the first one's `decoding.ensemble` sets.
    ///
    /// # Errors
    /// Those of [`LoadedModel::open`]; models with different target vocabularies.
    pub(crate) fn open_together(
        path: &Path,
        others: &[PathBuf],
        overrides: &[String],
    ) -> Result<LoadedModel> {
        let mut first = LoadedModel::open(path, overrides)?;
        // The search settings are the first one's; those of the others are unused.
        let of_search = |text: &String| {
            let key = text.split('=').next().unwrap_or_default().trim();
            key.starts_with("decoding.") && key != "decoding.weights"
        };
        let of_all: Vec<String> = overrides.iter().filter(|text| !of_search(text)).cloned().collect();
        for other in others {
            let opened = LoadedModel::open(other, &of_all)?;
            check_targets([path, other], [&first.tokenizers.target, &opened.tokenizers.target])?;
            check_sources([path, other], [&first, &opened])?;
            first.cuts_alike &= first.tokenizers.source.difference(&opened.tokenizers.source).is_none();
            first.others.push(opened);
        }
        Ok(first)
    }

    /// Sets the number of outputs per source. A narrower beam is widened to it; returns the new width.
    ///
    /// # Errors
    /// A number outside the range of `decoding.n_best` or `decoding.beam`.
    pub(crate) fn require_n_best(&mut self, n_best: usize) -> Result<Option<usize>> {
        let (experiment, widened) = self.with_n_best(n_best)?;
        self.options = SearchOptions::with_texts(&experiment.decoding, self.texts())?;
        self.experiment = experiment;
        Ok(widened)
    }

    /// Lets the search look for this many candidates per source; the experiment keeps its number of outputs. A narrower beam
    /// is widened to it; returns the new width.
    ///
    /// # Errors
    /// Those of [`LoadedModel::require_n_best`].
    pub(crate) fn require_candidates(&mut self, candidates: usize) -> Result<Option<usize>> {
        let (experiment, widened) = self.with_n_best(candidates)?;
        self.options = SearchOptions::with_texts(&experiment.decoding, self.texts())?;
        Ok(widened)
    }

    /// The experiment with this number of outputs, and the width of its beam if it is wider than before.
    fn with_n_best(&self, n_best: usize) -> Result<(Experiment, Option<usize>)> {
        let decoding = &self.experiment.decoding;
        let mut settings = vec![format!("decoding.n_best={n_best}")];
        let beam = n_best.next_multiple_of(decoding.beam_groups);
        let widened = (decoding.sampling.is_none() && beam > decoding.beam).then_some(beam);
        settings.extend(widened.map(|beam| format!("decoding.beam={beam}")));
        Ok((self.experiment.with_overrides(&settings)?, widened))
    }

    /// Replaces keys of `[decoding]`, but not `decoding.weights`.
    ///
    /// # Errors
    /// An unknown key; a value outside its range.
    pub(crate) fn set_search(&mut self, settings: &[String]) -> Result<()> {
        self.experiment = self.experiment.with_overrides(settings)?;
        self.options = SearchOptions::with_texts(&self.experiment.decoding, self.texts())?;
        Ok(())
    }

    /// The texts of the target's tokens, for other search options.
    pub(crate) fn texts(&self) -> TokenTexts {
        texts_of(&self.tokenizers.target)
    }

    /// The decoder of the ensemble.
    pub(crate) fn decoder(&self) -> &Ensemble<NetworkDecoder> {
        self.decoder.get_or_init(|| self.decoder_with(None))
    }

    /// The same, with matrices in this number format, or in each model's own.
    pub(crate) fn decoder_with(&self, weights: Option<Weights>) -> Ensemble<NetworkDecoder> {
        let own = |one: &LoadedModel| NetworkDecoder::new(&one.model, weights.unwrap_or(one.weights));
        Ensemble::new(own(self), self.others.iter().map(own), self.experiment.decoding.ensemble)
    }

    /// All models of the ensemble, this one first.
    pub(crate) fn members(&self) -> impl Iterator<Item = &LoadedModel> {
        std::iter::once(self).chain(&self.others)
    }

    /// Reads a file of [`crate::predictor::shortlist`], to which outputs are restricted from now on.
    ///
    /// # Errors
    /// The file cannot be read, or was made for other vocabularies.
    pub fn use_shortlist(&mut self, path: &Path) -> Result<()> {
        self.shortlist = Some(Shortlist::read(path, &self.tokenizers)?);
        Ok(())
    }

    /// Whether a source is decoded. An empty one is only if the model was trained on such (`data.empty` = "keep");
    /// otherwise its output is empty.
    pub(crate) fn is_requested(&self, source: &SourceItem) -> bool {
        !source.is_empty() || self.experiment.data.empty == Policy::Keep
    }

    /// The references in a field of a row, the first one and the others (`data.target.alternatives`).
    pub(crate) fn references<'t>(&self, field: &'t str) -> (&'t str, Vec<&'t str>) {
        split_alternatives(field, self.experiment.data.target.alternatives.as_deref())
    }

    /// Checks the references in a field of a row.
    ///
    /// # Errors
    /// One of several is empty.
    pub(crate) fn check_references(&self, field: &str) -> Result<()> {
        check_alternatives(field, self.experiment.data.target.alternatives.as_deref())
    }

    /// Whether all models tokenize sources alike.
    pub(crate) fn tokenizes_alike(&self) -> bool {
        self.cuts_alike
    }

    /// The most tokens of a source (`data.source.max_length`) for each model; a single limit if all tokenize sources
    /// alike.
    pub(crate) fn source_limits(&self) -> Vec<usize> {
        let limits = self.members().map(|one| one.experiment.data.source.max_length);
        match self.cuts_alike {
            true => limits.min().into_iter().collect(),
            false => limits.collect(),
        }
    }

    /// The most tokens of a target to score: the smallest `data.target.max_length` of all models.
    pub(crate) fn max_target_length(&self) -> usize {
        self.members().map(|one| one.experiment.data.target.max_length).min().unwrap_or_default()
    }
}

fn texts_of(target: &Tokenizer) -> TokenTexts {
    TokenTexts::in_form(target.pieces(), target.form())
}

/// Models that choose together read sources of one kind.
fn check_sources(paths: [&Path; 2], models: [&LoadedModel; 2]) -> Result<()> {
    let reads = |model: &LoadedModel| match model.tokenizers.source.tokenizer() {
        Some(_) => "texts",
        None => "recordings",
    };
    let ([one, other], [first, second]) = (models.map(reads), paths.map(Path::display));
    if one == other {
        return Ok(());
    }
    let message = format!(
        "models that decode together must read sources of one kind, but {first} reads {one} and {second} {other}"
    );
    Err(Error::input(message))
}

/// Checks that two models of an ensemble have the same target tokens.
fn check_targets(paths: [&Path; 2], [one, other]: [&Tokenizer; 2]) -> Result<()> {
    let Some((id, tokens)) = one.vocabulary().difference(other.vocabulary()) else { return Ok(()) };
    let [first, second] =
        tokens.map(|token| token.map_or("missing".to_owned(), |token| format!("{token:?}")));
    let [one, other] = paths.map(Path::display);
    Err(Error::input(format!(
        "the models of an ensemble must have the same target vocabulary, but token {id} is {first} in {one} and \
         {second} in {other}"
    )))
}

/// The experiment, with overrides, and the tokenizers of a model file at `path`.
///
/// # Errors
/// A damaged header, an override of an unknown key.
pub(crate) fn read_description(
    header: &ModelHeader,
    path: &Path,
    overrides: &[String],
) -> Result<(Experiment, Tokenizers)> {
    let place = path.display().to_string();
    let trained = Experiment::from_json(&header.config, &place)?;
    // The runtime settings of training do not apply to this machine.
    let portable = Experiment { runtime: RuntimeConfig::default(), ..trained };
    let tokenizers = Tokenizers::from_json(&header.tokenizers).map_err(|error| error.at(&place))?;
    Ok((portable.with_overrides(overrides)?, tokenizers))
}

/// Builds the network of an experiment.
pub fn build(experiment: &Experiment, tokenizers: &Tokenizers, params: &mut Params) -> Network {
    let (source, target) = (tokenizers.source.shape(), tokenizers.target.vocabulary_size());
    Network::new(&experiment.model.network(), source, target, params)
}

/// Checks the weights of a file against its header, before memory of that size is allocated.
///
/// # Errors
/// Weights with other names or shapes; vocabularies that cannot share a matrix.
pub(crate) fn check_weights(
    experiment: &Experiment,
    tokenizers: &Tokenizers,
    weights: &[(String, Tensor)],
    path: &Path,
) -> Result<()> {
    let network = experiment.model.network();
    let (place, layers) = (path.display(), network.layers());
    // Each layer has several weights: this bounds the number of names to build.
    if weights.len() < layers {
        let there = weights.len();
        return Err(Error::failure(format!("{place} has {there} weights, too few for its {layers} layers")));
    }
    let (source, target) = (tokenizers.source.shape(), tokenizers.target.vocabulary_size());
    if network.tied_embeddings() == Tied::All && source != target.into() {
        let what = format!(
            "ties its embeddings, but has {} and {target} tokens of targets",
            tokenizers.source.described()
        );
        return Err(Error::failure(format!("{place} {what}")));
    }
    check(&outline(experiment, tokenizers), weights, path)
}

/// The weights of an experiment's network: names and shapes without values.
pub(crate) fn outline(experiment: &Experiment, tokenizers: &Tokenizers) -> Params {
    let mut params = Params::outline();
    build(experiment, tokenizers, &mut params);
    params
}

/// Refuses overrides of keys that training fixed: only search, runtime and length limits can change.
fn refuse_fixed_keys(overrides: &[String]) -> Result<()> {
    let free = ["decoding.", "runtime.", "data.source.max_length=", "data.target.max_length="];
    let is_free = |text: &str| free.iter().any(|start| text.starts_with(start));
    let fixed = overrides.iter().find(|text| !is_free(text));
    match fixed {
        Some(text) => {
            let keys = "decoding.*, runtime.* and data.*.max_length";
            let settled = "training fixed all other keys, and they are in the checkpoint";
            Err(Error::input(format!("only {keys} can be set here, but `{text}` is given"))
                .hint(meant(text, |path| is_free(&format!("{path}="))).unwrap_or(settled.to_owned())))
        }
        None => Ok(()),
    }
}
