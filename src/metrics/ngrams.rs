//! Counts of n-grams, for BLEU and chrF: n-grams as numbers, sorted, without an allocation for each.

/// The n-grams of a sequence as numbers, sorted: equal ones, and only these, have equal numbers.
///
/// Up to order 4, symbols may be any numbers. Beyond that, up to order 6, they must be characters or `UNKNOWN`, which 21
/// bits hold.
pub(crate) fn ngrams(symbols: &[u32], order: usize) -> Vec<u128> {
    let bits = if order <= 4 { 32 } else { 21 };
    let mask = (1_u128 << bits) - 1;
    let packed =
        |gram: &[u32]| gram.iter().fold(0, |number, &one| (number << bits) | (u128::from(one) & mask));
    let mut all: Vec<u128> = symbols.windows(order).map(packed).collect();
    all.sort_unstable();
    all
}

/// How many n-grams both have: the smaller count of each.
pub(crate) fn common(one: &[u128], other: &[u128]) -> u64 {
    let (mut at, mut at_other, mut count) = (0, 0, 0);
    while let (Some(a), Some(b)) = (one.get(at), other.get(at_other)) {
        at += usize::from(a <= b);
        at_other += usize::from(b <= a);
        count += u64::from(a == b);
    }
    count
}

/// Those of one or the other: the larger count of each.
pub(crate) fn union(one: &[u128], other: &[u128]) -> Vec<u128> {
    let mut all = Vec::with_capacity(one.len().max(other.len()));
    let (mut at, mut at_other) = (0, 0);
    while let Some(&least) = one.get(at).into_iter().chain(other.get(at_other)).min() {
        all.push(least);
        at += usize::from(one.get(at) == Some(&least));
        at_other += usize::from(other.get(at_other) == Some(&least));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_the_smaller_and_the_larger_one_of_each_ngram() {
        let (one, other) = (ngrams(&[1, 1, 2, 3, 1], 1), ngrams(&[1, 4, 2, 2, 1], 1));
        assert_eq!(common(&one, &other), 3);
        assert_eq!(union(&one, &other), [1, 1, 1, 2, 2, 3, 4]);
        assert_eq!(union(&[], &other), other);
    }

    #[test]
    fn ngrams_of_any_order_are_told_apart() {
        for order in 1..=6 {
            let text = [0x10_ffff, 0, u32::MAX, 1, 0x10_ffff, 0, 0x1f_fffe];
            let all = ngrams(&text, order);
            assert_eq!((all.len(), common(&all, &all)), (8 - order, (8 - order) as u64));
            let twice = 3_usize.saturating_sub(order);
            let mut unique = all.clone();
            unique.dedup();
            assert_eq!(all.len() - unique.len(), twice, "order {order}");
        }
        assert!(ngrams(&[1, 2], 3).is_empty());
    }
}
