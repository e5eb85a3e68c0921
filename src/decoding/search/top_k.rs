//! The best few continuations of a few rows: the hot loop of every search.
//!
//! A row is scanned in blocks. The maximum of a block is compared with the worst continuation kept so far, and nearly
//! all blocks are skipped at once, in a loop that compilers vectorise.

/// Scores per block.
const BLOCK: usize = 128;
/// Maxima kept in parallel within a block.
const LANES: usize = 16;

/// One more token for one of the rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// The number of the row.
    pub parent: usize,
    /// The token.
    pub token: i64,
    /// The criterion: the row's sum so far plus the token's score.
    pub total: f64,
}

/// The best `count` candidates of the rows seen since [`TopK::begin`], the best first; of equals the lower parent comes
/// first, then the lower token.
#[derive(Debug, Default)]
pub(crate) struct TopK {
    list: Vec<Candidate>,
    count: usize,
}

impl TopK {
    /// Resets, with room for `count` candidates.
    pub(crate) fn begin(&mut self, count: usize) {
        self.list.clear();
        self.count = count;
    }

    /// Adds the candidates of a row; `sum` is added to all its scores, and scores of minus infinity or NaN are skipped.
    /// Returns the row's largest score.
    pub(crate) fn scan(&mut self, parent: usize, sum: f64, row: &[f32]) -> f32 {
        let (mut least, mut largest) = (self.threshold(), f32::NEG_INFINITY);
        for (n, block) in row.chunks(BLOCK).enumerate() {
            let top = maximum(block);
            largest = larger(largest, top);
            if sum + f64::from(top) > least {
                for (token, &score) in (n * BLOCK..).zip(block) {
                    let total = sum + f64::from(score);
                    if total > least {
                        self.push(Candidate { parent, token: token as i64, total });
                        least = self.threshold();
                    }
                }
            }
        }
        largest
    }

    /// Adds a candidate; NaN and minus infinity are ignored.
    pub(crate) fn offer(&mut self, candidate: Candidate) {
        if candidate.total > self.threshold() {
            self.push(candidate);
        }
    }

    /// Inserts a candidate, after equal ones.
    pub(crate) fn push(&mut self, candidate: Candidate) {
        if self.list.len() == self.count {
            self.list.pop();
        }
        let place = self.list.partition_point(|other| other.total >= candidate.total);
        self.list.insert(place, candidate);
    }

    /// The candidates, the best first.
    pub(crate) fn candidates(&self) -> &[Candidate] {
        &self.list
    }

    /// The total that a candidate must exceed.
    fn threshold(&self) -> f64 {
        match self.list.last() {
            Some(worst) if self.list.len() == self.count => worst.total,
            _ => f64::NEG_INFINITY,
        }
    }
}

/// The largest number; minus infinity if there is none.
pub(crate) fn maximum(numbers: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, x);
        }
    }
    // A tree reduction vectorises; a sequential one would be a chain of dependencies.
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] = larger(lanes[lane], lanes[lane + half]);
        }
    }
    rest.iter().copied().fold(lanes[0], larger)
}

/// One machine instruction, unlike `f32::max`; NaN is ignored.
fn larger(most: f32, x: f32) -> f32 {
    if x > most { x } else { most }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(count: usize, rows: &[(f64, &[f32])]) -> Vec<(usize, i64)> {
        let mut best = TopK::default();
        best.begin(count);
        for (parent, (sum, row)) in rows.iter().enumerate() {
            assert_eq!(best.scan(parent, *sum, row), row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
        best.candidates().iter().map(|one| (one.parent, one.token)).collect()
    }

    #[test]
    fn ties_are_broken_by_the_lower_parent_and_then_by_the_lower_token() {
        let rows: [(f64, &[f32]); 2] = [(-1.0, &[-9.0, -2.0, -1.0, -1.0]), (-1.0, &[-1.0, -9.0, -1.0, -0.5])];
        assert_eq!(scanned(4, &rows), [(1, 3), (0, 2), (0, 3), (1, 0)]);
        assert_eq!(scanned(1, &rows[..1]), [(0, 2)]);
    }

    #[test]
    fn top_k_equals_sorting() {
        let noise = |n: usize| ((n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / 1e4;
        for (vocabulary, count) in [(5, 2), (63, 10), (64, 1), (65, 7), (1000, 10), (1000, 1)] {
            // Rounded, so that there are ties.
            let rows: Vec<Vec<f32>> = (0..3)
                .map(|row| (0..vocabulary).map(|v| -noise(row * vocabulary + v).round() / 8.0).collect())
                .collect();
            let sums = [-1.0, -1.125, -20.0];
            let mut all: Vec<Candidate> = (0..3)
                .flat_map(|parent| {
                    let of = move |(token, &score): (usize, &f32)| Candidate {
                        parent,
                        token: token as i64,
                        total: sums[parent] + f64::from(score),
                    };
                    rows[parent].iter().enumerate().map(of)
                })
                .collect();
            all.sort_by(|one, other| other.total.total_cmp(&one.total));
            let expected: Vec<_> = all[..count].iter().map(|one| (one.parent, one.token)).collect();
            let rows: Vec<(f64, &[f32])> = sums.into_iter().zip(rows.iter().map(Vec::as_slice)).collect();
            assert_eq!(scanned(count, &rows), expected, "{count} of {vocabulary}");
        }
    }

    #[test]
    fn nan_and_minus_infinity_are_no_candidates() {
        let row = [f32::NAN, -1.0, f32::NEG_INFINITY, -2.0];
        assert_eq!(scanned(4, &[(0.0, &row)]), [(0, 1), (0, 3)]);
        assert_eq!(maximum(&[f32::NAN; 70]), f32::NEG_INFINITY);
        assert_eq!(maximum(&[]), f32::NEG_INFINITY);
    }
}
