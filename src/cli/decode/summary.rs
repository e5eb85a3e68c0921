//! Counts while rows are decoded, reported at the end: nothing is skipped, truncated or unknown in silence.

use std::path::Path;

use serde_json::json;

use super::Row;
use crate::cli::input::Input;
use crate::cli::output::OutputFormat;
use crate::cli::write_summary;
use crate::console::status;
use crate::data::dataset::Tokenizers;
use crate::data::readers::SourceRow;
use crate::data::source::SourceItem;
use crate::data::tokenizer::ChangeCounts;
use crate::data::vocabulary::UNK;
use crate::decoding::incremental_decoder::Hypothesis;
use crate::error::{Result, counted};
use crate::metrics::{Example, MetricSet, MetricValue, TEACHER_FORCED, TargetScore};
use crate::predictor::Output;
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::EncodedRequest;
use crate::training::validation::unit_of;

/// Rows of one kind.
#[derive(Debug, Default)]
struct Rows {
    count: usize,
    /// The place of the first one, or its error.
    first: String,
}

impl Rows {
    fn add(&mut self, first: impl FnOnce() -> String) {
        if self.count == 0 {
            self.first = first();
        }
        self.count += 1;
    }
}

/// The counts that are reported at the end.
#[derive(Debug, Default)]
pub(crate) struct DecodeSummary {
    rows: usize,
    /// Rows that the output already had.
    before: u64,
    skipped: Rows,
    truncated: Rows,
    empty: Rows,
    with_nul: Rows,
    only_unknown: Rows,
    beyond_the_limit: Rows,
    untimed: Rows,
    /// References that the model cannot score.
    unscored: Rows,
    /// References that it has scored, and their symbols that are not in the vocabulary.
    scored: usize,
    unknown_references: usize,
    /// Skipped rows with a reference, whose outputs count as empty.
    skipped_with_reference: usize,
    unknown: usize,
    unknown_out: usize,
    /// Whether unknown symbols are replaced by source symbols.
    replaced: bool,
    outputs: usize,
    unfinished: usize,
    fewer: usize,
    metrics: MetricSet,
    /// Texts that reading changed: sources and references.
    changed: [ChangeCounts; 2],
    /// Outputs with line breaks, which text output cannot contain.
    broken: usize,
    /// Whether outputs are written as text.
    as_text: bool,
    examples_left: usize,
}

impl DecodeSummary {
    /// Shows `examples` rows; the output already had `before` rows.
    pub(crate) fn new(
        loaded: &LoadedModel,
        format: OutputFormat,
        examples: usize,
        before: u64,
    ) -> DecodeSummary {
        let metrics = loaded.experiment.training.metric_set(unit_of(&loaded.tokenizers.target));
        let as_text = format == OutputFormat::Text;
        DecodeSummary { examples_left: examples, before, as_text, metrics, ..DecodeSummary::default() }
    }

    /// The same, for rows whose references are scored if `scored`.
    pub(crate) fn with_reference_scores(self, scored: bool) -> DecodeSummary {
        let kinds = self.metrics.values().into_iter().map(|metric| metric.kind);
        let more = TEACHER_FORCED.iter().copied().filter(|_| scored);
        self.with_metrics(MetricSet::new(kinds.chain(more)))
    }

    /// The same, with this set of metrics in place of those of validations.
    pub(crate) fn with_metrics(self, metrics: MetricSet) -> DecodeSummary {
        DecodeSummary { metrics, ..self }
    }

    /// Counts the rows of the input.
    pub(crate) fn add_sources(&mut self, loaded: &LoadedModel, rows: &[Row<EncodedRequest>]) {
        for row in rows {
            self.rows += 1;
            let (Ok(asked), Some(read)) = (&row.content, &row.read) else { continue };
            self.unknown += asked.unknown;
            self.changed[0].add(loaded.tokenizers.source.changes(&read.text));
            let ids = asked.decode.source.tokens();
            // White space and word-start marks are no symbols.
            let source = loaded.tokenizers.source.tokenizer();
            let is_blank = |id: i64| source.is_some_and(|source| source.decode(&[id]).trim().is_empty());
            let says_nothing = |&id: &i64| id == UNK || is_blank(id);
            let kinds = [
                (&mut self.beyond_the_limit, is_beyond_the_limit(loaded, read, asked)),
                (&mut self.truncated, row.truncated),
                (&mut self.empty, !loaded.is_requested(&asked.decode.source)),
                (&mut self.with_nul, read.text.contains('\0')),
                (&mut self.only_unknown, asked.unknown > 0 && ids.iter().all(says_nothing)),
            ];
            for (rows, _) in kinds.into_iter().filter(|(_, is_one)| *is_one) {
                rows.add(|| read.place.to_string());
            }
        }
    }

