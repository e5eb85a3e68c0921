//! The axis of a plot: its range, the position of each value, and round ticks with labels.

/// The range of an axis, linear or logarithmic.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    log: bool,
    /// The marked values, in ascending order.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// From exactly `low` to exactly `high`, with about `most` ticks.
    pub(crate) fn exact(low: f64, high: f64, most: usize) -> Axis {
        Axis { low, high, log: false, ticks: round_ticks(low, high, most) }
    }

    /// From 0 to a tick at or above the largest value.
    pub(crate) fn from_zero(values: &[f64], most: usize) -> Axis {
        let largest = values.iter().copied().fold(0.0, f64::max);
        // Values near 0 count as 0: their ticks would be indistinguishable.
        let largest = if largest > 1e-300 { largest } else { 1.0 };
        let step = round_step(largest, most);
        let high = step * (largest / step - 1e-9).ceil();
        Axis::exact(0.0, high.min(f64::MAX), most)
    }

    /// A logarithmic axis. Only values above 0, and not too near to it, have a position.
    pub(crate) fn log(values: &[f64], most: usize) -> Axis {
        let positive = || values.iter().copied().filter(|&value| value >= f64::MIN_POSITIVE);
        let low = positive().fold(f64::INFINITY, f64::min);
        let (low, high) = if low.is_finite() { (low, positive().fold(low, f64::max)) } else { (0.1, 10.0) };
        // Some margin above and below, and enough of it around a single value.
        let air = (0.04 * (high / low).ln()).max(0.05).exp();
        let (low, high) = ((low / air).max(f64::MIN_POSITIVE), (high * air).min(f64::MAX));
        Axis { low, high, log: true, ticks: log_ticks(low, high, most) }
    }

    /// The position of a value: 0 at the lower end, 1 at the upper end.
    pub(crate) fn place(&self, value: f64) -> f64 {
        if self.log {
            (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// Whether this value has a position.
    pub(crate) fn takes(&self, value: f64) -> bool {
        value.is_finite() && (!self.log || value >= f64::MIN_POSITIVE)
    }

    /// The label of a tick. All labels of a linear axis have the same number of decimals.
    pub(crate) fn label(&self, tick: f64) -> String {
        let size = if self.log { tick } else { self.high };
        if tick != 0.0 && !(0.01..1e7).contains(&size) { format!("{tick:e}") } else { with_commas(tick) }
    }
}

/// A number off the axis, with four digits.
pub(crate) fn four_digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let exponent = value.abs().log10().floor();
    if !(-3.0..7.0).contains(&exponent) {
        return format!("{value:.3e}");
    }
    format!("{value:.*}", (3.0 - exponent).max(0.0) as usize)
}

/// 1, 2 or 5 times a power of ten, so that at most `most` steps fit into `length`.
fn round_step(length: f64, most: usize) -> f64 {
    let least = length / most as f64;
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// The multiples of a round step from `low` to `high`.
fn round_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let step = round_step(high - low, most);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|n| clean(n as f64 * step)).collect()
}

/// Powers of ten, and multiples of them if the ticks stay far enough apart; on a short axis, round steps.
fn log_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    // Smallest distance between ticks, in decades.
    let apart = 0.6 * (high.log10() - low.log10()) / most as f64;
    let least_ratio = 10f64.powf(apart);
    let decades = |stride, factors: &[f64]| -> Vec<f64> {
        let powers = (first..=last).step_by(stride).map(|power| 10f64.powi(power));
        let ticks = powers.flat_map(|power| factors.iter().map(move |factor| clean(factor * power)));
        ticks.filter(|tick| (low..=high).contains(tick)).collect()
    };
    let choices = [
        round_ticks(low, high, most),
        decades(apart.ceil() as usize, &[1.0]),
        decades(1, &[1.0, 3.0]),
        decades(1, &[1.0, 2.0, 5.0]),
        decades(1, &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0]),
    ];
    // Of two sets of the same size the latter: its ticks are rounder on this scale.
    let readable =
        choices.into_iter().filter(|ticks| ticks.windows(2).all(|two| two[1] >= two[0] * least_ratio));
    readable.max_by_key(Vec::len).unwrap_or_default()
}

/// 0.3 for 0.30000000000000004.
fn clean(value: f64) -> f64 {
    format!("{value:.9e}").parse().unwrap_or(value)
}

/// 12,000 for 12000; no commas after the decimal point.
pub(crate) fn with_commas(value: f64) -> String {
    let text = value.to_string();
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|&tick| axis.label(tick)).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(
            labels(&Axis::exact(0.0, 13_500.0, 8)),
            ["0", "2,000", "4,000", "6,000", "8,000", "10,000", "12,000"]
        );
        assert_eq!(labels(&Axis::exact(0.0, 1.0, 5)), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(
            labels(&Axis::exact(0.0, 2_000_000.0, 4)),
            ["0", "500,000", "1,000,000", "1,500,000", "2,000,000"]
        );
    }

    #[test]
    fn an_axis_from_zero_ends_at_a_tick_above_all_values() {
        assert_eq!(
            labels(&Axis::from_zero(&[3e-4, 9.7e-4], 5)),
            ["0", "2e-4", "4e-4", "6e-4", "8e-4", "1e-3"]
        );
        assert_eq!(labels(&Axis::from_zero(&[0.02], 5)), ["0", "0.005", "0.01", "0.015", "0.02"]);
        assert_eq!(labels(&Axis::from_zero(&[], 2)), ["0", "0.5", "1"]);
    }

    #[test]
    fn a_log_axis_has_powers_of_ten_and_as_many_ticks_between_as_fit() {
        let read = |low, high, most| labels(&Axis::log(&[low, high], most)).join(" ");
        assert_eq!(read(1e-7, 5.0, 4), "1e-6 1e-4 0.01 1");
        assert_eq!(read(2e-4, 5.0, 4), "1e-3 0.01 0.1 1");
        assert_eq!(read(2e-4, 5.0, 8), "3e-4 1e-3 3e-3 0.01 0.03 0.1 0.3 1 3");
        assert_eq!(read(0.05, 5.0, 7), "0.05 0.1 0.2 0.5 1 2 5");
        assert_eq!(read(1.4, 8.0, 7), "1.5 2 3 5 7");
        assert_eq!(read(1.31, 1.52, 5), "1.3 1.4 1.5");
    }

    #[test]
    fn an_axis_of_any_values_has_a_position_for_each_accepted_one() {
        for values in [
            &[][..],
            &[0.0],
            &[1.0],
            &[-1.0, 0.0],
            &[f64::MIN_POSITIVE, f64::MAX],
            &[5e-324, 1e-9],
            &[f64::MAX],
        ] {
            for axis in [Axis::log(values, 5), Axis::from_zero(values, 5)] {
                assert!(axis.ticks.len() <= 20, "{values:?}: {axis:?}");
                assert!(
                    axis.ticks.iter().all(|&tick| (-1e-6..=1.000001).contains(&axis.place(tick))),
                    "{axis:?}"
                );
                assert!(
                    values.iter().filter(|&&v| axis.takes(v)).all(|&v| axis.place(v).is_finite()),
                    "{axis:?}"
                );
            }
        }
    }

    #[test]
    fn a_lone_number_has_four_digits() {
        let written = [0.0, 0.012346, 1.5, 98.76543, 12345.6, 1e-7].map(four_digits);
        assert_eq!(written, ["0", "0.01235", "1.500", "98.77", "12346", "1.000e-7"]);
    }
}
