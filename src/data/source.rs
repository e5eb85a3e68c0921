//! One source as a network's input, before it is part of a batch ([`super::batch::SourceBatch`]).

use std::sync::Arc;

/// One source. A new kind of source needs a variant here and a front of the encoder that reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceItem {
    /// Token ids without EOS.
    Tokens(Vec<i64>),
    /// Frames of features of a recording.
    Frames(Frames),
}

/// Frames of features, one after the other. A clone shares them.
#[derive(Clone, Debug, PartialEq)]
pub struct Frames {
    data: Arc<[f32]>,
    bins: usize,
}

/// What the sources of a network are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceShape {
    /// Ids below this number.
    Tokens(usize),
    /// Ids of several columns.
    Parts(Arc<[PartShape]>),
    /// Frames of this many numbers.
    Frames(usize),
}

/// The ids of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartShape {
    /// How many there are; those of the first column begin with the special tokens.
    pub size: usize,
    /// Whether its symbols have no order.
    pub set: bool,
}

impl SourceShape {
    /// The number of ids; `None` of frames.
    pub(crate) fn vocabulary(&self) -> Option<usize> {
        match self {
            SourceShape::Tokens(count) => Some(*count),
            SourceShape::Parts(parts) => Some(parts.iter().map(|part| part.size).sum()),
            SourceShape::Frames(_) => None,
        }
    }
}

impl From<usize> for SourceShape {
    fn from(vocabulary: usize) -> SourceShape {
        SourceShape::Tokens(vocabulary)
    }
}

impl Frames {
    /// (T, F), row after row.
    pub fn new(data: Vec<f32>, bins: usize) -> Frames {
        assert!(bins > 0 && data.len().is_multiple_of(bins), "whole frames of {bins} numbers");
        Frames { data: data.into(), bins }
    }

    /// Number of frames (T).
    pub(crate) fn count(&self) -> usize {
        self.data.len() / self.bins
    }

    /// Numbers of a frame (F).
    pub(crate) fn bins(&self) -> usize {
        self.bins
    }

    /// (T, F), row after row.
    pub(crate) fn data(&self) -> &[f32] {
        &self.data
    }
}

/// Positions of the encoder's layers for this many frames: its front has two convolutions of stride 2.
pub(crate) fn subsampled(frames: usize) -> usize {
    frames.div_ceil(2).div_ceil(2)
}

/// The fewest frames that an alignment of these labels has: one for each label, and a blank between two equal ones.
pub fn required_frames(labels: &[i64]) -> usize {
    labels.len() + labels.windows(2).filter(|pair| pair[0] == pair[1]).count()
}

impl SourceItem {
    /// Its length: tokens without EOS, or the positions that the encoder makes of its frames.
    pub(crate) fn length(&self) -> usize {
        match self {
            SourceItem::Tokens(ids) => ids.len(),
            SourceItem::Frames(frames) => subsampled(frames.count()),
        }
    }

    /// Positions that the encoder's layers see, EOS of tokens included.
    pub fn positions(&self) -> usize {
        match self {
            SourceItem::Tokens(ids) => ids.len() + 1,
            SourceItem::Frames(_) => self.length(),
        }
    }

    /// Whether it is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.length() == 0
    }

    /// Its token ids without EOS; none of frames.
    pub(crate) fn tokens(&self) -> &[i64] {
        match self {
            SourceItem::Tokens(ids) => ids,
            SourceItem::Frames(_) => &[],
        }
    }

    /// Its frames, if it is a recording.
    pub(crate) fn frames(&self) -> Option<&Frames> {
        match self {
            SourceItem::Tokens(_) => None,
            SourceItem::Frames(frames) => Some(frames),
        }
    }
}

impl Default for SourceItem {
    fn default() -> SourceItem {
        SourceItem::Tokens(Vec::new())
    }
}

impl From<Vec<i64>> for SourceItem {
    fn from(ids: Vec<i64>) -> SourceItem {
        SourceItem::Tokens(ids)
    }
}

impl From<&[i64]> for SourceItem {
    fn from(ids: &[i64]) -> SourceItem {
        ids.to_vec().into()
    }
}

impl<const N: usize> From<&[i64; N]> for SourceItem {
    fn from(ids: &[i64; N]) -> SourceItem {
        ids.to_vec().into()
    }
}
