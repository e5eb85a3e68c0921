//! The paged key-value cache: one slot per position, and for each row the list of its slots.
//!
//! Rows are lists of slots, so they may differ in length, share a prefix, and be copied, dropped and reordered without
//! moving any key or value. Slots that no row uses are freed when the room is full.

use tch::{Device, Kind, Tensor};

/// Initial number of slots.
const ROOM: i64 = 256;

/// The slots of all layers of a stack; the same slot belongs to the same position in each layer.
#[derive(Debug)]
pub(crate) struct KvCache {
    /// For each layer: (room, 2 D), keys before values
    layers: Vec<Tensor>,
    used: i64,
}

impl KvCache {
    /// An empty cache for `layers` layers of width `width`.
    pub(crate) fn new(layers: usize, width: i64, device: Device) -> KvCache {
        let empty = || Tensor::empty([ROOM, 2 * width], (Kind::Float, device));
        KvCache { layers: (0..layers).map(|_| empty()).collect(), used: 0 }
    }

    /// The keys and values of a layer: (room, 2 D)
    pub(crate) fn layer(&self, layer: usize) -> &Tensor {
        &self.layers[layer]
    }

    /// Reserves `count` more slots and returns the first one. `rows` are the lists of slots in use; they are updated if
    /// slots move.
    pub(crate) fn reserve(&mut self, count: usize, rows: &mut [&mut Vec<i32>]) -> i32 {
        let count = count as i64;
        let room = self.layers.first().map_or(ROOM, |layer| layer.size()[0]);
        if self.used + count > room {
            self.compact(rows);
            if self.used + count > room / 2 {
                self.grow((self.used + count) * 2);
            }
        }
        self.used += count;
        (self.used - count) as i32
    }

    /// Writes keys and values, (N, 2 D), to the slots from `first` on.
    pub(crate) fn write(&self, layer: usize, first: i32, keys_values: &Tensor) {
        let count = keys_values.size()[0];
        self.layers[layer].narrow(0, first.into(), count).copy_(keys_values);
    }

    /// Copies the slots of another cache's rows into this one; their lists are updated to the new slots.
    pub(crate) fn take(&mut self, other: &KvCache, own: &mut [&mut Vec<i32>], theirs: &mut [&mut Vec<i32>]) {
        let count = other.used;
        let first = self.reserve(count as usize, own);
        for layer in 0..self.layers.len() {
            self.write(layer, first, &other.layers[layer].narrow(0, 0, count));
        }
        theirs.iter_mut().flat_map(|row| row.iter_mut()).for_each(|slot| *slot += first);
    }

    /// Moves the slots in use to the front, in order.
    fn compact(&mut self, rows: &mut [&mut Vec<i32>]) {
        let mut place = vec![-1; self.used as usize];
        rows.iter().flat_map(|row| row.iter()).for_each(|&slot| place[slot as usize] = 0);
        let kept: Vec<i64> = (0..self.used).filter(|&slot| place[slot as usize] == 0).collect();
        kept.iter().enumerate().for_each(|(to, &slot)| place[slot as usize] = to as i32);
        rows.iter_mut().flat_map(|row| row.iter_mut()).for_each(|slot| *slot = place[*slot as usize]);
        for layer in &self.layers {
            let seen = layer.index_select(0, &Tensor::from_slice(&kept).to_device(layer.device()));
            layer.narrow(0, 0, kept.len() as i64).copy_(&seen);
        }
        self.used = kept.len() as i64;
    }

    fn grow(&mut self, room: i64) {
        for layer in &mut self.layers {
            let larger = Tensor::empty([room, layer.size()[1]], (layer.kind(), layer.device()));
            larger.narrow(0, 0, self.used).copy_(&layer.narrow(0, 0, self.used));
            *layer = larger;
        }
    }
}
