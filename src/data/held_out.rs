//! Validation pairs that are a share of the training pairs: `valid = { share = 0.05 }`.
//!
//! Pairs with the same source stay together, so that no source of the validation is trained on. Which sources are held out
//! follows from the sources alone: neither from the order of the rows nor from the seed of a run.

use super::DataConfig;
use super::readers::Pair;
use super::selection::each_used;
use super::text_form::TextForm;
use crate::error::{Error, Result};
use crate::runtime::seed_for;

/// Which pairs are held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldOut {
    /// Those with a hash up to this.
    last: u64,
}

impl HeldOut {
    /// Chooses a share by the hashes of all pairs, as close to it as whole sources allow.
    ///
    /// # Errors
    /// All pairs have the same source.
    pub(crate) fn choose(share: f64, mut hashes: Vec<u64>) -> Result<HeldOut> {
        hashes.sort_unstable();
        let wanted = ((share * hashes.len() as f64).round() as usize).max(1);
        let last = hashes.get(wanted - 1).copied().unwrap_or_default();
        let [below, with] =
            [hashes.partition_point(|hash| *hash < last), hashes.partition_point(|hash| *hash <= last)];
        let too_many = with == hashes.len() || with - wanted > wanted - below;
        match (too_many && below > 0, with < hashes.len()) {
            (true, _) => Ok(HeldOut { last: hashes[below - 1] }),
            (false, true) => Ok(HeldOut { last }),
            (false, false) => {
                let message = "training pairs must have at least two different sources to hold out a share, but they have one";
                Err(Error::input(message).hint("name a file of validation pairs: `data.valid`"))
            }
        }
    }

    /// A share of the training pairs of a config, of those that its policies use.
    ///
    /// # Errors
    /// Those of reading; those of [`HeldOut::choose`].
    pub(crate) fn of_training(share: f64, config: &DataConfig) -> Result<HeldOut> {
        let mut hashes = Vec::new();
        each_used(&config.train, config, &mut |pair| {
            hashes.push(source_hash(config, &pair));
            Ok(())
        })?;
        HeldOut::choose(share, hashes)
    }

    /// That of a saved number.
    pub(crate) fn saved(last: u64) -> HeldOut {
        HeldOut { last }
    }

    /// Its number.
    pub(crate) fn last(self) -> u64 {
        self.last
    }

    /// Whether a pair is held out, by its hash.
    pub(crate) fn has(self, hash: u64) -> bool {
        hash <= self.last
    }
}

/// Takes a share of pairs out; both parts keep their order.
///
/// # Errors
/// Those of [`HeldOut::choose`].
pub(crate) fn hold_out(pairs: &mut Vec<Pair>, share: f64, config: &DataConfig) -> Result<Vec<Pair>> {
    let hashes: Vec<u64> = pairs.iter().map(|pair| source_hash(config, pair)).collect();
    let held_out = HeldOut::choose(share, hashes.clone())?;
    let mut hashes = hashes.into_iter();
    let is_held_out = |_: &mut Pair| hashes.next().is_some_and(|hash| held_out.has(hash));
    Ok(pairs.extract_if(.., is_held_out).collect())
}

/// The hash by which a pair is held out: that of its source in its text form.
pub(crate) fn source_hash(config: &DataConfig, pair: &Pair) -> u64 {
    seed_for(0, 0, &TextForm::of(&config.source).apply(&pair.source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_out(share: f64, hashes: &[u64]) -> usize {
        let held_out = HeldOut::choose(share, hashes.to_vec()).unwrap();
        hashes.iter().filter(|hash| held_out.has(**hash)).count()
    }

    #[test]
    fn a_share_of_the_pairs_is_held_out_and_one_at_least() {
        let hashes: Vec<u64> = (0..1000).map(|n| seed_for(0, 0, &n.to_string())).collect();
        assert_eq!([0.05, 0.5, 0.999].map(|share| held_out(share, &hashes)), [50, 500, 999]);
        assert_eq!(held_out(1e-9, &hashes), 1);
        assert_eq!(held_out(0.999, &hashes[..2]), 1, "a training pair is left");
    }

    #[test]
    fn pairs_with_the_same_source_stay_together() {
        // 2 pairs are wanted: of sources of 1, 5 and 4 pairs 1 is closer than 6.
        assert_eq!(held_out(0.2, &[1, 2, 2, 2, 2, 2, 3, 3, 3, 3]), 1);
        assert_eq!(held_out(0.5, &[1, 2, 2, 2, 2, 2, 3, 3, 3, 3]), 6);
        assert_eq!(held_out(0.5, &[1, 2, 2, 2, 2, 2, 2]), 1);
        assert!(HeldOut::choose(0.5, vec![7; 10]).unwrap_err().to_string().contains("two different sources"));
    }
}
