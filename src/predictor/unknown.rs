//! `decoding.replace_unknown`: replaces each `<unk>` of an output by the symbol of the source with the most attention
//! at that step (Jean et al. 2015; OpenNMT's `-replace_unk`). Outputs with the same text after that are listed once.

use std::collections::HashSet;

use super::Output;
use super::loaded_model::LoadedModel;
use super::request::EncodedRequest;
use crate::data::vocabulary::UNK;
use crate::decoding::trace::{TraceStep, TracedOutput, trace};
use crate::error::Result;

impl LoadedModel {
    /// Replaces the unknown symbols in the texts of all outputs; the tokens stay. Outputs without one cost nothing. A
    /// list may become shorter, since duplicates are removed, except for samples.
    ///
    /// # Errors
    /// The model fails.
    pub(super) fn replace_unknown(
        &self,
        asked: &[&EncodedRequest],
        outputs: &mut [Vec<Output>],
    ) -> Result<()> {
        let all = asked
            .iter()
            .zip(&mut *outputs)
            .flat_map(|(asked, list)| list.iter_mut().map(move |one| (asked, one)));
        let mut concerned: Vec<(&&EncodedRequest, &mut Output)> =
            all.filter(|(_, output)| output.hypothesis.tokens.contains(&UNK)).collect();
        for some in concerned.chunks_mut(self.options.batch_size) {
            let known = some.iter().map(|(asked, output)| TracedOutput {
                request: &asked.decode,
                tokens: &output.hypothesis.tokens,
                finished: output.hypothesis.finished,
            });
            let steps = trace(self.decoder(), &known.collect::<Vec<_>>(), 0)?;
            for ((asked, output), steps) in some.iter_mut().zip(steps) {
                let of_source = |n: usize| most_looked_at(&steps[n], &asked.texts);
                output.text = self.tokenizers.target.decode_with(&output.hypothesis.tokens, of_source);
            }
        }
        if self.options.sampling.is_none() {
            outputs.iter_mut().for_each(keep_first);
        }
        Ok(())
    }
}

/// Of outputs with the same text only the first is kept, which is the best.
fn keep_first(list: &mut Vec<Output>) {
    let mut texts = HashSet::new();
    list.retain(|output| texts.insert(output.text.clone()));
}

/// The symbol of the source with the most attention, without EOS at its end; of equal ones the first.
fn most_looked_at<'a>(step: &TraceStep, texts: &'a [String]) -> &'a str {
    let pairs = step.attention.iter().zip(texts);
    let most = pairs.reduce(|most, one| if one.0 > most.0 { one } else { most });
    most.map_or("", |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoding::incremental_decoder::Hypothesis;

    #[test]
    fn a_duplicate_text_is_kept_once_with_the_best_score() {
        let output = |text: &str, ranking| {
            let hypothesis = Hypothesis { ranking, ..Hypothesis::default() };
            Output::new(text.to_owned(), hypothesis)
        };
        let mut list = vec![output("a", -1.0), output("b", -2.0), output("a", -3.0), output("c", -4.0)];
        keep_first(&mut list);
        let left: Vec<_> = list.iter().map(|one| (one.text.as_str(), one.hypothesis.ranking)).collect();
        assert_eq!(left, [("a", -1.0), ("b", -2.0), ("c", -4.0)]);
    }
}
