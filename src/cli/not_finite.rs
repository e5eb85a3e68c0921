//! Finds the rows whose scores are not finite when a whole batch fails because of one.

use crate::error::{Kind, Result};

/// Runs `work` on all items; if scores are not finite, finds the items at fault by halving, since rows are independent.
///
/// # Errors
/// Any other error.
pub(crate) fn each_or_error<I, T>(
    items: &[I],
    work: &impl Fn(&[I]) -> Result<Vec<T>>,
) -> Result<Vec<Result<T>>> {
    match work(items) {
        Ok(done) => Ok(done.into_iter().map(Ok).collect()),
        Err(error) if error.kind() != Kind::NotFinite => Err(error),
        Err(error) if items.len() <= 1 => Ok(items
            .iter()
            .map(|_| Err(error.clone().hint("look for weights that are NaN or infinite")))
            .collect()),
        Err(_) => {
            let (one, other) = items.split_at(items.len() / 2);
            let mut done = each_or_error(one, work)?;
            done.extend(each_or_error(other, work)?);
            Ok(done)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoding::incremental_decoder::scores_not_finite;
    use crate::error::Error;

    #[test]
    fn a_row_without_finite_scores_affects_no_other_row() {
        let work = |some: &[i32]| match some.iter().any(|&n| n == 3 || n == 6) {
            true => Err(scores_not_finite()),
            false => Ok(some.iter().map(|n| n * 10).collect()),
        };
        let found = each_or_error(&[1, 2, 3, 4, 5, 6, 7], &work).unwrap();
        let found: Vec<Option<i32>> = found.into_iter().map(Result::ok).collect();
        assert_eq!(found, [Some(10), Some(20), None, Some(40), Some(50), None, Some(70)]);
        let broken = |_: &[i32]| -> Result<Vec<i32>> { Err(Error::failure("the disk is full")) };
        assert!(each_or_error(&[1, 2], &broken).is_err());
    }
}
