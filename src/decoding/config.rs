//! `[decoding]`: search or sampling, ranking of hypotheses, constraints, length limits, and batch size.
//!
//! Only the keys, their defaults and the rules among them. It depends on no model.

mod sampling;

use serde::{Deserialize, Serialize};

pub use self::sampling::SamplingConfig;
use crate::error::ConfigError;
use crate::model::Weights;

/// `[decoding]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecodingConfig {
    /// Which scores choose the outputs. All but `attention` are for a model with a CTC head.
    pub method: Method,
    /// λ in (1 - λ) * the decoder's log-probability + λ * CTC's, for the methods `joint` and `rescore`.
    pub ctc_weight: f64,
    /// Active hypotheses of a source; 1 is greedy search.
    pub beam: usize,
    /// Groups of the beam (Vijayakumar et al. 2016), of equal size: each is a separate beam, and a later one avoids
    /// the tokens of the earlier ones at the same step.
    pub beam_groups: usize,
    /// Penalty on a token's log-probability for each hypothesis of an earlier group with the same token at this step.
    pub diversity_strength: f64,
    /// Outputs of a source, the best first: at most `beam`. When sampling, the number of samples.
    pub n_best: usize,
    /// When a source is done before its limit.
    pub stop: Stop,
    /// A source is done with `patience` * `beam` finished hypotheses (Kasai et al. 2022).
    pub patience: f64,
    /// The divisor of the sum of log-probabilities, to compare outputs of different lengths. Unused in greedy search.
    pub length_penalty: LengthPenalty,
    /// a in the length penalty.
    pub length_penalty_alpha: f64,
    /// b in the coverage penalty (Wu et al. 2016).
    pub coverage_penalty: f64,
    /// How an ensemble combines its models.
    pub ensemble: Combination,
    /// Minimum number of tokens in an output, including EOS.
    pub min_length: usize,
    /// Factor on the log-probability of a token that the output already has (Keskar et al. 2019).
    pub repetition_penalty: f64,
    /// No sequence of this many tokens occurs twice in an output; 0 is off.
    pub no_repeat_ngram: usize,
    /// Texts that must not occur in an output; its beginning and its end count as spaces.
    pub banned: Vec<String>,
    /// Whether `<unk>` is forbidden.
    pub suppress_unknown: bool,
    /// Whether an `<unk>` of an output is replaced by the source symbol with the most attention at that step.
    pub replace_unknown: bool,
    /// Number format of the matrices; when absent, the precision of training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Sources that are decoded together; the batch has up to `beam` rows for each.
    pub batch_size: usize,
    /// The most tokens an output may have, including EOS. When absent: `max_length_factor` * source tokens +
    /// `max_length_offset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// a in the limit a * source tokens + b. When all three are absent, training takes a and b from its pairs
    /// ([`DecodingConfig::fit`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length_factor: Option<f64>,
    /// b in the limit a * source tokens + b.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length_offset: Option<usize>,
    /// Sample outputs instead of searching for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<SamplingConfig>,
}

impl Default for DecodingConfig {
    fn default() -> Self {
        DecodingConfig {
            method: Method::Attention,
            ctc_weight: 0.3,
            beam: 1,
            beam_groups: 1,
            diversity_strength: 0.5,
            n_best: 1,
            stop: Stop::Outranked,
            patience: 1.0,
            length_penalty: LengthPenalty::Length,
            length_penalty_alpha: 1.0,
            coverage_penalty: 0.0,
            ensemble: Combination::LogProbabilities,
            min_length: 0,
            repetition_penalty: 1.0,
            no_repeat_ngram: 0,
            banned: Vec::new(),
            suppress_unknown: false,
            replace_unknown: false,
            weights: None,
            batch_size: 64,
            max_length: None,
            max_length_factor: None,
            max_length_offset: None,
            sampling: None,
        }
    }
}

/// Which scores choose the outputs: those of the decoder, which attends to the source, or of the CTC head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The decoder's.
    Attention,
    /// CTC's: prefix beam search, or the best path with a beam of 1. The decoder does not run.
    Ctc,
    /// Both at every step of a beam (Watanabe et al. 2017).
    Joint,
    /// The outputs of `ctc`, ranked by both.
    Rescore,
}

impl Method {
    /// Its name in a config.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Method::Attention => "attention",
            Method::Ctc => "ctc",
            Method::Joint => "joint",
            Method::Rescore => "rescore",
        }
    }

    /// Whether outputs grow a token at a time, by the decoder's steps.
    pub(crate) fn has_steps(self) -> bool {
        matches!(self, Method::Attention | Method::Joint)
    }
}

