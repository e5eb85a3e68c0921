//! Ensembles: which models of a system decode together.

use super::plan::Plan;
use crate::checkpoint::run::RunDirectory;
use crate::error::Result;
use crate::experiment::best_cost;

/// The runs of a system whose models decode together, in the order of their seeds: all, or those with the best validations
/// by `training.best_by`. All of them must be trained.
///
/// # Errors
/// The state of a run cannot be read.
pub(super) fn members(plan: &Plan, system: usize) -> Result<Vec<usize>> {
    let models = plan.ensemble.unwrap_or(plan.seeds.len());
    let runs: Vec<usize> = (0..plan.seeds.len()).map(|seed| plan.run_of(system, seed)).collect();
    // The scores of all are not needed then.
    if models == runs.len() {
        return Ok(runs);
    }
    let cost = |run: &usize| best_cost(&RunDirectory::at(&plan.folder(*run)));
    // A run without a score comes last.
    let costs = runs.iter().map(|run| Ok(cost(run)?.unwrap_or(f64::INFINITY)));
    let costs = costs.collect::<Result<Vec<f64>>>()?;
    Ok(lowest(&costs, models).into_iter().map(|place| runs[place]).collect())
}

/// The places of so many of the lowest costs, in their order; of equal costs the first.
fn lowest(costs: &[f64], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..costs.len()).collect();
    // The sort is stable.
    places.sort_by(|one, other| costs[*one].total_cmp(&costs[*other]));
    places.truncate(count);
    places.sort_unstable();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_costs_are_taken_and_of_equal_ones_the_first() {
        assert_eq!(lowest(&[0.5, 0.1, 0.5, 0.3], 2), [1, 3]);
        assert_eq!(lowest(&[0.5, 0.1, 0.5, 0.5], 3), [0, 1, 2]);
        assert_eq!(lowest(&[f64::INFINITY, -0.9, f64::MAX], 2), [1, 2]);
        assert_eq!(lowest(&[-0.2, -0.2], 2), [0, 1]);
    }
}
