//! A matrix of features: one row a frame.

use crate::error::{Error, Result};

/// Features of one recording, row by row. The shape is (T, F).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frames {
    bins: usize,
    data: Vec<f32>,
}

impl Frames {
    /// The frames in `data`, row by row.
    ///
    /// # Errors
    /// `bins` is 0, or `data` is not made of whole rows.
    pub(crate) fn new(bins: usize, data: Vec<f32>) -> Result<Frames> {
        match bins {
            0 => Err(Error::input("frames must have at least 1 bin, but they have 0")),
            _ if !data.len().is_multiple_of(bins) => Err(Error::input(format!(
                "frames of {bins} bins must be whole, but there are {} values",
                data.len()
            ))),
            _ => Ok(Frames { bins, data }),
        }
    }

    /// The number of bins, F.
    pub(crate) fn bins(&self) -> usize {
        self.bins
    }

    /// The number of frames, T.
    pub(crate) fn len(&self) -> usize {
        self.data.len() / self.bins
    }

    /// Keeps the first frames.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.data.truncate(count * self.bins);
    }

    /// All values, row by row.
    pub(crate) fn data(&self) -> &[f32] {
        &self.data
    }

    /// All values, row by row, for a change.
    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// All values, row by row.
    pub(crate) fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The frames, each a row of F values.
    pub(crate) fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.data.chunks_exact(self.bins)
    }

    /// The frames, each a row of F values, for a change.
    pub(crate) fn rows_mut(&mut self) -> std::slice::ChunksExactMut<'_, f32> {
        self.data.chunks_exact_mut(self.bins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_row_is_not_a_frame() {
        assert_eq!(Frames::new(2, vec![0.0; 6]).unwrap().len(), 3);
        let error = Frames::new(2, vec![0.0; 5]).unwrap_err();
        assert_eq!(error.message(), "frames of 2 bins must be whole, but there are 5 values");
        assert!(Frames::new(0, Vec::new()).is_err());
    }
}
