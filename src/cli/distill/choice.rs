//! Which outputs of a source become pairs.

use super::tally::Omission;
use crate::cli::decode::summary::with_example;
use crate::data::left_out::Reason;
use crate::data::readers::{Pair, SourceRow};
use crate::data::selection::left_out_because;
use crate::data::source::required_frames;
use crate::data::vocabulary::UNK;
use crate::error::{Error, Result};
use crate::metrics::{MetricKind, MetricSet};
use crate::predictor::Output;
use crate::predictor::loaded_model::LoadedModel;

/// Chooses among the outputs of a source.
pub(super) struct Choice<'a> {
    /// The teacher.
    pub loaded: &'a LoadedModel,
    /// The metric by which one output is chosen, the closest to the reference; `None` for all outputs.
    pub closest: Option<MetricKind>,
}

/// Outputs that become pairs, and why others do not.
pub(super) type Chosen<'o> = (Vec<&'o Output>, Vec<Omission>);

impl Choice<'_> {
    /// Chooses among outputs, of which the best is the first; `length` is that of the source. By a metric there is one pair for
    /// a source, and one reason if there is none.
    ///
    /// # Errors
    /// A metric needs a reference, and the row has none.
    pub(super) fn choose<'o>(
        &self,
        row: &SourceRow,
        length: usize,
        outputs: &'o [Output],
    ) -> Result<Chosen<'o>> {
        let (mut kept, mut omitted) = (Vec::new(), Vec::new());
        for output in outputs {
            match self.omission(row, length, output) {
                None => kept.push(output),
                Some(why) => omitted.push(why),
            }
        }
        let Some(kind) = self.closest else { return Ok((kept, omitted)) };
        let references = row.target.as_deref().ok_or_else(|| without_reference().at(&row.place))?;
        let cost = |output: &Output| self.cost(kind, references, output);
        // Of equal ones the first, which the teacher ranks highest.
        let closest = kept.into_iter().min_by(|one, other| cost(one).total_cmp(&cost(other)));
        omitted.truncate(usize::from(closest.is_none()));
        Ok((closest.into_iter().collect(), omitted))
    }

    /// Why an output is no pair.
    fn omission(&self, row: &SourceRow, length: usize, output: &Output) -> Option<Omission> {
        let config = &self.loaded.experiment;
        let Output { text, hypothesis, .. } = output;
        if !hypothesis.finished {
            return Some(Omission::Unfinished);
        }
        if hypothesis.tokens.contains(&UNK) && !config.decoding.replace_unknown {
            return Some(Omission::Unknown);
        }
        if hypothesis.tokens.len() > config.data.target.max_length {
            return Some(Omission::TooLong);
        }
        let separator = config.data.target.alternatives.as_deref();
        if separator.is_some_and(|separator| text.contains(separator)) {
            return Some(Omission::Separator);
        }
        // Training refuses such recordings, but no texts.
        let is_aligned = config.data.source.audio.is_some() && config.model.network().has_ctc();
        if is_aligned && length < required_frames(&hypothesis.tokens) {
            return Some(Omission::TooShort);
        }
        let pair = Pair { source: row.text.clone(), target: text.clone(), ..Pair::default() };
        left_out_because(&config.data, &pair).map(|reason| match reason {
            Reason::Empty => Omission::Empty,
            Reason::TooUnequal => Omission::TooUnequal,
            _ => Omission::Copy,
        })
    }

    /// How far an output is from the references in a field of its row: lower is closer.
    fn cost(&self, kind: MetricKind, references: &str, output: &Output) -> f64 {
        with_example(self.loaded, (references, None), &output.hypothesis, |example| {
            let mut metric = MetricSet::new([kind]);
            metric.add(example);
            metric.statistics().first().map_or(f64::INFINITY, |counts| kind.cost((kind.of_row)(counts)))
        })
    }
}

/// The error of a source without a reference, where a metric needs one.
pub(super) fn without_reference() -> Error {
    Error::input("--closest compares outputs with references, but there is none")
        .hint("name their column with --target-column or their text with --targets, or leave out --closest")
}
