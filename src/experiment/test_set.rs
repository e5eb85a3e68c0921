//! The test set (`data.test`): scored when training has ended, by the models that the run leaves.
//!
//! Nothing is chosen by it. The scores are said, and written to `test.json` of the run.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::checkpoint::files::{read_within, write_file};
use crate::checkpoint::model_file;
use crate::checkpoint::run::{MODEL, RunDirectory, TEST};
use crate::checkpoint::tensors::load_into;
use crate::data::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::params::Params;
use crate::runtime::StopFlag;
use crate::training::recorders::Recorder;
use crate::training::trainer::Trainer;
use crate::training::validation::{Scored, Validated};

/// The scores of a run's models on a test set.
pub(crate) struct TestSet<'a> {
    /// The run.
    pub run: &'a RunDirectory,
    /// The pairs.
    pub set: &'a Dataset,
    /// Whether the run has an average.
    pub averaged: bool,
}

impl TestSet<'_> {
    /// Scores the best checkpoint and the average. False if a stop came before the end: a resumed run does it then.
    ///
    /// # Errors
    /// A model cannot be read; the scores cannot be written; errors of libtorch.
    pub(crate) fn score(
        &self,
        params: &Params,
        trainer: &Trainer,
        (stop, recorder): (&StopFlag, &mut dyn Recorder),
    ) -> Result<bool> {
        let mut scores = Vec::new();
        for (name, path) in self.models()? {
            let (header, weights) = model_file::read(&path)?;
            load_into(params, &weights, &path)?;
            let scored = Scored { corpus: &self.set.corpus, decode_rows: 0 };
            let Some(scored) = trainer.score(scored, stop)? else {
                return Ok(false);
            };
            recorder.say(&format!("test, {name} (step {}): {}", header.step, scored.found));
            scores.push(as_json(name, header.step, &scored));
        }
        let (pairs, step) = (self.set.corpus.len(), trainer.progress().step);
        let all =
            json!({ "step": step, "pairs": pairs, "set": self.set.corpus.fingerprint(), "models": scores });
        let text = serde_json::to_string_pretty(&all).map_err(|error| Error::failure(error.to_string()))?;
        write_file(&self.run.file(TEST), (text + "\n").as_bytes())?;
        Ok(true)
    }

    /// The models by name.
    fn models(&self) -> Result<Vec<(&'static str, PathBuf)>> {
        let best = self.run.best()?.map_or_else(|| self.run.latest(), |best| Ok(Some(best)))?;
        let best = best.map(|best| ("best", self.run.checkpoint(best).join(MODEL)));
        let average = self.averaged.then(|| ("average", self.run.average()));
        Ok(best.into_iter().chain(average).collect())
    }
}

fn as_json(model: &str, step: u64, scored: &Validated) -> Value {
    let Validated { found, counts, skipped_rows, .. } = scored;
    let metrics = found.metrics.iter().map(|metric| (metric.kind.name.to_owned(), json!(metric.value)));
    let metrics: Map<String, Value> = metrics.collect();
    json!({
        "model": model, "step": step, "nll": found.nll, "perplexity": found.nll.exp(),
        "token_accuracy": found.token_accuracy, "metrics": metrics, "errors": counts.errors(),
        "signatures": counts.signatures(), "unfinished": found.unfinished, "skipped": skipped_rows.len(),
    })
}

/// Whether the models of a run at this step have been scored.
pub(crate) fn is_scored(run: &RunDirectory, step: u64) -> bool {
    let text = read_within(&run.file(TEST), 1 << 20).unwrap_or_default();
    serde_json::from_slice::<Value>(&text).is_ok_and(|scores| scores["step"] == step)
}
