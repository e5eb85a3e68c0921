//! The embeddings of both sides, and the output layer, which may share their matrix (Press and Wolf 2017).

use tch::Tensor;

use super::Tied;
use super::layers::Linear;
use super::params::VarBuilder;
use crate::data::source::SourceShape;
use crate::data::vocabulary::PAD;

/// The matrices with one row per token.
#[derive(Debug)]
pub(crate) struct Embeddings {
    /// (V of the source, D), where sources are tokens.
    pub source: Option<Tensor>,
    /// (V, D)
    pub target: Tensor,
    /// The output layer: weight (V, D), without bias.
    pub output: Linear,
}

impl Embeddings {
    /// Adds them to the weights: `shared_embedding`, or `source_embedding` and `target_embedding`; `output` unless it is
    /// tied. `target_vocabulary` is a size.
    pub(crate) fn new(
        vb: &mut VarBuilder,
        width: usize,
        tied: Tied,
        source: SourceShape,
        target_vocabulary: usize,
    ) -> Embeddings {
        let (width, target_rows) = (width as i64, target_vocabulary as i64);
        let mut embedding = |name: &str, rows: i64| vb.sub(name).embedding("weight", rows, width, Some(PAD));
        let (source, target) = if tied == Tied::All {
            assert_eq!(source, target_vocabulary.into(), "tied embeddings want one vocabulary");
            let shared = embedding("shared_embedding", target_rows);
            (Some(shared.shallow_clone()), shared)
        } else {
            let source = match source {
                SourceShape::Tokens(rows) => Some(embedding("source_embedding", rows as i64)),
                SourceShape::Frames(_) => None,
            };
            (source, embedding("target_embedding", target_rows))
        };
        let output = match tied {
            Tied::None => vb.sub("output").matrix("weight", target_rows, width),
            Tied::TargetOutput | Tied::All => target.shallow_clone(),
        };
        Embeddings { source, target, output: Linear::over(output, vb.compute()) }
    }

    /// Size of the target's vocabulary.
    pub(crate) fn target_vocabulary(&self) -> usize {
        self.target.size()[0] as usize
    }

    /// The matrix whose rows are a source's tokens.
    pub(crate) fn of_source(&self) -> &Tensor {
        self.source.as_ref().expect("sources are tokens")
    }

    /// The rows of tokens, times the square root of their width: initially with standard deviation 1.
    ///
    /// # Shapes
    /// weight: (V, D); tokens: (...) i64; out: (..., D)
    pub(crate) fn look_up(weight: &Tensor, tokens: &Tensor) -> Tensor {
        Tensor::embedding(weight, tokens, PAD, false, false) * (weight.size()[1] as f64).sqrt()
    }
}
