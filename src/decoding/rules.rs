//! What a search goes by: the numbers of a config, and its texts as token ids.

use std::sync::Arc;

use super::DecodingConfig;
use super::banned::Banned;
use super::config::{SamplingConfig, Stop};
use super::constraints::Constraints;
use super::penalty::Penalty;
use super::texts::{Piece, Texts};
use crate::error::Result;

/// The most rows of a batch: beyond them a product gains nothing, and each takes memory at every step.
const MOST_ROWS: usize = 8192;

/// What holds for every source of a decode.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Live hypotheses of a group.
    pub width: usize,
    /// Groups of a source, or its samples.
    pub groups: usize,
    /// What a token loses for each hypothesis of an earlier group that says it at the same step.
    pub diversity: f64,
    /// Outputs of a source.
    pub n_best: usize,
    /// Finished hypotheses with which a group is done, unless outputs are short.
    pub enough: usize,
    /// Whether a group is done when what is live is worse than what has finished, and follows greedy search to its end.
    pub compares: bool,
    /// By what hypotheses are compared.
    pub penalty: Penalty,
    /// Where outputs are drawn.
    pub sampling: Option<SamplingConfig>,
    /// What no output may say.
    pub constraints: Constraints,
    /// What tokens say.
    pub texts: Arc<Texts>,
    /// The most tokens of an output.
    pub limits: Limits,
    /// Sources that are decoded together.
    pub batch_size: usize,
}

impl Rules {
    /// The rules of a config. `pieces` gives the text of each token. Without them two outputs say the same only when their
    /// tokens are the same, and no text can be banned or forced.
    ///
    /// # Errors
    /// Too many texts are banned.
    pub fn new(config: &DecodingConfig, pieces: impl FnOnce() -> Vec<Piece>) -> Result<Rules> {
        Rules::with_texts(config, Texts::new(pieces()))
    }

    /// The same where outputs are written in another form than the usual one.
    ///
    /// # Errors
    /// Those of [`Rules::new`].
    pub fn with_texts(config: &DecodingConfig, texts: Texts) -> Result<Rules> {
        let texts = Arc::new(texts);
        let banned = match config.banned.as_slice() {
            [] => None,
            banned => Some(Arc::new(Banned::new(banned, Arc::clone(&texts))?)),
        };
        let samples = config.sampling.is_some();
        let groups = if samples { config.n_best } else { config.beam_groups }.max(1);
        let mut rules = Rules {
            width: if samples { 1 } else { (config.beam / groups).max(1) },
            groups,
            diversity: config.diversity_strength,
            n_best: config.n_best,
            enough: 1,
            compares: false,
            penalty: Penalty::new(config),
            sampling: config.sampling.clone(),
            constraints: Constraints::new(config, banned),
            texts,
            limits: Limits::new(config),
            batch_size: 0,
        };
        rules.batch_size = config.batch_size.min(MOST_ROWS / (rules.width * groups)).max(1);
        rules.enough = match config.stop {
            // The first EOS of greedy search is its last, and so is that of a sample.
            _ if samples || config.beam == 1 => 1,
            Stop::Outranked if rules.width == 1 => 1,
            Stop::Outranked => usize::MAX,
            // A little less, since 10 * 1.1 is 11.000000000000002.
            Stop::Patience => {
                ((rules.width as f64 * config.patience - 1e-9).ceil() as usize).max(rules.own())
            }
            Stop::First => rules.own(),
            Stop::BestPossible => usize::MAX,
        };
        rules.compares = config.stop == Stop::Outranked && rules.enough > 1;
        Ok(rules)
    }

    /// Outputs that a group has to give, where no other one has found the same.
    pub fn own(&self) -> usize {
        self.n_best.min(self.width)
    }

    /// Outputs that a group may have to give: some may be needed in the place of those that others have found as well.
    pub fn places(&self) -> usize {
        if self.sampling.is_some() { 1 } else { self.n_best }
    }

    /// Finished hypotheses that a group keeps.
    pub fn kept(&self) -> usize {
        if self.compares { self.places().max(self.width) } else { self.places() }
    }

