//! From rows of token ids to padded CPU tensors.

use std::borrow::Borrow;

use tch::{Device, Tensor};

use super::source::{Frames, SourceItem, subsampled};
use super::vocabulary::{BOS, EOS, PAD};

/// What the encoder reads: rows of tokens, each closed by EOS, or rows of frames, padded at the end.
///
/// Only the encoder's front reads the tokens; the rest of the model uses the lengths.
#[derive(Debug)]
pub struct SourceBatch {
    /// Tokens: (B, S) i64, padded with PAD; frames: (B, S, F) f32, padded with zeros
    pub values: Tensor,
    /// Real tokens of each row, including EOS, or its real frames.
    pub lengths: Vec<i64>,
}

impl SourceBatch {
    /// Pads sources, all of one kind.
    pub(crate) fn new(rows: &[impl Borrow<SourceItem>]) -> SourceBatch {
        let frames: Vec<&Frames> = rows.iter().filter_map(|row| row.borrow().frames()).collect();
        if !frames.is_empty() {
            assert_eq!(frames.len(), rows.len(), "sources of one kind");
            return SourceBatch::of_frames(&frames);
        }
        let closed: Vec<Vec<i64>> = rows.iter().map(|row| with_eos(row.borrow().tokens())).collect();
        let lengths = closed.iter().map(|row| row.len() as i64).collect();
        SourceBatch { values: padded(&closed), lengths }
    }

    fn of_frames(rows: &[&Frames]) -> SourceBatch {
        let (longest, bins) = (rows.iter().map(|row| row.count()).max().unwrap_or(0), rows[0].bins());
        let mut flat = vec![0.0; rows.len() * longest * bins];
        for (row, to) in rows.iter().zip(flat.chunks_mut((longest * bins).max(1))) {
            assert_eq!(row.bins(), bins, "frames of one width");
            to[..row.data().len()].copy_from_slice(row.data());
        }
        SourceBatch {
            values: Tensor::from_slice(&flat).view([rows.len() as i64, longest as i64, bins as i64]),
            lengths: rows.iter().map(|row| row.count() as i64).collect(),
        }
    }

    /// Whether its rows are frames.
    pub(crate) fn is_frames(&self) -> bool {
        self.values.dim() == 3
    }

    /// Positions that the encoder's layers see of each row.
    pub fn positions(&self) -> Vec<i64> {
        let of_frames = |&length: &i64| subsampled(length as usize) as i64;
        match self.is_frames() {
            true => self.lengths.iter().map(of_frames).collect(),
            false => self.lengths.clone(),
        }
    }

    /// The longest row (S).
    pub(crate) fn max_length(&self) -> i64 {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    /// The same batch on another device.
    pub(crate) fn to_device(&self, device: Device) -> SourceBatch {
        SourceBatch { values: self.values.to_device(device), lengths: self.lengths.clone() }
    }
}

/// Pairs for teacher forcing.
#[derive(Debug)]
pub struct Batch {
    /// The encoder's input.
    pub source: SourceBatch,
    /// BOS and the target's tokens: (B, T) i64
    pub target_in: Tensor,
    /// The target's tokens and EOS without the padding, row after row: (N) i64
    pub labels: Tensor,
    /// Positions of the labels in the flattened (B, T): (N) i64
    pub label_positions: Tensor,
    /// Positions of each target, including EOS; they sum to N.
    pub target_lengths: Vec<i64>,
}

impl Batch {
    /// Pads sources, and targets as token ids without BOS and EOS.
    pub fn new(sources: &[impl Borrow<SourceItem>], targets: &[&[i64]]) -> Batch {
        let inputs: Vec<Vec<i64>> = targets.iter().map(|row| with_bos(row)).collect();
        let longest = inputs.iter().map(Vec::len).max().unwrap_or(0);
        let labels: Vec<i64> = targets.iter().flat_map(|row| with_eos(row)).collect();
        let places: Vec<i64> = inputs
            .iter()
            .enumerate()
            .flat_map(|(row, input)| (0..input.len()).map(move |t| (row * longest + t) as i64))
            .collect();
        Batch {
            source: SourceBatch::new(sources),
            target_in: padded(&inputs),
            labels: Tensor::from_slice(&labels),
            label_positions: Tensor::from_slice(&places),
            target_lengths: inputs.iter().map(|row| row.len() as i64).collect(),
        }
    }

    /// Number of target positions that are not padding (N).
    pub fn target_tokens(&self) -> usize {
        self.target_lengths.iter().sum::<i64>() as usize
    }

    /// Number of rows (B).
    pub(crate) fn rows(&self) -> usize {
        self.target_lengths.len()
    }

    /// Positions of both sides, without padding.
    pub(crate) fn real_positions(&self) -> usize {
        self.source.positions().iter().sum::<i64>() as usize + self.target_tokens()
    }

    /// Positions of both sides, including padding: B * (S + T).
    pub(crate) fn positions(&self) -> usize {
        let longest = self.source.positions().into_iter().max().unwrap_or(0);
        self.rows() * longest as usize + self.target_in.numel()
    }

    /// The same batch on another device.
    pub fn to_device(&self, device: Device) -> Batch {
        Batch {
            source: self.source.to_device(device),
            target_in: self.target_in.to_device(device),
            labels: self.labels.to_device(device),
            label_positions: self.label_positions.to_device(device),
            target_lengths: self.target_lengths.clone(),
        }
    }
}

fn with_eos(row: &[i64]) -> Vec<i64> {
    row.iter().copied().chain([EOS]).collect()
}

fn with_bos(row: &[i64]) -> Vec<i64> {
    [BOS].into_iter().chain(row.iter().copied()).collect()
}

/// (rows, longest) i64, padded at the end.
fn padded(rows: &[Vec<i64>]) -> Tensor {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut flat = vec![PAD; rows.len() * longest];
    for (row, to) in rows.iter().zip(flat.chunks_mut(longest.max(1))) {
        to[..row.len()].copy_from_slice(row);
    }
    Tensor::from_slice(&flat).view([rows.len() as i64, longest as i64])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_shifts_the_target_and_leaves_padding_out_of_the_labels() {
        let batch = Batch::new(&[SourceItem::from(&[7, 8]), SourceItem::from(&[9])], &[&[5], &[6, 4, 5]]);
        assert_eq!(Vec::<i64>::try_from(batch.source.values.flatten(0, 1)).unwrap(), [7, 8, 3, 9, 3, 0]);
        assert_eq!(Vec::<i64>::try_from(batch.target_in.flatten(0, 1)).unwrap(), [2, 5, 0, 0, 2, 6, 4, 5]);
        assert_eq!(Vec::<i64>::try_from(&batch.labels).unwrap(), [5, 3, 6, 4, 5, 3]);
        assert_eq!(Vec::<i64>::try_from(&batch.label_positions).unwrap(), [0, 1, 4, 5, 6, 7]);
        assert_eq!(batch.target_tokens(), 6);
    }
}
