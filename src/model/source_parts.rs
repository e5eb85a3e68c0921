//! Sources with several columns: the column and the position of each id.
//!
//! The symbols of a set have no order: all of them are at position 0, and what has an order counts from 1, as in the
//! feature-invariant Transformer (Wu et al. 2021).

use std::sync::Arc;

use tch::{Device, Tensor};

use crate::data::source::PartShape;

/// Which column each id belongs to.
#[derive(Debug)]
pub(crate) struct SourceParts {
    shapes: Arc<[PartShape]>,
    /// The column of each id: (V) i64
    columns: Tensor,
    /// One for each id of a column with an order, zero for those of a set; `None` without a set: (V) i64
    ordered: Option<Tensor>,
}

impl SourceParts {
    /// For the ids of these columns.
    pub(crate) fn new(shapes: &Arc<[PartShape]>, device: Device) -> SourceParts {
        let of_each = |value: &dyn Fn(usize, &PartShape) -> i64| {
            let ids = shapes.iter().enumerate().flat_map(|(n, part)| vec![value(n, part); part.size]);
            Tensor::from_slice(&ids.collect::<Vec<i64>>()).to_device(device)
        };
        let has_set = shapes.iter().any(|part| part.set);
        SourceParts {
            shapes: shapes.clone(),
            columns: of_each(&|n, _| n as i64),
            ordered: has_set.then(|| of_each(&|_, part| i64::from(!part.set))),
        }
    }

    /// The ids of each column.
    pub(crate) fn shapes(&self) -> &Arc<[PartShape]> {
        &self.shapes
    }

    /// The column of each token, in any shape.
    pub(crate) fn columns(&self, tokens: &Tensor) -> Tensor {
        self.columns.take(tokens)
    }

    /// The positions of tokens; `None` if all are in order.
    ///
    /// # Shapes
    /// (B, S) i64 to (B, S) i64
    pub(crate) fn positions(&self, tokens: &Tensor) -> Option<Tensor> {
        let counts = self.ordered.as_ref()?.take(tokens); // (B, S)
        Some(counts.cumsum(-1, counts.kind()) * &counts)
    }

    /// The same of one source.
    pub(crate) fn positions_of(&self, tokens: impl Iterator<Item = i64>) -> Vec<i64> {
        let mut next = i64::from(self.ordered.is_some());
        let position = |token: i64| {
            let is_set = self.shape_of(token).is_some_and(|part| part.set);
            next += i64::from(!is_set);
            if is_set { 0 } else { next - 1 }
        };
        tokens.map(position).collect()
    }

    fn shape_of(&self, token: i64) -> Option<PartShape> {
        let mut end = 0;
        self.shapes.iter().copied().find(|part| {
            end += part.size as i64;
            token < end
        })
    }
}

impl Clone for SourceParts {
    fn clone(&self) -> SourceParts {
        SourceParts {
            shapes: self.shapes.clone(),
            columns: self.columns.shallow_clone(),
            ordered: self.ordered.as_ref().map(Tensor::shallow_clone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_a_set_are_at_position_0_and_others_count_from_1() {
        let shape = |size, set| PartShape { size, set };
        let parts = SourceParts::new(&vec![shape(6, false), shape(3, true)].into(), Device::Cpu);
        let tokens = Tensor::from_slice(&[7, 8, 4, 5, 4, 3i64]).view([1, 6]);
        assert_eq!(Vec::<i64>::try_from(parts.columns(&tokens).flatten(0, 1)).unwrap(), [1, 1, 0, 0, 0, 0]);
        let positions = parts.positions(&tokens).unwrap().flatten(0, 1);
        assert_eq!(Vec::<i64>::try_from(positions).unwrap(), [0, 0, 1, 2, 3, 4]);
        assert_eq!(parts.positions_of([7, 8, 4, 5, 4, 3].into_iter()), [0, 0, 1, 2, 3, 4]);
        let sequences = SourceParts::new(&vec![shape(6, false), shape(3, false)].into(), Device::Cpu);
        assert!(sequences.positions(&tokens).is_none());
        assert_eq!(sequences.positions_of([7, 8, 4, 3].into_iter()), [0, 1, 2, 3]);
    }
}
