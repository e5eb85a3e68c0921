//! The options of a search: the settings of a config, and its texts as token ids.

use std::sync::Arc;

use super::config::{SamplingConfig, Stop};
use super::constraints::Constraints;
use super::constraints::banned_texts::BannedTexts;
use super::constraints::token_texts::{TokenText, TokenTexts};
use super::incremental_decoder::DecodeRequest;
use super::penalty::Penalty;
use super::{DecodingConfig, Method};
use crate::data::source::SourceItem;
use crate::error::Result;

/// The most rows of a batch: more rows make products no faster, and each takes memory at every step.
const MAX_ROWS: usize = 8192;

/// The options for all sources.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// Which scores choose the outputs.
    pub method: Method,
    /// The share of CTC where both scores choose.
    pub ctc_weight: f64,
    /// Active hypotheses of a group.
    pub width: usize,
    /// Groups of a source, or its samples.
    pub groups: usize,
    /// Penalty on a token for each hypothesis of an earlier group with the same token at this step.
    pub diversity: f64,
    /// Outputs of a source.
    pub n_best: usize,
    /// A group is done with this many finished hypotheses, unless more outputs are needed.
    pub stop_after: usize,
    /// Whether a group is done when its active hypotheses rank below its finished ones, and continues the greedy
    /// hypothesis to its end.
    pub stops_when_outranked: bool,
    /// The ranking of hypotheses.
    pub penalty: Penalty,
    /// Sampling, if outputs are sampled.
    pub sampling: Option<SamplingConfig>,
    /// The constraints.
    pub constraints: Constraints,
    /// The texts of tokens.
    pub texts: Arc<TokenTexts>,
    /// The length limits.
    pub length_limits: LengthLimits,
    /// Sources to decode together.
    pub batch_size: usize,
}

impl SearchOptions {
    /// The options of a config. `pieces` returns the text of each token. Without texts, two outputs are equal only if
    /// their tokens are, and no text can be banned or forced.
    ///
    /// # Errors
    /// Too many banned texts.
    pub fn new(config: &DecodingConfig, pieces: impl FnOnce() -> Vec<TokenText>) -> Result<SearchOptions> {
        SearchOptions::with_texts(config, TokenTexts::new(pieces()))
    }

    /// The same, with the texts and the text form of outputs given.
    ///
    /// # Errors
    /// Those of [`SearchOptions::new`].
    pub(crate) fn with_texts(config: &DecodingConfig, texts: TokenTexts) -> Result<SearchOptions> {
        let texts = Arc::new(texts);
        let banned = match config.banned.as_slice() {
            [] => None,
            banned => Some(Arc::new(BannedTexts::new(banned, Arc::clone(&texts))?)),
        };
        let samples = config.sampling.is_some();
        let groups = if samples { config.n_best } else { config.beam_groups }.max(1);
        let mut options = SearchOptions {
            method: config.method,
            ctc_weight: config.ctc_weight,
            width: if samples { 1 } else { (config.beam / groups).max(1) },
            groups,
            diversity: config.diversity_strength,
            n_best: config.n_best,
            stop_after: 1,
            stops_when_outranked: false,
            penalty: Penalty::new(config),
            sampling: config.sampling.clone(),
            constraints: Constraints::new(config, banned),
            texts,
            length_limits: LengthLimits::new(config),
            batch_size: 0,
        };
        options.batch_size = config.batch_size.min(MAX_ROWS / (options.width * groups)).max(1);
        options.stop_after = match config.stop {
            // Greedy search and samples end at their first EOS.
            _ if samples || config.beam == 1 => 1,
            Stop::Outranked if options.width == 1 => 1,
            Stop::Outranked => usize::MAX,
            // A little less, since 10 * 1.1 is 11.000000000000002.
            Stop::Patience => ((options.width as f64 * config.patience - 1e-9).ceil() as usize)
                .max(options.outputs_per_group()),
            Stop::First => options.outputs_per_group(),
            Stop::BestPossible => usize::MAX,
        };
        options.stops_when_outranked = config.stop == Stop::Outranked && options.stop_after > 1;
        Ok(options)
    }