    /// Counts an output that lines with times leave out.
    pub(crate) fn leave_out(&mut self, place: impl std::fmt::Display) {
        self.untimed.add(|| place.to_string());
    }

    /// Counts the outputs of a row, compares the best one with the reference, and shows it as an example if requested. A row
    /// without outputs is counted as skipped, and its output as empty.
    pub(crate) fn add(&mut self, loaded: &LoadedModel, row: &Row<Vec<Output>>) {
        let (outputs, read) = match (&row.content, &row.read) {
            (Ok(outputs), Some(read)) => (outputs, read),
            (Ok(_), None) => return,
            (Err(error), read) => {
                self.skipped.add(|| error.first_line().to_owned());
                return read.iter().for_each(|read| self.add_skipped(loaded, read));
            }
        };
        self.outputs += outputs.len();
        self.replaced = loaded.experiment.decoding.replace_unknown;
        for Output { hypothesis, .. } in outputs {
            self.unfinished += usize::from(!hypothesis.finished);
            self.unknown_out += hypothesis.tokens.iter().filter(|&&token| token == UNK).count();
        }
        let is_asked = !read.text.trim().is_empty() || loaded.is_requested(&SourceItem::default());
        self.fewer += usize::from(is_asked && outputs.len() < loaded.experiment.decoding.n_best);
        let Some(Output { text, hypothesis, .. }) = outputs.first() else { return };
        self.broken += usize::from(self.as_text && text.contains(['\n', '\r']));
        let mut right = false;
        if let Some(field) = &read.target {
            let (first, others) = loaded.references(field);
            for reference in std::iter::once(first).chain(others) {
                self.changed[1].add(loaded.tokenizers.target.changes(reference));
            }
            let score = self.reference_score(loaded, first, row);
            right = with_example(loaded, (field.as_str(), score), hypothesis, |example| {
                self.metrics.add(example);
                example.is_exact()
            });
        }
        if self.examples_left > 0 {
            self.examples_left -= 1;
            show(read, text, right);
        }
    }

    /// Compares the empty output of a skipped row with its reference, if that can be read: a table of the outputs has the same
    /// values.
    fn add_skipped(&mut self, loaded: &LoadedModel, read: &SourceRow) {
        let field = read.target.as_deref().filter(|field| loaded.check_references(field).is_ok());
        let Some(field) = field else { return };
        self.skipped_with_reference += 1;
        with_example(loaded, (field, None), &Hypothesis::default(), |example| self.metrics.add(example));
    }

    /// The score of a row's reference, of several the first; counts one that cannot be scored.
    fn reference_score(
        &mut self,
        loaded: &LoadedModel,
        first: &str,
        row: &Row<Vec<Output>>,
    ) -> Option<TargetScore> {
        match row.reference_score.as_ref()? {
            Ok(score) => {
                let target = &loaded.tokenizers.target;
                self.scored += 1;
                self.unknown_references += target.count_unknown(&target.encode(first));
                Some(*score)
            }
            Err(error) => {
                self.unscored.add(|| error.first_line().to_owned());
                None
            }
        }
    }

    /// Prints the summary, and notes about the input.
    pub(crate) fn say(&self, loaded: &LoadedModel, input: &Input) {
        if self.metrics.rows() > 0 {
            status(&self.score_line());
        }
        self.say_of_input(loaded, input);
        let rows = [
            (&self.skipped, "skipped rows", " (their outputs are empty)"),
            (&self.truncated, "truncated sources", " (too long, --truncate)"),
            (&self.empty, "empty sources", " (their outputs are empty)"),
            (&self.with_nul, "sources with NUL characters", " (as in UTF-16 and binary files)"),
            (&self.only_unknown, "sources without any symbol of the vocabulary", ""),
            (
                &self.beyond_the_limit,
                "references longer than an output may be",
                " (`decoding.max_length`; no output can match them)",
            ),
            (
                &self.untimed,
                "outputs without times",
                " (left out: the CTC head cannot align them to their recordings)",
            ),
            (
                &self.unscored,
                "references without a score",
                " (token accuracy and perplexity are without them)",
            ),
        ];
        for (rows, what, why) in rows.iter().filter(|(rows, ..)| rows.count > 0) {
            status(&format!("note: {what}: {}{why}; the first: {}", rows.count, rows.first));
        }
        let notes = [
            (self.skipped_with_reference, "skipped rows with a reference", " (scored with an empty output)"),
            (self.unknown, "symbols of the sources that are not in the vocabulary", ""),
            (
                self.unknown_references,
                "symbols of the references that are not in the vocabulary",
                " (scored as <unk>)",
            ),
            (
                self.unknown_out,
                match self.replaced {
                    true => "unknown symbols of the outputs, replaced by symbols of their sources",
                    false => "unknown symbols in the outputs",
                },
                "",
            ),
            (
                self.unfinished,
                "unfinished outputs",
                " (they reached `decoding.max_length`, or the constraints allowed no further token)",
            ),
            (
                self.broken,
                "outputs with line breaks",
                " (text writes them as spaces; --format csv and --format jsonl keep them)",
            ),
            (self.fewer, "rows with fewer outputs than `decoding.n_best`", " (the search found no more)"),
        ];
        for (count, what, why) in notes.iter().filter(|(count, ..)| *count > 0) {
            status(&format!("note: {what}: {count}{why}"));
        }
    }

