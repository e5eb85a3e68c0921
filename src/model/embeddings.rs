//! The embeddings of both sides, and the output layer, which may share their matrix (Press and Wolf 2017).

use tch::Tensor;

use super::Tied;
use super::layers::Linear;
use super::params::VarBuilder;
use super::source_parts::SourceParts;
use crate::data::source::SourceShape;
use crate::data::vocabulary::PAD;

/// The matrices with one row per token.
#[derive(Debug)]
pub(crate) struct Embeddings {
    /// (V of the source, D), where sources are tokens.
    pub source: Option<Tensor>,
    /// The columns of the source's ids, and a vector for each of them, (P, D), where there are several.
    pub parts: Option<(SourceParts, Tensor)>,
    /// (V, D)
    pub target: Tensor,
    /// The output layer: weight (V, D), without bias.
    pub output: Linear,
}

impl Embeddings {
    /// Adds them to the weights: `shared_embedding`, or `source_embedding` and `target_embedding`; `part_embedding` of a
    /// source with several columns; `output` unless it is tied. `target_vocabulary` is a size.
    pub(crate) fn new(
        vb: &mut VarBuilder,
        width: usize,
        tied: Tied,
        source: &SourceShape,
        target_vocabulary: usize,
    ) -> Embeddings {
        let (device, shape) = (vb.device(), source);
        let (width, target_rows) = (width as i64, target_vocabulary as i64);
        let mut embedding = |name: &str, rows: i64| vb.sub(name).embedding("weight", rows, width, Some(PAD));
        let (source, target) = if tied == Tied::All {
            assert_eq!(*source, target_vocabulary.into(), "tied embeddings want one vocabulary");
            let shared = embedding("shared_embedding", target_rows);
            (Some(shared.shallow_clone()), shared)
        } else {
            let source = source.vocabulary().map(|rows| embedding("source_embedding", rows as i64));
            (source, embedding("target_embedding", target_rows))
        };
        let parts = match shape {
            SourceShape::Parts(parts) => {
                let vectors = vb.sub("part_embedding").embedding("weight", parts.len() as i64, width, None);
                Some((SourceParts::new(parts, device), vectors))
            }
            SourceShape::Tokens(_) | SourceShape::Frames(_) => None,
        };
        let output = match tied {
            Tied::None => vb.sub("output").matrix("weight", target_rows, width),
            Tied::TargetOutput | Tied::All => target.shallow_clone(),
        };
        Embeddings { source, parts, target, output: Linear::over(output, vb.compute()) }
    }

    /// Size of the target's vocabulary.
    pub(crate) fn target_vocabulary(&self) -> usize {
        self.target.size()[0] as usize
    }

    /// The matrix whose rows are a source's tokens.
    pub(crate) fn of_source(&self) -> &Tensor {
        self.source.as_ref().expect("sources are tokens")
    }

    /// What sources are made of; `None` of frames.
    pub(crate) fn source_shape(&self) -> Option<SourceShape> {
        let tokens = self.source.as_ref().map(|source| SourceShape::Tokens(source.size()[0] as usize));
        let parts = self.parts.as_ref().map(|(parts, _)| SourceShape::Parts(parts.shapes().clone()));
        parts.or(tokens)
    }

    /// The vectors of a source's tokens, with those of their columns.
    ///
    /// # Shapes
    /// tokens: (B, S) i64; out: (B, S, D)
    pub(crate) fn look_up_source(&self, tokens: &Tensor) -> Tensor {
        let x = Embeddings::look_up(self.of_source(), tokens);
        match &self.parts {
            Some((parts, vectors)) => x + Embeddings::look_up_column(vectors, &parts.columns(tokens)),
            None => x,
        }
    }

    /// The vectors of columns, scaled as those of tokens: (..., D)
    pub(crate) fn look_up_column(vectors: &Tensor, columns: &Tensor) -> Tensor {
        Tensor::embedding(vectors, columns, -1, false, false) * (vectors.size()[1] as f64).sqrt()
    }

    /// The rows of tokens, times the square root of their width: initially with standard deviation 1.
    ///
    /// # Shapes
    /// weight: (V, D); tokens: (...) i64; out: (..., D)
    pub(crate) fn look_up(weight: &Tensor, tokens: &Tensor) -> Tensor {
        Tensor::embedding(weight, tokens, PAD, false, false) * (weight.size()[1] as f64).sqrt()
    }
}
