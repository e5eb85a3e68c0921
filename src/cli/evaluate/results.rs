//! What is reported: values, their intervals, and p of each system against the first one.

use clap::{Args, ValueEnum};

use crate::cli::headings::STATISTICS;
use crate::cli::scored::ScoredOutputs;
use crate::metrics::{
    ErrorRate, MetricKind, approximate_randomization, differing_rows, paired_bootstrap, percentile_interval,
    resampled_values,
};
use crate::runtime::seed_for;

/// Intervals and tests.
#[derive(Args, Debug)]
pub(super) struct StatisticsArgs {
    /// Bootstrap resamples for intervals and for --test bootstrap; 0 for neither
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(0..=1_000_000),
        help_heading = STATISTICS
    )]
    pub resamples: u32,
    /// The share of resamples within an interval
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = share, help_heading = STATISTICS)]
    pub confidence: f64,
    /// The test of whether a system differs from the first one
    #[arg(long, value_enum, default_value = "bootstrap", help_heading = STATISTICS)]
    pub test: SignificanceTest,
    /// Trials of --test randomization
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        help_heading = STATISTICS
    )]
    pub trials: u32,
    /// Do not compare the systems
    #[arg(long, help_heading = STATISTICS)]
    pub no_compare: bool,
    /// Seed of resamples and trials
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = STATISTICS)]
    pub seed: u64,
}

/// A paired test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SignificanceTest {
    /// Paired bootstrap (Koehn 2004), two-sided
    Bootstrap,
    /// Approximate randomization (Riezler and Maxwell 2005), two-sided
    #[value(alias = "randomisation")]
    Randomization,
}

/// A share above 0 and below 1.
fn share(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|share| *share > 0.0 && *share < 1.0);
    number.ok_or_else(|| "it must be above 0 and below 1".to_owned())
}

impl StatisticsArgs {
    /// Whether there is a test that can be made.
    pub(super) fn compares(&self, systems: usize) -> bool {
        let can = self.test == SignificanceTest::Randomization || self.resamples > 0;
        systems > 1 && !self.no_compare && can
    }

    /// The share of resamples within an interval, as percent: 57, where 100 times the share is 56.99999999999999.
    pub(super) fn percent(&self) -> f64 {
        let rounded = (1e12 * self.confidence).round() / 1e10;
        if 0.0 < rounded && rounded < 100.0 { rounded } else { 100.0 * self.confidence }
    }

    /// p as tables show it: `0.0430`, and `< 0.001` where none of 1000 draws differs as much.
    pub(super) fn shown_p(&self, p: f64) -> String {
        let draws = match self.test {
            SignificanceTest::Bootstrap => self.resamples,
            SignificanceTest::Randomization => self.trials,
        };
        let digits = draws.max(1).ilog10();
        // Of a few rows p is no share of the draws, and may lie below the next one.
        if p * (f64::from(draws) + 1.0) > 1.0 + 1e-9 {
            let digits = digits.max(4) as usize;
            return format!("{p:.digits$}");
        }
        // One of so many draws, with two digits, rounded up.
        let parts = 10_u64.pow(digits + 2);
        format!("< {}", parts.div_ceil(u64::from(draws.max(1))) as f64 / parts as f64)
    }
}

/// All that is reported.
pub(super) struct Results {
    /// Rows of each system.
    pub rows: u64,
    /// The metrics.
    pub metrics: Vec<MetricResults>,
    /// The names of the systems; the first one is the baseline.
    pub systems: Vec<String>,
}

/// A metric of all systems.
pub(super) struct MetricResults {
    /// Which metric.
    pub kind: MetricKind,
    /// Its signature, if sacrebleu has it as well.
    pub signature: Option<String>,
    /// The scores, in the order of the systems.
    pub scores: Vec<Score>,
    /// The errors of the systems, in the same order; none for a metric that does not count them by kind.
    pub errors: Vec<ErrorRate>,
    /// What the values are made of, in words: errors with the unit of the reference's length, or BLEU's precisions.
    pub counts: Vec<String>,
}

/// A metric of one system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Score {
    /// Over all rows.
    pub value: f64,
    /// Its interval, if there are resamples.
    pub interval: Option<[f64; 2]>,
    /// Of the difference from the baseline; the baseline has none.
    pub p: Option<f64>,
    /// Whether no system has a better value, where there are several.
    pub best: bool,
}