    /// The values of the metrics. Without any scored reference, those over scores have none.
    fn values(&self) -> Vec<MetricValue> {
        let values = self.metrics.values().into_iter();
        values.filter(|metric| self.scored > 0 || !metric.kind.is_teacher_forced()).collect()
    }

    /// The metrics and their counts.
    fn score_line(&self) -> String {
        let values = self.values();
        let mut line = counted(self.metrics.rows(), "row");
        for metric in MetricValue::in_lines(&values) {
            line += &format!(", {}", metric.in_words());
            if let Some(counts) = self.metrics.counts(&metric.kind) {
                line += &format!(" ({counts})");
            }
        }
        line
    }

    /// Prints notes about how the input was read.
    fn say_of_input(&self, loaded: &LoadedModel, input: &Input) {
        let file = input.file().display().to_string();
        input.notes(self.rows as u64 + self.before).iter().for_each(|note| status(&format!("note: {note}")));
        let Tokenizers { source, target } = &loaded.tokenizers;
        let [sources, references] = &self.changed;
        let changes = source.tokenizer().and_then(|source| sources.in_words("source", source.form()));
        if let Some(changes) = changes {
            status(&format!("note: {file}: {changes}"));
        }
        if let Some(changes) = references.in_words("target", target.form()) {
            let count = references.changed();
            status(&format!("note: {file}: {changes}; references that no output can match: {count}"));
        }
    }

    /// Writes the summary as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut summary = json!({
            "rows": self.rows,
            "rows_before": self.before,
            "skipped": self.skipped.count,
            "truncated": self.truncated.count,
            "empty": self.empty.count,
            "with_nul": self.with_nul.count,
            "only_unknown": self.only_unknown.count,
            "outputs": self.outputs,
            "unfinished": self.unfinished,
            "unknown": self.unknown,
            "changed_sources": self.changed[0].changed(),
            "changed_references": self.changed[1].changed(),
            "beyond_the_limit": self.beyond_the_limit.count,
            "unscored_references": self.unscored.count,
            "unknown_references": self.unknown_references,
        });
        if self.metrics.rows() > 0 {
            for metric in self.values() {
                summary[metric.kind.name] = json!(metric.value);
            }
            summary["errors"] = json!(self.metrics.errors());
            summary["signatures"] = json!(self.metrics.signatures());
        }
        write_summary(path, &summary)
    }
}

/// Whether all references of a row are longer than its output may be.
fn is_beyond_the_limit(loaded: &LoadedModel, read: &SourceRow, asked: &EncodedRequest) -> bool {
    let Some(field) = &read.target else { return false };
    let (first, others) = loaded.references(field);
    let length = |text: &str| loaded.tokenizers.target.encode(text).len();
    std::iter::once(first).chain(others).all(|text| length(text) >= asked.decode.max_length)
}

/// Passes on an output and the references in a field of its row, with the score of the first one, as metrics count them.
pub(crate) fn with_example<T>(
    loaded: &LoadedModel,
    (field, reference_score): (&str, Option<TargetScore>),
    hypothesis: &Hypothesis,
    count: impl FnOnce(&Example) -> T,
) -> T {
    let target = &loaded.tokenizers.target;
    let (reference, other_references) = loaded.references(field);
    count(&Example {
        reference,
        other_references: &other_references,
        output: &target.known_parts(&hypothesis.tokens),
        finished: hypothesis.finished,
        unit: unit_of(target),
        reference_score,
    })
}

/// Prints one example.
fn show(row: &SourceRow, output: &str, right: bool) {
    let verdict = match &row.target {
        Some(_) if right => "  (right)".to_owned(),
        Some(reference) => format!("  (wrong: it is {reference})"),
        None => String::new(),
    };
    status(&format!("  {}  ->  {output}{verdict}", row.text));
}
