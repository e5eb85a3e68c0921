//! The mean of several checkpoints' weights, which is often better than each of them (Junczys-Dowmunt et al. 2016).

use std::path::PathBuf;

use tch::{Kind, Tensor};

use super::model_file::{self, ModelHeader};
use super::tensors::NamedTensors;
use crate::error::{Error, Result};

/// The mean of the weights in some model files, and their headers. The sum is taken in f64.
///
/// # Errors
/// No file; files with different weights or vocabularies; errors of [`model_file::read`].
pub(crate) fn mean(paths: &[PathBuf]) -> Result<(Vec<ModelHeader>, NamedTensors)> {
    let Some((first, rest)) = paths.split_first() else {
        return Err(Error::input("an average needs at least one checkpoint, but there is none"));
    };
    let (header, weights) = model_file::read(first)?;
    let mut headers = vec![header];
    let double = |tensor: &Tensor| tensor.to_kind(Kind::Double);
    let mut sums: Vec<Tensor> = weights.iter().map(|(_, tensor)| double(tensor)).collect();
    for path in rest {
        let (other, more) = model_file::read(path)?;
        let alike = weights.iter().map(|(name, tensor)| (name, tensor.size()));
        let same = alike.eq(more.iter().map(|(name, tensor)| (name, tensor.size())));
        if !same || other.tokenizers != headers[0].tokenizers {
            let message = format!(
                "averaged checkpoints must have the same weights and vocabularies, but {} and {} differ",
                first.display(),
                path.display()
            );
            return Err(Error::input(message).hint("compare them with `seqloom inspect --tensors`"));
        }
        for (sum, (_, tensor)) in sums.iter_mut().zip(&more) {
            *sum += double(tensor);
        }
        headers.push(other);
    }
    let count = paths.len() as f64;
    let means = weights.iter().zip(sums);
    let means = means.map(|((name, tensor), sum)| (name.clone(), (sum / count).to_kind(tensor.kind())));
    Ok((headers, means.collect()))
}
