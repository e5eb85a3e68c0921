//! A record of a trace, as `decode --trace` writes it and `attention` draws it; and the display of tokens.

use serde::{Deserialize, Serialize};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::data::audio::processor::AudioProcessor;
use crate::data::source::SourceItem;
use crate::data::source_processor::SourceProcessor;
use crate::data::vocabulary::EOS;
use crate::decoding::incremental_decoder::DecodeRequest;
use crate::decoding::trace::{TraceStep, TracedOutput};
use crate::predictor::Output;
use crate::predictor::loaded_model::LoadedModel;

/// An output of a row of the input, step by step: a JSON object of docs/trace.md.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TracedRow {
    /// The row's number in the input, from 1.
    pub row: u64,
    /// Its rank among the outputs of the row, 1 for the best.
    pub rank: usize,
    /// The source; `None` if the row cannot be read.
    pub source: Option<String>,
    /// The tokens of the source, including EOS; empty if it was not decoded.
    pub source_tokens: Vec<String>,
    /// Seconds from one position of the source to the next; `None` for texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_per_position: Option<f64>,
    /// Whether the source was truncated.
    pub truncated: bool,
    /// The output, as a text.
    pub output: String,
    /// The sum of the log-probabilities of its tokens.
    pub score: Option<f64>,
    /// Whether it ends in EOS.
    pub finished: bool,
    /// Why the row was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// One step per token of the output.
    pub steps: Vec<TracedStep>,
}

/// A step of the output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TracedStep {
    /// The chosen token.
    pub token: String,
    /// Its id.
    pub id: i64,
    /// Its log-probability.
    pub log_probability: f32,
    /// Its rank among all tokens, 1 for the most likely.
    pub rank: usize,
    /// The most likely tokens, the most likely first.
    pub top: Vec<Alternative>,
    /// The attention to each source token.
    pub attention: Vec<f32>,
}

/// A candidate token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Alternative {
    /// The token.
    pub token: String,
    /// Its id.
    pub id: i64,
    /// Its log-probability.
    pub log_probability: f32,
}

/// An output as the input of [`crate::decoding::trace::trace`].
pub(crate) fn known<'a>(
    loaded: &LoadedModel,
    request: &'a DecodeRequest,
    output: &'a Output,
) -> TracedOutput<'a> {
    TracedOutput {
        request,
        tokens: &output.hypothesis.tokens,
        finished: output.hypothesis.finished && loaded.is_requested(&request.source),
    }
}

impl TracedRow {
    /// The record of an output of this source. The caller fills in the other fields of the row.
    pub(crate) fn new(
        loaded: &LoadedModel,
        source: &SourceItem,
        output: &Output,
        steps: Vec<TraceStep>,
    ) -> TracedRow {
        TracedRow {
            source_tokens: source_positions(loaded, source),
            seconds_per_position: loaded.tokenizers.source.audio().map(AudioProcessor::seconds_per_position),
            output: output.text.clone(),
            score: Some(output.hypothesis.score),
            finished: output.hypothesis.finished,
            steps: steps.into_iter().map(|step| TracedStep::new(loaded, step)).collect(),
            ..TracedRow::default()
        }
    }
}

/// What a source's positions are called: its tokens, or of a recording the seconds at which they begin.
fn source_positions(loaded: &LoadedModel, source: &SourceItem) -> Vec<String> {
    match &loaded.tokenizers.source {
        SourceProcessor::Text(tokenizer) => {
            let eos = loaded.is_requested(source).then_some(EOS);
            source.tokens().iter().copied().chain(eos).map(|id| tokenizer.token(id).to_owned()).collect()
        }
        SourceProcessor::Audio(processor) => {
            let seconds = |n: usize| format!("{:.2}", n as f64 * processor.seconds_per_position());
            (0..source.positions()).map(seconds).collect()
        }
    }
}

impl TracedStep {
    fn new(loaded: &LoadedModel, step: TraceStep) -> TracedStep {
        let token = |id: i64| loaded.tokenizers.target.token(id).to_owned();
        let alternative = |(id, log_probability)| Alternative { token: token(id), id, log_probability };
        TracedStep {
            token: token(step.token),
            id: step.token,
            log_probability: step.log_p,
            rank: step.rank,
            top: step.top.into_iter().map(alternative).collect(),
            attention: step.attention,
        }
    }
}

/// A visible form of a token: white space as `␣`, a combining mark on `◌`, control characters as `�`.
pub(crate) fn visible(token: &str) -> String {
    let seen = |character: char| match character {
        space if space.is_whitespace() => '␣',
        control if control.is_control() => '\u{fffd}',
        other => other,
    };
    let alone = token.chars().next().is_some_and(|first| first.width() == Some(0));
    alone.then_some('◌').into_iter().chain(token.chars().map(seen)).collect()
}

/// The columns of a text: two for a Chinese character, none for a combining mark.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// A text cut to at most `most` columns.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = |character: &char| {
        used += character.width().unwrap_or(0);
        used <= most
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_visible() {
        assert_eq!(
            ["a b", "\u{3000}", "\u{301}", "e\u{301}", "\u{1b}[", "習"].map(visible),
            ["a␣b", "␣", "◌\u{301}", "e\u{301}", "\u{fffd}[", "習"]
        );
    }

    #[test]
    fn a_text_is_truncated_by_its_width_and_not_by_its_characters() {
        assert_eq!(["機器學習", "machine", "e\u{301}e\u{301}e\u{301}e\u{301}"].map(columns), [8, 7, 4]);
        assert_eq!(shortened("機器學習", 8), "機器學習");
        assert_eq!(shortened("機器學習", 7), "機器學…");
        assert_eq!(shortened("機器學習", 6), "機器…");
        assert_eq!(shortened("", 0), "");
    }
}
