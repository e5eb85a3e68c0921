//! The mean of several checkpoints' weights, which is often better than each of them (Junczys-Dowmunt et al. 2016).

use std::path::PathBuf;

use tch::{Kind, Tensor};

use super::model_file::{self, ModelHeader, same_network};
use super::tensors::Named;
use crate::error::{Error, Result};

/// The mean of the weights in some model files, and the header of the first. The sum is taken in f64.
///
/// # Errors
/// No file; files of different models; what [`model_file::read`] refuses.
pub fn mean(paths: &[PathBuf]) -> Result<(ModelHeader, Named)> {
    let Some((first, rest)) = paths.split_first() else {
        return Err(Error::input("an average needs at least one checkpoint, but there is none"));
    };
    let (header, weights) = model_file::read(first)?;
    let double = |tensor: &Tensor| tensor.to_kind(Kind::Double);
    let mut sums: Vec<Tensor> = weights.iter().map(|(_, tensor)| double(tensor)).collect();
    for path in rest {
        let (other, more) = model_file::read(path)?;
        let alike = weights.iter().map(|(name, tensor)| (name, tensor.size()));
        let same = alike.eq(more.iter().map(|(name, tensor)| (name, tensor.size())));
        // Heads, positions and the like are in no weight's shape.
        let same = same && same_network(&header.config, &other.config);
        if !same || other.tokenizers != header.tokenizers {
            let message = format!(
                "checkpoints can be averaged when they are of the same network and vocabularies, but {} and {} differ",
                first.display(),
                path.display()
            );
            return Err(Error::input(message).hint("compare them with `seqloom inspect --tensors`"));
        }
        for (sum, (_, tensor)) in sums.iter_mut().zip(&more) {
            *sum += double(tensor);
        }
    }
    let count = paths.len() as f64;
    let means = weights.iter().zip(sums);
    let means = means.map(|((name, tensor), sum)| (name.clone(), (sum / count).to_kind(tensor.kind())));
    Ok((header, means.collect()))
}
