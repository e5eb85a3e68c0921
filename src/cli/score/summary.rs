//! What `seqloom score` counts and reports at the end.

use std::path::Path;

use serde_json::json;

use super::{Ids, Pair};
use crate::cli::input::Input;
use crate::cli::scored::target_score;
use crate::cli::write_summary;
use crate::console::status;
use crate::data::dataset::Tokenizers;
use crate::data::tokenizer::{ChangeCounts, Tokenizer};
use crate::decoding::token_scores::TokenScore;
use crate::error::{Error, Result, counted};
use crate::metrics::{Example, MetricSet, MetricValue, TEACHER_FORCED, TargetScore};
use crate::predictor::loaded_model::LoadedModel;

/// The counts that are reported at the end.
#[derive(Debug)]
pub(super) struct ScoreSummary {
    pairs: usize,
    /// Of all targets.
    total: TargetScore,
    /// Over all targets.
    metrics: MetricSet,
    /// Symbols that are not in the vocabulary: in sources and in targets.
    pub unknown: [usize; 2],
    empty: usize,
    /// Truncated sources.
    pub truncated: usize,
    skipped: usize,
    first_skipped: Option<Error>,
    /// Texts that reading changed: sources and targets.
    pub changed: [ChangeCounts; 2],
}

impl ScoreSummary {
    /// No pairs yet.
    pub(super) fn new() -> ScoreSummary {
        ScoreSummary {
            pairs: 0,
            total: TargetScore::default(),
            metrics: MetricSet::new(TEACHER_FORCED.iter().copied()),
            unknown: [0; 2],
            empty: 0,
            truncated: 0,
            skipped: 0,
            first_skipped: None,
            changed: <[ChangeCounts; 2]>::default(),
        }
    }

    /// Counts a pair.
    pub(super) fn add(&mut self, pair: &Pair, tokens: &[TokenScore]) {
        match &pair.ids {
            Ok(Ids { request, .. }) => {
                let score = target_score(tokens);
                self.pairs += 1;
                self.total.add(score);
                self.metrics.add(&Example { reference_score: Some(score), ..Example::default() });
                self.empty += usize::from(request.source.is_empty() && tokens.is_empty());
            }
            Err(error) => {
                self.skipped += 1;
                self.first_skipped.get_or_insert_with(|| error.clone());
            }
        }
    }

    /// Of the log-probabilities of targets.
    fn mean_log_probability(&self) -> f64 {
        self.total.log_probability / self.pairs as f64
    }

    /// Prints the summary, and notes about the input.
    pub(super) fn say(&self, loaded: &LoadedModel, input: &Input) {
        if self.total.tokens > 0 {
            let (pairs, tokens) = (counted(self.pairs, "pair"), counted(self.total.tokens, "target token"));
            let metric = |one: &MetricValue| match one.kind.in_percent {
                true => one.in_words(),
                false => format!("{} {:.4} per token", one.kind.label(), one.value),
            };
            let metrics: Vec<String> = self.metrics.values().iter().map(metric).collect();
            let mean = self.mean_log_probability();
            status(&format!(
                "{pairs}, {tokens} including EOS: {}, mean log-probability {mean:.4} per pair",
                metrics.join(", ")
            ));
        }
        let rows = (self.pairs + self.skipped) as u64;
        input.notes(rows).iter().for_each(|note| status(&format!("note: {note}")));
        let Tokenizers { source, target } = &loaded.tokenizers;
        let sides = [("source", source.tokenizer()), ("target", Some(target))].into_iter().zip(&self.changed);
        let changes = |((side, tokenizer), changed): ((&str, Option<&Tokenizer>), &ChangeCounts)| {
            changed.in_words(side, tokenizer?.form())
        };
        for changes in sides.filter_map(changes) {
            status(&format!("note: {}: {changes}", input.file().display()));
        }
        let first = self.first_skipped.as_ref().map(Error::first_line);
        let skipped = format!(" (they have no score); the first: {}", first.unwrap_or_default());
        let notes = [
            (self.skipped, "skipped pairs", skipped.as_str()),
            (self.empty, "pairs without source and target", " (they have no tokens, and their score is 0)"),
            (self.truncated, "truncated sources", " (too long, --truncate)"),
            (self.unknown[0], "symbols of the sources that are not in the vocabulary", ""),
            (self.unknown[1], "symbols of the targets that are not in the vocabulary", " (scored as <unk>)"),
        ];
        for (count, what, why) in notes.iter().filter(|(count, ..)| *count > 0) {
            status(&format!("note: {what}: {count}{why}"));
        }
    }

    /// Writes the summary as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut summary = json!({
            "pairs": self.pairs,
            "tokens": self.total.tokens,
            "correct": self.total.correct,
            "log_probability": self.total.log_probability,
            "skipped": self.skipped,
            "empty": self.empty,
            "truncated": self.truncated,
            "unknown_source": self.unknown[0],
            "unknown_target": self.unknown[1],
        });
        if self.total.tokens > 0 {
            summary["mean_log_probability"] = json!(self.mean_log_probability());
            for metric in self.metrics.values() {
                summary[metric.kind.name] = json!(metric.value);
            }
        }
        write_summary(path, &summary)
    }
}
