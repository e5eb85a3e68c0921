//! `--mbr`: the model proposes candidates, and those with the best expected value of a metric are the outputs.
//!
//! `metrics/minimum_bayes_risk` ranks them. Neither the search nor the predictor knows a metric.

use clap::Args;

use crate::cli::headings::SEARCH;
use crate::cli::metric_names::metric_named;
use crate::console::status;
use crate::decoding::MOST_OF_A_SOURCE;
use crate::error::{Error, Result};
use crate::metrics::{
    Candidate, CandidateWeights, ExpectedValue, METRICS, MetricKind, rank_by_expected_value,
};
use crate::predictor::Output;
use crate::predictor::loaded_model::LoadedModel;
use crate::runtime::threads;
use crate::training::validation::unit_of;

/// The default number of candidates for a source.
const CANDIDATES: usize = 32;

/// Options of minimum Bayes risk decoding.
#[derive(Args, Debug)]
pub(crate) struct MbrArgs {
    /// Minimum Bayes risk decoding: write the candidate with the best expected METRIC, such as chrf, with all candidates as
    /// references. With decoding.sampling they are samples, else the n-best list of a beam. `seqloom keys training.metrics`
    /// lists the metrics
    #[arg(long = "mbr", value_name = "METRIC", help_heading = SEARCH)]
    pub metric: Option<String>,
    /// Number of candidates of --mbr for each source: samples, or the width of the beam
    #[arg(long, value_name = "N", default_value_t = CANDIDATES, requires = "metric", help_heading = SEARCH)]
    pub candidates: usize,
}

impl MbrArgs {
    /// Lets the search look for candidates, and returns what chooses among them; `None` without `--mbr`. Prints a note if
    /// the beam is widened.
    ///
    /// # Errors
    /// An unknown metric; a number of candidates that is too small or too large.
    pub(crate) fn prepare(&self, loaded: &mut LoadedModel) -> Result<Option<Mbr>> {
        let Some(name) = &self.metric else { return Ok(None) };
        let metric = metric_named("--mbr", name, METRICS)?;
        let (candidates, outputs) = (self.candidates, loaded.experiment.decoding.n_best);
        // The beam is widened to the candidates, in whole groups.
        let most = MOST_OF_A_SOURCE - MOST_OF_A_SOURCE % loaded.experiment.decoding.beam_groups;
        check(candidates, outputs, most)?;
        if let Some(beam) = loaded.require_candidates(candidates)? {
            status(&format!(
                "note: --mbr chooses among {candidates} candidates, which need a beam of that width: `decoding.beam` is \
                 now {beam}"
            ));
        }
        let weights = match loaded.options.sampling {
            Some(_) => CandidateWeights::Uniform,
            None => CandidateWeights::Probabilities,
        };
        Ok(Some(Mbr { metric, weights, outputs }))
    }
}

fn check(candidates: usize, outputs: usize, most: usize) -> Result<()> {
    if candidates > most {
        let message = format!("--candidates must be at most {most}, but it is {candidates}");
        return Err(Error::input(message));
    }
    if candidates < 2 {
        let message = format!("--candidates must be at least 2, but it is {candidates}");
        return Err(Error::input(message).hint("without --mbr, the best output of the search is written"));
    }
    if candidates < outputs {
        let message = format!(
            "--candidates must be at least the number of outputs (`decoding.n_best`), but they are {candidates} and \
             {outputs}"
        );
        return Err(Error::input(message).hint("allow more with --candidates, or write fewer with --n-best"));
    }
    Ok(())
}

/// What chooses outputs among candidates.
#[derive(Debug)]
pub(crate) struct Mbr {
    metric: MetricKind,
    weights: CandidateWeights,
    /// Outputs of a source.
    outputs: usize,
}

impl Mbr {
    /// The outputs of each source, the best first, out of its candidates.
    pub(crate) fn choose(&self, loaded: &LoadedModel, lists: Vec<Vec<Output>>) -> Vec<Vec<Output>> {
        let (metric, weights) = (self.metric, self.weights);
        let unit = unit_of(&loaded.tokenizers.target);
        let candidates: Vec<Vec<Candidate>> =
            lists.iter().map(|list| list.iter().map(|output| candidate(loaded, output)).collect()).collect();
        let ranked = threads::each(candidates, |list| rank_by_expected_value(&list, weights, metric, unit));
        let chosen = lists.iter().zip(ranked).map(|(list, ranked)| {
            let best = ranked.into_iter().take(self.outputs);
            let output =
                |one: ExpectedValue| Output { expected: Some(one.value), ..list[one.candidate].clone() };
            best.map(output).collect::<Vec<Output>>()
        });
        chosen.collect()
    }
}

fn candidate(loaded: &LoadedModel, output: &Output) -> Candidate {
    let hypothesis = &output.hypothesis;
    // A replaced unknown symbol is known: it is a symbol of the source.
    let text = match loaded.experiment.decoding.replace_unknown {
        true => vec![output.text.clone()],
        false => loaded.tokenizers.target.known_parts(&hypothesis.tokens),
    };
    Candidate { text, log_probability: hypothesis.score, finished: hypothesis.finished }
}