    /// Whether groups may be needed for more than their own.
    pub fn may_be_short(&self) -> bool {
        self.places() > self.own()
    }

    /// Whether it matters that two outputs say the same.
    pub fn tells_apart(&self) -> bool {
        self.places() > 1
    }

    /// Whether groups avoid what those before them say.
    pub fn diverse(&self) -> bool {
        self.groups > 1 && self.sampling.is_none() && self.diversity > 0.0
    }
}

/// How the most tokens of an output follow from its source.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    fixed: Option<usize>,
    factor: f64,
    offset: usize,
    least: usize,
}

impl Limits {
    /// Those of a config.
    pub fn new(config: &DecodingConfig) -> Limits {
        let (factor, offset) = config.length_by_source();
        Limits { fixed: config.max_length, factor, offset, least: config.min_length }
    }

    /// The most tokens of the output of a source, EOS counted in: never less than `decoding.min_length`, never more than the
    /// model's `longest`, and at least 1.
    pub fn of(&self, source_tokens: usize, longest: Option<usize>) -> usize {
        let by_source = (self.factor * source_tokens as f64) as usize;
        let limit = self.fixed.unwrap_or(by_source.saturating_add(self.offset));
        limit.max(self.least).min(longest.unwrap_or(usize::MAX)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_follows_from_the_source_and_never_exceeds_the_model() {
        let config = DecodingConfig {
            max_length_factor: Some(1.5),
            max_length_offset: Some(2),
            ..DecodingConfig::default()
        };
        let limits = Limits::new(&config);
        assert_eq!([0, 1, 3].map(|tokens| limits.of(tokens, None)), [2, 3, 6]);
        assert_eq!(limits.of(usize::MAX, Some(9)), 9);
        let long = Limits::new(&DecodingConfig { min_length: 5, ..config.clone() });
        assert_eq!([0, 1, 3].map(|tokens| long.of(tokens, None)), [5, 5, 6]);
        assert_eq!(long.of(0, Some(4)), 4);
        let fixed = Limits::new(&DecodingConfig { max_length: Some(7), ..config });
        assert_eq!((fixed.of(100, None), fixed.of(100, Some(3)), fixed.of(100, Some(0))), (7, 3, 1));
    }

    #[test]
    fn sources_with_many_rows_go_in_smaller_batches() {
        let size = |beam, batch_size| {
            let config = DecodingConfig { beam, batch_size, ..DecodingConfig::default() };
            Rules::new(&config, Vec::new).unwrap().batch_size
        };
        assert_eq!([size(1, 64), size(5, 64), size(1, 100_000)], [64, 64, 8192]);
        assert_eq!([size(1000, 64), size(10_000, 64)], [8, 1]);
    }

    #[test]
    fn a_source_is_done_with_as_many_finished_hypotheses_as_its_rule_says() {
        let enough = |stop, patience, n_best, groups| {
            let config = DecodingConfig {
                beam: 10,
                beam_groups: groups,
                n_best,
                stop,
                patience,
                ..Default::default()
            };
            Rules::new(&config, Vec::new).unwrap().enough
        };
        assert_eq!(enough(Stop::Patience, 1.0, 1, 1), 10);
        assert_eq!(enough(Stop::Patience, 1.1, 1, 1), 11);
        assert_eq!(enough(Stop::Patience, 0.05, 1, 1), 1);
        assert_eq!(enough(Stop::Patience, 0.05, 4, 1), 4);
        assert_eq!(enough(Stop::Patience, 2.0, 1, 5), 4);
        assert_eq!((enough(Stop::First, 2.0, 1, 1), enough(Stop::First, 2.0, 3, 1)), (1, 3));
        assert_eq!(enough(Stop::BestPossible, 1.0, 1, 1), usize::MAX);
        assert_eq!(
            (enough(Stop::Outranked, 1.0, 1, 1), enough(Stop::Outranked, 1.0, 1, 10)),
            (usize::MAX, 1)
        );
        let greedy = DecodingConfig { stop: Stop::BestPossible, patience: 3.0, ..Default::default() };
        assert_eq!(Rules::new(&greedy, Vec::new).unwrap().enough, 1);
    }
}
