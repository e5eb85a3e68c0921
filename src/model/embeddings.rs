//! The embeddings of both sides, and the output layer, which may share their matrix (Press and Wolf 2017).

use tch::Tensor;

use super::Tied;
use super::layers::Linear;
use super::params::VarBuilder;
use crate::data::vocabulary::PAD;

/// The matrices with one row per token.
#[derive(Debug)]
pub struct Embeddings {
    /// (V of the source, D)
    pub source: Tensor,
    /// (V, D)
    pub target: Tensor,
    /// The output layer: weight (V, D), without bias.
    pub output: Linear,
}

impl Embeddings {
    /// Adds the weights `shared_embedding`, or `source_embedding` and `target_embedding`; and `output` if it is not
    /// tied. `vocabularies` are the sizes of source and target.
    pub fn new(vb: &mut VarBuilder, width: usize, tied: Tied, vocabularies: [usize; 2]) -> Embeddings {
        let width = width as i64;
        let [source_rows, target_rows] = vocabularies.map(|size| size as i64);
        let mut embedding = |name: &str, rows: i64| vb.sub(name).embedding("weight", rows, width, Some(PAD));
        let (source, target) = if tied == Tied::All {
            assert_eq!(source_rows, target_rows, "tied embeddings need a shared vocabulary");
            let shared = embedding("shared_embedding", source_rows);
            (shared.shallow_clone(), shared)
        } else {
            (embedding("source_embedding", source_rows), embedding("target_embedding", target_rows))
        };
        let output = match tied {
            Tied::None => vb.sub("output").matrix("weight", target_rows, width),
            Tied::TargetOutput | Tied::All => target.shallow_clone(),
        };
        Embeddings { source, target, output: Linear::over(output, vb.compute()) }
    }

    /// Sizes of the vocabularies of source and target.
    pub fn vocabularies(&self) -> [usize; 2] {
        [&self.source, &self.target].map(|weight| weight.size()[0] as usize)
    }

    /// The rows of tokens, times the square root of their width: initially with standard deviation 1.
    ///
    /// # Shapes
    /// weight: (V, D); tokens: (...) i64; out: (..., D)
    pub fn look_up(weight: &Tensor, tokens: &Tensor) -> Tensor {
        Tensor::embedding(weight, tokens, PAD, false, false) * (weight.size()[1] as f64).sqrt()
    }
}