/// When a source is done before its limit. With every rule it is done when no active hypothesis can still get among its
/// `n_best` finished ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// When `beam` finished hypotheses rank above every active one at its present length. The greedy hypothesis is
    /// continued to its end, so that no output ranks below it.
    Outranked,
    /// With `patience` * `beam` finished hypotheses.
    Patience,
    /// With `n_best` finished hypotheses.
    First,
    /// Not before.
    BestPossible,
}

/// The divisor of the sum of log-probabilities of an output with len tokens, including EOS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LengthPenalty {
    /// 1
    None,
    /// len^a
    Length,
    /// ((5 + len) / 6)^a (Wu et al. 2016).
    Gnmt,
}

/// How an ensemble combines the log-probabilities of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combination {
    /// The mean of their log-probabilities; it is not normalised, so that a score is the mean of the models' scores.
    LogProbabilities,
    /// The logarithm of the mean of their probabilities.
    Probabilities,
}

const TABLE: &str = "decoding";

/// a in the limit a * source tokens + b: the default without training pairs, and the minimum with them.
const LEAST_FACTOR: f64 = 2.0;

/// b in the same.
const LEAST_OFFSET: usize = 50;

/// The most tokens of an output: twice the bytes of the longest line, which is also the most that
/// [`DecodingConfig::fit`] sets.
const LONGEST: u64 = 1 << 25;

/// The most sources to decode together.
const MOST_SOURCES: u64 = 1_000_000;

/// The most rows that a source may have in a batch: the widest beam, and the most samples.
pub(crate) const MOST_OF_A_SOURCE: usize = 10_000;