    /// A request for the output of a source, with only its length limited. `longest` is the model's limit.
    pub fn request(&self, source: impl Into<SourceItem>, longest: Option<usize>) -> DecodeRequest {
        let source = source.into();
        let max_length = self.length_limits.of(source.length(), longest);
        DecodeRequest::new(source, max_length)
    }

    /// Outputs that each group must provide if all groups find different ones.
    pub(crate) fn outputs_per_group(&self) -> usize {
        self.n_best.min(self.width)
    }

    /// Outputs that a group may have to provide: extra ones replace duplicates of other groups.
    pub(crate) fn max_outputs_per_group(&self) -> usize {
        if self.sampling.is_some() { 1 } else { self.n_best }
    }

    /// Finished hypotheses that a group keeps.
    pub(crate) fn ranked_capacity(&self) -> usize {
        if self.stops_when_outranked {
            self.max_outputs_per_group().max(self.width)
        } else {
            self.max_outputs_per_group()
        }
    }

    /// Whether groups may have to provide extra outputs.
    pub(crate) fn may_need_more(&self) -> bool {
        self.max_outputs_per_group() > self.outputs_per_group()
    }

    /// Whether outputs with the same text are listed once.
    pub(crate) fn removes_duplicates(&self) -> bool {
        self.max_outputs_per_group() > 1
    }

    /// Whether groups avoid the tokens of earlier groups.
    pub(crate) fn is_diverse(&self) -> bool {
        self.groups > 1 && self.sampling.is_none() && self.diversity > 0.0
    }
}

/// The length limit of an output, as a function of its source.
#[derive(Clone, Copy, Debug)]
pub struct LengthLimits {
    fixed: Option<usize>,
    factor: f64,
    offset: usize,
    least: usize,
}

impl LengthLimits {
    /// The limits of a config.
    pub(crate) fn new(config: &DecodingConfig) -> LengthLimits {
        let (factor, offset) = config.length_by_source();
        LengthLimits { fixed: config.max_length, factor, offset, least: config.min_length }
    }

    /// The most tokens of a source's output, including EOS: at least `decoding.min_length` and 1, at most the model's
    /// `longest`.
    pub(crate) fn of(&self, source_tokens: usize, longest: Option<usize>) -> usize {
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
        let limits = LengthLimits::new(&config);
        assert_eq!([0, 1, 3].map(|tokens| limits.of(tokens, None)), [2, 3, 6]);
        assert_eq!(limits.of(usize::MAX, Some(9)), 9);
        let long = LengthLimits::new(&DecodingConfig { min_length: 5, ..config.clone() });
        assert_eq!([0, 1, 3].map(|tokens| long.of(tokens, None)), [5, 5, 6]);
        assert_eq!(long.of(0, Some(4)), 4);
        let fixed = LengthLimits::new(&DecodingConfig { max_length: Some(7), ..config });
        assert_eq!((fixed.of(100, None), fixed.of(100, Some(3)), fixed.of(100, Some(0))), (7, 3, 1));
    }

    #[test]
    fn sources_with_many_rows_are_decoded_in_smaller_batches() {
        let size = |beam, batch_size| {
            let config = DecodingConfig { beam, batch_size, ..DecodingConfig::default() };
            SearchOptions::new(&config, Vec::new).unwrap().batch_size
        };
        assert_eq!([size(1, 64), size(5, 64), size(1, 100_000)], [64, 64, 8192]);
        assert_eq!([size(1000, 64), size(10_000, 64)], [8, 1]);
    }

    #[test]
    fn a_source_is_done_with_as_many_finished_hypotheses_as_its_rule_demands() {
        let enough = |stop, patience, n_best, groups| {
            let config = DecodingConfig {
                beam: 10,
                beam_groups: groups,
                n_best,
                stop,
                patience,
                ..Default::default()
            };
            SearchOptions::new(&config, Vec::new).unwrap().stop_after
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
        assert_eq!(SearchOptions::new(&greedy, Vec::new).unwrap().stop_after, 1);
    }
}
