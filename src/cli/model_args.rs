//! Shared options: the models of a command, and its search.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::headings::{MODEL, SEARCH};
use super::roles::FileRoles;
use crate::checkpoint::run::locate_model;
use crate::checkpoint::tensors::sha256;
use crate::console::status;
use crate::error::{Error, Result};
use crate::predictor::loaded_model::LoadedModel;

/// The models and the search.
#[derive(Args, Debug)]
pub(crate) struct ModelArgs {
    /// A run directory (its best checkpoint), a checkpoint folder or a model.safetensors
    pub run: PathBuf,
    /// Add a model to the ensemble, combined as decoding.ensemble sets; may be given more than once. The target
    /// vocabulary must be the same; the search settings are those of RUN
    #[arg(long, value_name = "RUN", help_heading = MODEL)]
    pub with: Vec<PathBuf>,
    /// Restrict each output to the tokens that this shortlist allows for its source. This is faster with a large
    /// vocabulary; probabilities are then over the allowed tokens only. Make one with `seqloom shortlist`
    #[arg(long, value_name = "FILE", help_heading = MODEL)]
    pub shortlist: Option<PathBuf>,
    /// Beam width: hypotheses kept for each source; short for --set decoding.beam=N [default: as in training]
    #[arg(long, value_name = "N", help_heading = SEARCH)]
    pub beam: Option<usize>,
    /// Find the N best outputs of each source, the best first. `decode` needs csv or jsonl for this, and `interactive`
    /// accepts only 1. Short for --set decoding.n_best=N; a narrower beam is widened to N
    #[arg(long, value_name = "N", help_heading = SEARCH)]
    pub n_best: Option<usize>,
    /// Replace each unknown symbol in an output's text with the source symbol that got the most attention; short for
    /// --set decoding.replace_unknown=true
    #[arg(long, help_heading = SEARCH)]
    pub replace_unknown: bool,
    /// Replace a key of decoding.*, runtime.* or data.*.max_length; may be given more than once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE", help_heading = SEARCH)]
    pub overrides: Vec<String>,
}

impl ModelArgs {
    /// Opens the models. Prints a note if `--n-best` widens the beam.
    ///
    /// # Errors
    /// Those of [`LoadedModel::open_together`]; the shortlist cannot be read.
    pub(crate) fn open(&self) -> Result<LoadedModel> {
        self.open_with_beam(1)
    }

    /// The same, with a beam of this width in place of greedy search, unless an option names a width.
    ///
    /// # Errors
    /// Those of [`ModelArgs::open`].
    pub(crate) fn open_with_beam(&self, width: usize) -> Result<LoadedModel> {
        let beam = self.beam.map(|width| format!("decoding.beam={width}"));
        let replaces = self.replace_unknown.then(|| "decoding.replace_unknown=true".to_owned());
        let all = self.overrides.iter().cloned().chain(beam).chain(replaces);
        // The beam limits the number of outputs, so without a width that is set once the beam is.
        let is_limited = |text: &String| !self.names_beam() && key_of(text) == "decoding.n_best";
        let (limited, mut overrides): (Vec<String>, Vec<String>) = all.partition(is_limited);
        // Else --beam would be held against the number of outputs that --n-best replaces.
        let is_replaced = self.n_best.is_some() && !self.names("decoding.n_best");
        overrides.extend(is_replaced.then(|| "decoding.n_best=1".to_owned()));
        let mut loaded = LoadedModel::open_together(&self.run, &self.with, &overrides)?;
        let decoding = &loaded.experiment.decoding;
        if width > 1 && decoding.beam == 1 && decoding.sampling.is_none() && !self.names_beam() {
            loaded.set_search(&[format!("decoding.beam={width}")])?;
        }
        if !limited.is_empty() {
            loaded.set_search(&limited)?;
        }
        if let Some(n_best) = self.n_best
            && let Some(beam) = loaded.require_n_best(n_best)?
        {
            status(&format!(
                "note: --n-best {n_best} needs a beam of that width: `decoding.beam` is now {beam}"
            ));
        }
        self.shortlist.as_ref().map_or(Ok(()), |path| loaded.use_shortlist(path))?;
        Ok(loaded)
    }

    fn names_beam(&self) -> bool {
        self.beam.is_some() || self.names("decoding.beam")
    }

    /// Whether `--set` replaces this key.
    fn names(&self, key: &str) -> bool {
        self.overrides.iter().any(|text| key_of(text) == key)
    }

    /// What outputs depend on of the models and of the search, for the record of an unfinished output.
    ///
    /// # Errors
    /// The shortlist cannot be read.
    pub(crate) fn settings(&self, loaded: &LoadedModel) -> Result<Map<String, Value>> {
        let failed =
            |error: serde_json::Error| Error::failure(format!("cannot serialize the settings: {error}"));
        let decoding = serde_json::to_value(&loaded.experiment.decoding).map_err(failed)?;
        let models: Vec<&str> = loaded.members().map(|one| one.sha256.as_str()).collect();
        let shortlist = self.shortlist.as_ref().map(|path| {
            std::fs::read(path).map(|bytes| sha256(&bytes)).map_err(|error| Error::file("read", path, &error))
        });
        let mut all = Map::from_iter([
            ("model".to_owned(), json!(models)),
            ("data.source.max_length".to_owned(), json!(loaded.experiment.data.source.max_length)),
            ("--shortlist".to_owned(), json!(shortlist.transpose()?)),
        ]);
        // Outputs do not depend on the batch size.
        let keys = decoding.as_object().into_iter().flatten().filter(|(key, _)| *key != "batch_size");
        all.extend(keys.map(|(key, value)| (format!("decoding.{key}"), value.clone())));
        // If the key is off, `runtime.precision` decides.
        all.insert("decoding.weights".to_owned(), json!(loaded.weights));
        Ok(all)
    }

    /// Adds the files of the models and of their training data.
    pub(crate) fn roles(&self, roles: FileRoles, loaded: &LoadedModel) -> Result<FileRoles> {
        let mut roles = roles.may_read("shortlist", self.shortlist.as_deref());
        for path in std::iter::once(&self.run).chain(&self.with) {
            roles = roles.reads_model(&locate_model(path)?);
        }
        Ok(loaded.members().fold(roles, |roles, one| roles.reads_data(&one.experiment.data)))
    }
}

/// The key of a KEY.PATH=VALUE.
fn key_of(text: &str) -> &str {
    text.split('=').next().unwrap_or_default().trim()
}