impl DecodingConfig {
    /// The rules among these keys.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let counts = [
            ("beam", self.beam),
            ("beam_groups", self.beam_groups),
            ("n_best", self.n_best),
            ("batch_size", self.batch_size),
        ];
        ConfigError::check_integer(TABLE, 1, &counts.map(|(key, value)| (key, value as u64)))?;
        ConfigError::check_most(TABLE, MOST_SOURCES, &[("batch_size", self.batch_size as u64)])?;
        let off_at_0 = [("min_length", self.min_length), ("no_repeat_ngram", self.no_repeat_ngram)];
        ConfigError::check_integer(TABLE, 0, &off_at_0.map(|(key, value)| (key, value as u64)))?;
        let weights = [
            ("diversity_strength", self.diversity_strength),
            ("length_penalty_alpha", self.length_penalty_alpha),
            ("coverage_penalty", self.coverage_penalty),
        ];
        ConfigError::check_float(TABLE, "at least 0", |x| x >= 0.0, &weights)?;
        let is_share = |x| (0.0..=1.0).contains(&x);
        ConfigError::check_float(TABLE, "from 0 to 1", is_share, &[("ctc_weight", self.ctc_weight)])?;
        let factors = [("patience", self.patience), ("repetition_penalty", self.repetition_penalty)];
        ConfigError::check_float(TABLE, "above 0", |x| x > 0.0, &factors)?;
        if self.banned.iter().any(|text| text.trim().is_empty()) {
            return Err(ConfigError::new(TABLE, &["banned"], "a text in `banned` must not be empty"));
        }
        self.check_length()?;
        self.sampling.as_ref().map_or(Ok(()), SamplingConfig::check)?;
        self.check_method()?;
        self.check_beam()
    }

    /// A beam by both scores has no groups and no samples; most constraints act on the steps of a decoder.
    fn check_method(&self) -> Result<(), ConfigError> {
        if self.method == Method::Attention {
            return Ok(());
        }
        let by_decoder = [("sampling", self.sampling.is_some()), ("beam_groups", self.beam_groups > 1)];
        let by_steps = [
            ("coverage_penalty", self.coverage_penalty > 0.0),
            ("min_length", self.min_length > 0),
            ("repetition_penalty", self.repetition_penalty != 1.0),
            ("no_repeat_ngram", self.no_repeat_ngram > 0),
            ("banned", !self.banned.is_empty()),
        ];
        let first = |keys: &[(&'static str, bool)]| keys.iter().find(|(_, set)| *set).map(|(key, _)| *key);
        let (key, allowed) = match (first(&by_decoder), first(&by_steps)) {
            (Some(key), _) => (key, "\"attention\""),
            (None, Some(key)) if !self.method.has_steps() => (key, "\"attention\" or \"joint\""),
            _ => return Ok(()),
        };
        let message =
            format!("`method` must be {allowed} with `{key}`, but it is \"{}\"", self.method.name());
        Err(ConfigError::new(TABLE, &["method", key], message))
    }

    fn check_beam(&self) -> Result<(), ConfigError> {
        let (beam, groups, n_best) = (self.beam, self.beam_groups, self.n_best);
        for (key, rows) in [("beam", beam), ("n_best", n_best)] {
            if rows > MOST_OF_A_SOURCE {
                let message = format!("`{key}` must be at most {MOST_OF_A_SOURCE}, but it is {rows}");
                return Err(ConfigError::new(TABLE, &[key], message));
            }
        }
        if self.sampling.is_some() && beam > 1 {
            let message = format!("`beam` must be 1 with `sampling`, but it is {beam}");
            let hint = "`n_best` sets the number of samples";
            return Err(ConfigError::new(TABLE, &["beam", "sampling"], message).hint(hint));
        }
        if !beam.is_multiple_of(groups) {
            let message = format!("`beam_groups` must divide `beam`, but they are {groups} and {beam}");
            return Err(ConfigError::new(TABLE, &["beam_groups", "beam"], message));
        }
        if self.sampling.is_none() && n_best > beam {
            let message = format!("`n_best` must be at most `beam`, but they are {n_best} and {beam}");
            let hint = format!("widen `beam` to {n_best} or more");
            return Err(ConfigError::new(TABLE, &["n_best", "beam"], message).hint(hint));
        }
        Ok(())
    }

    /// a and b in the limit a * source tokens + b.
    pub(crate) fn length_by_source(&self) -> (f64, usize) {
        (self.max_length_factor.unwrap_or(LEAST_FACTOR), self.max_length_offset.unwrap_or(LEAST_OFFSET))
    }

    /// Fits the length limit to training pairs (tokens of source and target, without EOS): a is their mean length
    /// ratio, and b covers the longest target beyond it plus a quarter. Never below the defaults; no change if the
    /// config sets a limit.
    pub(crate) fn fit(&mut self, lengths: impl Iterator<Item = (usize, usize)> + Clone) {
        if self.max_length.is_some() || self.max_length_factor.is_some() || self.max_length_offset.is_some() {
            return;
        }
        let (sources, targets) =
            lengths.clone().fold((0, 0), |sums, pair| (sums.0 + pair.0, sums.1 + pair.1));
        // Two digits are enough for readers of the config.
        let ratio = (100.0 * targets as f64 / sources.max(1) as f64).ceil() / 100.0;
        let factor = ratio.max(LEAST_FACTOR);
        let beyond = |(source, target): (usize, usize)| (target + 1) as f64 - factor * source as f64;
        let needed = lengths.map(beyond).fold(0.0, f64::max);
        self.max_length_factor = Some(factor);
        self.max_length_offset = Some(((1.25 * needed).ceil() as usize).max(LEAST_OFFSET));
    }

    fn check_length(&self) -> Result<(), ConfigError> {
        let lengths =
            [("min_length", self.min_length as u64), ("max_length", self.max_length.unwrap_or(0) as u64)];
        ConfigError::check_most(TABLE, LONGEST, &lengths)?;
        if let Some(max_length) = self.max_length {
            ConfigError::check_integer(TABLE, 1, &[("max_length", max_length as u64)])?;
            if self.min_length > max_length {
                let message = format!(
                    "`min_length` must be at most `max_length`, but they are {} and {max_length}",
                    self.min_length
                );
                return Err(ConfigError::new(TABLE, &["min_length", "max_length"], message));
            }
        }
        let (factor, offset) = self.length_by_source();
        ConfigError::check_integer(TABLE, 0, &[("max_length_offset", offset as u64)])?;
        ConfigError::check_most(TABLE, LONGEST, &[("max_length_offset", offset as u64)])?;
        let fits = |x| (0.0..=LONGEST as f64).contains(&x);
        ConfigError::check_float(
            TABLE,
            "at least 0 and at most 33554432",
            fits,
            &[("max_length_factor", factor)],
        )?;
        if factor == 0.0 && offset == 0 {
            let keys = ["max_length_factor", "max_length_offset"];
            let message = "`max_length_factor` and `max_length_offset` must not both be 0: no output would have a token";
            return Err(ConfigError::new(TABLE, &keys, message));
        }
        Ok(())
    }
}
