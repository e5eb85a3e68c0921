//! How training reads its pairs, pass by pass: how often those of each file, and in which pieces.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::tokenizer::Tokenizer;
use super::tokenizer::bpe_dropout::BpeDropout;
use super::{DataConfig, PairFile};
use crate::error::{Error, Result};
use crate::runtime::seed_for;

/// What training varies from pass to pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passes {
    /// How often each file is read; `None` if each row is once in a pass.
    pub mixture: Option<Mixture>,
    /// The dropout of both sides.
    pub bpe_dropout: [Option<BpeDropout>; 2],
}

impl Passes {
    /// Those of a config, over as many `rows` of each file.
    ///
    /// # Errors
    /// A pass would have too many pairs.
    pub(crate) fn new(
        config: &DataConfig,
        (source, target): (Option<&Tokenizer>, &Tokenizer),
        rows: &[u64],
    ) -> Result<Passes> {
        let weights: Vec<f64> = config.train.0.iter().map(PairFile::weight).collect();
        let source = source.and_then(|source| source.bpe_dropout(&config.source));
        let bpe_dropout = [source, target.bpe_dropout(&config.target)];
        Ok(Passes { mixture: Mixture::new(rows, &weights, config.temperature)?, bpe_dropout })
    }
}

/// How many rows of each file a pass has. Over all passes each row of a file is read equally often, up to one time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mixture {
    files: Vec<Shares>,
}

/// The rows of a file, which come in the order of the files.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shares {
    rows: u32,
    /// Of them in a pass; more than `rows` if they are repeated.
    of_pass: u32,
}

impl Mixture {
    /// A pass has `weight` times as many pairs of a file as the file; with a temperature T above 1 the same number in all, in
    /// proportion to the T-th roots of these (Arivazhagan et al. 2019). `None` if each row is once in a pass.
    ///
    /// # Errors
    /// There are more pairs than a pass can have.
    pub(crate) fn new(rows: &[u64], weights: &[f64], temperature: f64) -> Result<Option<Mixture>> {
        let weighted: Vec<f64> =
            rows.iter().zip(weights).map(|(&rows, weight)| rows as f64 * weight).collect();
        let (all, powers) =
            (weighted.iter().sum::<f64>(), weighted.iter().map(|one| one.powf(1.0 / temperature)));
        let of_all: f64 = powers.clone().sum();
        if all > f64::from(u32::MAX) {
            let message = format!(
                "an epoch may have at most {} pairs, but by the weights of its files it has {all}",
                u32::MAX
            );
            return Err(Error::input(message).hint("lower their `weight`"));
        }
        let shares = |(&rows, power): (&u64, f64)| Shares {
            rows: rows as u32,
            of_pass: if rows == 0 { 0 } else { (all * power / of_all).round().max(1.0) as u32 },
        };
        let files: Vec<Shares> = rows.iter().zip(powers).map(shares).collect();
        Ok(files.iter().any(|file| file.rows != file.of_pass).then_some(Mixture { files }))
    }

    /// The rows of a pass, in no order of interest.
    pub(crate) fn rows(&self, seed: u64, pass: u64) -> Vec<u32> {
        let mut drawn = Vec::with_capacity(self.files.iter().map(|file| file.of_pass as usize).sum());
        let mut first = 0;
        for (number, file) in self.files.iter().enumerate() {
            let (rows, of_pass) = (u64::from(file.rows), u64::from(file.of_pass));
            // The file's rows, again and again, each time in another order: a pass has the next ones of these.
            let (mut at, end) = (pass * of_pass, (pass + 1) * of_pass);
            while at < end {
                let (round, from) = (at / rows, at % rows);
                let until = rows.min(from + end - at);
                let mut order: Vec<u32> = (first..first + file.rows).collect();
                if until - from < rows {
                    let purpose = format!("rows of file {number}");
                    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed_for(seed, round, &purpose)));
                }
                drawn.extend_from_slice(&order[from as usize..until as usize]);
                at += until - from;
            }
            first += file.rows;
        }
        drawn
    }

    /// For each file the rows that it has, and those of a pass.
    pub(crate) fn of_files(&self) -> impl Iterator<Item = (u32, u32)> {
        self.files.iter().map(|file| (file.rows, file.of_pass))
    }

    /// It in short: two with the same text read the same rows.
    pub(crate) fn name(&self) -> String {
        self.files.iter().map(|file| file.of_pass.to_string()).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixture(rows: &[u64], weights: &[f64], temperature: f64) -> Vec<u32> {
        let mixture = Mixture::new(rows, weights, temperature).unwrap().unwrap();
        mixture.of_files().map(|(_, of_pass)| of_pass).collect()
    }

    #[test]
    fn weights_multiply_and_a_temperature_evens_out() {
        assert_eq!(Mixture::new(&[100, 7], &[1.0, 1.0], 1.0).unwrap(), None);
        assert_eq!(mixture(&[100, 10], &[0.5, 3.0], 1.0), [50, 30]);
        // Roots of 10,000 and 100: 100 and 10.
        assert_eq!(mixture(&[10_000, 100], &[1.0, 1.0], 2.0), [9182, 918]);
        let [large, small] = mixture(&[10_000, 100], &[1.0, 1.0], 1e9)[..] else { panic!("two files") };
        assert_eq!([large, small], [5050, 5050]);
        assert_eq!(mixture(&[100, 0, 10], &[1.0, 1.0, 1e-3], 1.0), [100, 0, 1]);
        let error = Mixture::new(&[5_000_000], &[1e6], 1.0).unwrap_err().to_string();
        assert!(error.contains("lower their `weight`"), "{error}");
    }

    #[test]
    fn every_row_of_a_file_is_read_equally_often() {
        let mixture = Mixture::new(&[10, 4, 7], &[0.3, 2.5, 1.0], 1.0).unwrap().unwrap();
        let mut counts = [0; 21];
        for pass in 0..10 {
            let rows = mixture.rows(5, pass);
            assert_eq!(rows.len(), 3 + 10 + 7);
            assert_eq!(rows, mixture.rows(5, pass));
            rows.iter().for_each(|&row| counts[row as usize] += 1);
        }
        assert_eq!(counts[..10], [3; 10]);
        assert_eq!(counts[10..14], [25; 4]);
        assert_eq!(counts[14..], [10; 7]);
        assert_ne!(mixture.rows(5, 0)[..3], mixture.rows(5, 3)[..3]);
    }
}
