//! Translation probabilities of tokens: IBM model 1 (Brown et al. 1993), trained by expectation maximisation.
//!
//! t(f | e) is the probability that a source token e produces the target token f. Each target token of a pair comes from
//! one of the pair's source tokens or from none, all of them equally likely a priori. Knows ids, no tensors and no files.

/// t(f | e) of all tokens that stand in a pair together.
#[derive(Clone, Debug)]
pub struct Lexicon {
    /// For each source token where its target tokens begin; behind the last one, that from which words without a source come.
    starts: Vec<usize>,
    /// Target tokens of each source token, in ascending order.
    targets: Vec<u32>,
    probabilities: Vec<f32>,
}

impl Lexicon {
    /// Learns from pairs of token ids (source, target), over a source vocabulary of this size.
    pub fn train<'a>(
        vocabulary: usize,
        pairs: impl Iterator<Item = (&'a [i64], &'a [i64])> + Clone,
        iterations: usize,
    ) -> Lexicon {
        let mut lexicon = Lexicon::flat(vocabulary, pairs.clone());
        for _ in 0..iterations {
            lexicon.improve(pairs.clone());
        }
        lexicon
    }

    /// The target tokens that a source token says most likely, the likeliest first, of equals the lower id: at most `count`.
    pub fn best(&self, source: i64, count: usize) -> Vec<i64> {
        let Some(&[start, end]) = self.starts.get(source as usize..source as usize + 2) else {
            return Vec::new();
        };
        let mut all: Vec<usize> = (start..end).collect();
        all.sort_by(|&one, &other| self.probabilities[other].total_cmp(&self.probabilities[one]));
        all.into_iter().take(count).map(|place| i64::from(self.targets[place])).collect()
    }

    /// All tokens that stand together, equally likely.
    fn flat<'a>(vocabulary: usize, pairs: impl Iterator<Item = (&'a [i64], &'a [i64])>) -> Lexicon {
        let mut seen: Vec<Vec<u32>> = vec![Vec::new(); vocabulary + 1];
        // How long each list was when it was last brought into order, so that it never grows far beyond what it holds.
        let mut settled = vec![64; vocabulary + 1];
        for (source, target) in pairs {
            for token in sources(source, vocabulary) {
                seen[token].extend(target.iter().map(|&token| token as u32));
                if seen[token].len() > 2 * settled[token] {
                    sort_and_dedup(&mut seen[token]);
                    settled[token] = seen[token].len().max(64);
                }
            }
        }
        seen.iter_mut().for_each(sort_and_dedup);
        let mut starts = vec![0];
        starts.extend(seen.iter().scan(0, |end, list| {
            *end += list.len();
            Some(*end)
        }));
        let share = |list: &Vec<u32>| vec![1.0 / list.len().max(1) as f32; list.len()];
        let probabilities = seen.iter().flat_map(share).collect();
        Lexicon { starts, targets: seen.concat(), probabilities }
    }

    /// One round: how often each token is expected to say each other one, and the shares of that.
    fn improve<'a>(&mut self, pairs: impl Iterator<Item = (&'a [i64], &'a [i64])>) {
        let mut counts = vec![0.0f32; self.targets.len()];
        let vocabulary = self.starts.len() - 2;
        let mut places = Vec::new();
        for (source, target) in pairs {
            for &token in target {
                places.clear();
                places.extend(sources(source, vocabulary).filter_map(|source| self.place(source, token)));
                let sum: f32 = places.iter().map(|&place| self.probabilities[place]).sum();
                places.iter().for_each(|&place| counts[place] += self.probabilities[place] / sum);
            }
        }
        for bounds in self.starts.windows(2) {
            let own = bounds[0]..bounds[1];
            let sum: f64 = counts[own.clone()].iter().copied().map(f64::from).sum();
            for place in own {
                self.probabilities[place] = (f64::from(counts[place]) / sum) as f32;
            }
        }
    }

    fn place(&self, source: usize, target: i64) -> Option<usize> {
        let start = self.starts[source];
        let own = &self.targets[start..self.starts[source + 1]];
        own.binary_search(&(target as u32)).ok().map(|place| start + place)
    }
}

/// The source's tokens, and the one that stands for none.
fn sources(source: &[i64], vocabulary: usize) -> impl Iterator<Item = usize> {
    source.iter().map(|&token| token as usize).chain([vocabulary])
}

fn sort_and_dedup(list: &mut Vec<u32>) {
    list.sort_unstable();
    list.dedup();
    list.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each pair says two things at once; only together do they tell what belongs to what.
    #[test]
    fn what_stands_together_by_chance_is_told_from_what_belongs_together() {
        let pairs: Vec<(Vec<i64>, Vec<i64>)> = vec![
            (vec![0, 1], vec![10, 11]),
            (vec![0, 2], vec![12, 10]),
            (vec![1, 2], vec![11, 12]),
            (vec![0], vec![10]),
        ];
        let lexicon =
            Lexicon::train(4, pairs.iter().map(|(one, other)| (one.as_slice(), other.as_slice())), 20);
        assert_eq!([0, 1, 2].map(|token| lexicon.best(token, 1)), [[10], [11], [12]]);
        let (start, end) = (lexicon.starts[0], lexicon.starts[1]);
        assert_eq!(lexicon.targets[start..end], [10, 11, 12]);
        assert!(lexicon.probabilities[start] > 0.9, "{:?}", &lexicon.probabilities[start..end]);
        let sum: f32 = lexicon.probabilities[start..end].iter().sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        assert_eq!((lexicon.best(0, 9).len(), lexicon.best(3, 9), lexicon.best(77, 9)), (3, vec![], vec![]));
    }

    /// Two pairs, computed by hand: a b -> x y, a -> x. One round from equal shares.
    #[test]
    fn a_round_is_the_formula() {
        let pairs: [(&[i64], &[i64]); 2] = [(&[0, 1], &[5, 6]), (&[0], &[5])];
        let lexicon = Lexicon::train(2, pairs.into_iter(), 1);
        // Of each token of the first pair a, b and none say a third, of the second pair's a and none a half.
        let expected = [5.0 / 7.0, 2.0 / 7.0, 0.5, 0.5, 5.0 / 7.0, 2.0 / 7.0];
        for (found, expected) in lexicon.probabilities.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{:?}", lexicon.probabilities);
        }
        assert_eq!(lexicon.starts, [0, 2, 4, 6]);
    }
}