impl Results {
    /// Computes intervals and p.
    pub(super) fn new(systems: &[ScoredOutputs], args: &StatisticsArgs) -> Results {
        let kinds: Vec<MetricKind> = systems.first().map_or(Vec::new(), |first| first.kinds().collect());
        let metric = |(number, &kind): (usize, &MetricKind)| MetricResults {
            kind,
            signature: systems.first().and_then(|first| first.whole.signature(&kind)),
            scores: scores(systems, number, args),
            errors: systems.iter().filter_map(|system| system.whole.errors().remove(kind.name)).collect(),
            counts: systems.iter().filter_map(|system| system.whole.counts(&kind)).collect(),
        };
        Results {
            rows: systems.first().map_or(0, ScoredOutputs::rows),
            metrics: kinds.iter().enumerate().map(metric).collect(),
            systems: systems.iter().map(|system| system.name.clone()).collect(),
        }
    }
}

/// The scores of all systems by the metric of this number.
fn scores(systems: &[ScoredOutputs], number: usize, args: &StatisticsArgs) -> Vec<Score> {
    let seed = seed_for(args.seed, 0, "bootstrap");
    let rows = systems.iter().map(|system| &system.statistics[number]);
    let resampled: Vec<Vec<f64>> = rows.map(|rows| resampled_values(rows, args.resamples, seed)).collect();
    let values = systems.iter().map(|system| system.whole.values()[number]);
    let costs: Vec<f64> = values.clone().map(|one| one.kind.cost(one.value)).collect();
    let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let score = |(at, value): (usize, f64)| {
        let compares = at > 0 && args.compares(systems.len());
        Score {
            value,
            interval: percentile_interval(&resampled[at], args.confidence),
            p: compares
                .then(|| p([&systems[0], &systems[at]], number, [&resampled[0], &resampled[at]], args)),
            best: systems.len() > 1 && costs[at] <= least,
        }
    };
    values.map(|one| one.value).enumerate().map(score).collect()
}

/// p of two systems by a metric.
fn p(systems: [&ScoredOutputs; 2], number: usize, resampled: [&[f64]; 2], args: &StatisticsArgs) -> f64 {
    let [baseline, system] = systems.map(|system| &system.statistics[number]);
    match args.test {
        SignificanceTest::Bootstrap => {
            let differing = differing_rows(baseline, system);
            paired_bootstrap(resampled, [baseline.value(), system.value()], differing)
        }
        SignificanceTest::Randomization => {
            let seed = seed_for(args.seed, 0, "approximate randomization");
            approximate_randomization(baseline, system, args.trials, seed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(test: SignificanceTest, draws: u32) -> StatisticsArgs {
        let (resamples, trials) = (draws, draws);
        StatisticsArgs { resamples, confidence: 0.95, test, trials, no_compare: false, seed: 1 }
    }

    #[test]
    fn p_is_shown_with_the_smallest_one_that_so_many_draws_can_give() {
        let shown = |draws: u32, count: u32| {
            let p = (f64::from(count) + 1.0) / (f64::from(draws) + 1.0);
            [SignificanceTest::Bootstrap, SignificanceTest::Randomization]
                .map(|test| arguments(test, draws).shown_p(p))
        };
        for (draws, count, expected) in [
            (1000, 0, "< 0.001"),
            (1000, 1, "0.0020"),
            (1000, 42, "0.0430"),
            (1000, 1000, "1.0000"),
            (10_000, 0, "< 0.0001"),
            (10_000, 1, "0.0002"),
            (1_000_000, 0, "< 0.000001"),
            (1_000_000, 2, "0.000003"),
            (300, 0, "< 0.0034"),
            (7, 0, "< 0.15"),
            (1, 0, "< 1"),
            (1, 1, "1.0000"),
        ] {
            assert_eq!(shown(draws, count), [expected; 2], "{count} of {draws}");
        }
        // The lowest p of 14 rows.
        assert_eq!(arguments(SignificanceTest::Bootstrap, 10_000).shown_p(2.0_f64.powi(-13)), "0.0001");
    }

    #[test]
    fn a_confidence_is_shown_in_percent_as_it_was_given() {
        let percent = |confidence| {
            let all = StatisticsArgs { confidence, ..arguments(SignificanceTest::Bootstrap, 1000) };
            all.percent().to_string()
        };
        assert_eq!([0.57, 0.95, 0.999, 0.29, 0.12345].map(percent), ["57", "95", "99.9", "29", "12.345"]);
        assert_eq!(percent(0.999_999_999_999_99), (100.0 * 0.999_999_999_999_99_f64).to_string());
    }
}
