//! Translation probabilities of tokens: IBM model 1 (Brown et al. 1993), trained by expectation maximisation.
//!
//! t(f | e) is the probability that a source token e produces the target token f. Each target token of a pair comes
//! from one of the pair's source tokens or from none, all equally likely a priori. Ids only: no tensors and no files.

/// t(f | e) of all tokens that occur together in a pair.
#[derive(Clone, Debug)]
pub(crate) struct Lexicon {
    /// The start of each source token's list; after the last token, that of the empty source.
    starts: Vec<usize>,
    /// Target tokens of each source token, in ascending order.
    targets: Vec<u32>,
    probabilities: Vec<f32>,
}

impl Lexicon {
    /// Trains on pairs of token ids (source, target), with a source vocabulary of this size.
    pub(crate) fn train<'a>(
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

    /// The most likely target tokens of a source token, at most `count`, the most likely first; of equal ones the lower
    /// id.
    pub(crate) fn best(&self, source: i64, count: usize) -> Vec<i64> {
        let Some(&[start, end]) = self.starts.get(source as usize..source as usize + 2) else {
            return Vec::new();
        };
        let mut all: Vec<usize> = (start..end).collect();
        all.sort_by(|&one, &other| self.probabilities[other].total_cmp(&self.probabilities[one]));
        all.into_iter().take(count).map(|place| i64::from(self.targets[place])).collect()
    }

    /// Uniform probabilities of all tokens that occur together.
    fn flat<'a>(vocabulary: usize, pairs: impl Iterator<Item = (&'a [i64], &'a [i64])>) -> Lexicon {
        let mut seen: Vec<Vec<u32>> = vec![Vec::new(); vocabulary + 1];
        // The length of each list when it was last deduplicated, so that it never grows far beyond its distinct tokens.
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

    /// One EM iteration: expected counts, then normalised.
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

/// The source's tokens, and the empty source.
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

    /// Each pair has two tokens per side; only all pairs together tell which belong together.
    #[test]
    fn chance_cooccurrence_is_distinguished_from_translation() {
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

    /// Two pairs, computed by hand: a b -> x y, a -> x. One iteration from uniform probabilities.
    #[test]
    fn an_em_round_follows_the_formula() {
        let pairs: [(&[i64], &[i64]); 2] = [(&[0, 1], &[5, 6]), (&[0], &[5])];
        let lexicon = Lexicon::train(2, pairs.into_iter(), 1);
        // For each target token of the first pair a, b and none count a third, for the second pair's a and none a half.
        let expected = [5.0 / 7.0, 2.0 / 7.0, 0.5, 0.5, 5.0 / 7.0, 2.0 / 7.0];
        for (found, expected) in lexicon.probabilities.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{:?}", lexicon.probabilities);
        }
        assert_eq!(lexicon.starts, [0, 2, 4, 6]);
    }
}
