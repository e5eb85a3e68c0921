//! `decoding.replace_unknown`: an `<unk>` of an output becomes the symbol of the source that the model looked at most when it
//! said it (Jean et al. 2015; OpenNMT's `-replace_unk`).

use super::Output;
use super::asked::Asked;
use super::loaded::LoadedModel;
use crate::data::vocabulary::UNK;
use crate::decoding::trace::{Known, Step, trace};
use crate::error::Result;

impl LoadedModel {
    /// Replaces the unknown symbols in the texts of all outputs; the tokens stay. Outputs without one cost nothing.
    ///
    /// # Errors
    /// The work could not be done.
    pub(super) fn replace_unknown(&self, asked: &[&Asked], outputs: &mut [Vec<Output>]) -> Result<()> {
        let all =
            asked.iter().zip(outputs).flat_map(|(asked, list)| list.iter_mut().map(move |one| (asked, one)));
        let mut concerned: Vec<(&&Asked, &mut Output)> =
            all.filter(|(_, output)| output.hypothesis.tokens.contains(&UNK)).collect();
        for some in concerned.chunks_mut(self.rules.batch_size) {
            let known = some.iter().map(|(asked, output)| Known {
                source: asked.reading.source(),
                tokens: &output.hypothesis.tokens,
                finished: output.hypothesis.finished,
            });
            let steps = trace(self.stepper(), &known.collect::<Vec<_>>(), 0)?;
            for ((asked, output), steps) in some.iter_mut().zip(steps) {
                let of_source = |n: usize| most_looked_at(&steps[n], &asked.texts);
                output.text = self.tokenizers.target.decode_with(&output.hypothesis.tokens, of_source);
            }
        }
        Ok(())
    }
}

/// The symbol of the source with the most attention; EOS, which stands behind them, is none. Of equals the first.
fn most_looked_at<'a>(step: &Step, texts: &'a [String]) -> &'a str {
    let pairs = step.attention.iter().zip(texts);
    let most = pairs.reduce(|most, one| if one.0 > most.0 { one } else { most });
    most.map_or("", |(_, text)| text)
}
