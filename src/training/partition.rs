//! Splits element-wise work on weights among the threads.

use tch::{Device, Tensor};

use crate::runtime::threads;

/// Splits a list into one run per thread, with about the same number of elements each; a single run if `device` is a
/// GPU, which does one thing at a time. The order is kept, so that results do not depend on the cuts. `tensor` returns
/// an item's tensor.
pub(crate) fn partition_by_size<T>(
    items: Vec<T>,
    device: Device,
    tensor: impl Fn(&T) -> &Tensor,
) -> Vec<Vec<T>> {
    let threads = if device == Device::Cpu { threads::count() } else { 1 };
    let all: usize = items.iter().map(|item| numbers(tensor(item))).sum();
    let most = all.div_ceil(threads).max(1);
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut before = 0;
    for item in items {
        let part = before / most;
        before += numbers(tensor(&item));
        if part >= parts.len() {
            parts.push(Vec::new());
        }
        parts.last_mut().expect("there is one by now").push(item);
    }
    parts
}

/// Number of elements; 0 for an undefined gradient.
fn numbers(tensor: &Tensor) -> usize {
    if tensor.defined() { tensor.numel() } else { 0 }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn parts_keep_the_order_and_have_about_as_many_numbers_each() {
        threads::set(2).unwrap();
        let tensors = [4, 1, 3, 8, 5].map(|size| Tensor::zeros([size], (Kind::Float, Device::Cpu)));
        let sizes = |device| -> Vec<Vec<usize>> {
            let items = tensors.iter().map(Tensor::shallow_clone).collect();
            let parts = partition_by_size(items, device, |tensor| tensor);
            parts.iter().map(|part| part.iter().map(Tensor::numel).collect()).collect()
        };
        assert_eq!(sizes(Device::Cpu), [vec![4, 1, 3, 8], vec![5]]);
        assert_eq!(sizes(Device::Cuda(0)), [vec![4, 1, 3, 8, 5]]);
        threads::set(1).unwrap();
    }
}
