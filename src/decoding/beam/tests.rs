//! A scripted model in place of weights: every output of a small language can be counted, and every score said.

use super::super::config::LengthPenalty;
use super::super::greedy::greedy;
use super::super::search::Scores;
use super::*;

/// Log-probabilities of what follows the source's first token and what was said so far. The state is these.
struct Scripted(fn(&[i64]) -> Vec<f32>);

impl Stepper for Scripted {
    type State = Vec<Vec<i64>>;

    fn start(&self, source: &Source) -> Result<Self::State> {
        Ok((0..source.rows() as i64).map(|row| vec![source.tokens.int64_value(&[row, 0])]).collect())
    }

    fn step(&self, tokens: &[i64], mut state: Self::State) -> Result<(Scores, Self::State)> {
        assert_eq!(tokens.len(), state.len());
        for (row, &token) in state.iter_mut().zip(tokens) {
            row.extend((token != BOS).then_some(token));
        }
        let rows: Vec<Vec<f32>> = state.iter().map(|row| (self.0)(row)).collect();
        Ok((Scores { vocabulary: rows[0].len(), log_p: rows.concat() }, state))
    }

    fn reorder(&self, rows: &[i64], state: Self::State) -> Result<Self::State> {
        Ok(rows.iter().map(|&row| state[row as usize].clone()).collect())
    }
}

/// A language of six tokens, whose probabilities look random. PAD and BOS are as likely as the others.
fn random_looking(said: &[i64]) -> Vec<f32> {
    let mixed = |state: u64, token: i64| {
        let state = (state ^ token as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        state ^ (state >> 29)
    };
    let state = said.iter().fold(1, |state, &token| mixed(state, token));
    let weights: Vec<f32> = (0..6).map(|v| (mixed(mixed(state, v), 9) % 4001) as f32 / 1000.0).collect();
    let sum: f32 = weights.iter().map(|weight| weight.exp()).sum();
    weights.iter().map(|weight| weight - sum.ln()).collect()
}

/// All outputs that end before the limit.
fn all_outputs(so_far: &Hypothesis, source: i64, limit: usize, found: &mut Vec<Hypothesis>) {
    if so_far.tokens.len() == limit {
        return;
    }
    let log_p = random_looking(&[&[source], so_far.tokens.as_slice()].concat());
    for token in [1, EOS, 4, 5] {
        let mut next = so_far.clone();
        next.score += f64::from(log_p[token as usize]);
        if token == EOS {
            found.push(Hypothesis { finished: true, ..next });
        } else {
            next.tokens.push(token);
            all_outputs(&next, source, limit, found);
        }
    }
}

const PENALTIES: [Penalty; 5] = [
    Penalty { kind: LengthPenalty::None, alpha: 1.0 },
    Penalty { kind: LengthPenalty::Length, alpha: 1.0 },
    Penalty { kind: LengthPenalty::Length, alpha: 0.5 },
    Penalty { kind: LengthPenalty::Gnmt, alpha: 1.0 },
    Penalty { kind: LengthPenalty::Gnmt, alpha: 2.0 },
];

fn search(script: fn(&[i64]) -> Vec<f32>, limits: &[usize], width: usize) -> Vec<Hypothesis> {
    let sources: Vec<[i64; 1]> = (4..4 + limits.len() as i64).map(|token| [token]).collect();
    let rows: Vec<&[i64]> = sources.iter().map(|row| row.as_slice()).collect();
    beam_search(&Scripted(script), &Source::new(&rows), limits, width, PENALTIES[1]).unwrap()
}

#[test]
fn a_beam_that_is_wide_enough_finds_the_best_of_all_outputs() {
    let nothing = Hypothesis { tokens: Vec::new(), score: 0.0, finished: false };
    for source in 4..40 {
        let mut all = Vec::new();
        all_outputs(&nothing, source, 5, &mut all);
        assert_eq!(all.len(), 1 + 3 + 9 + 27 + 81);
        for penalty in PENALTIES {
            let of = |one: &Hypothesis| penalty.normalised(one.score, one.tokens.len() + 1);
            let best = all.iter().max_by(|one, other| of(one).total_cmp(&of(other))).unwrap();
            let batch = Source::new(&[&[source]]);
            let found = beam_search(&Scripted(random_looking), &batch, &[5], 200, penalty).unwrap();
            assert_eq!(&found[0], best, "source {source}, {penalty:?}");
        }
    }
}

#[test]
fn a_beam_of_one_is_greedy_search() {
    let sources: Vec<[i64; 1]> = (4..60).map(|token| [token]).collect();
    let batch = Source::new(&sources.iter().map(|row| row.as_slice()).collect::<Vec<_>>());
    let limits: Vec<usize> = (0..56).map(|n| 1 + n % 9).collect();
    let expected = greedy(&Scripted(random_looking), &batch, &limits).unwrap();
    assert!(expected.iter().any(|row| row.finished) && expected.iter().any(|row| !row.finished));
    for penalty in PENALTIES {
        let found = beam_search(&Scripted(random_looking), &batch, &limits, 1, penalty).unwrap();
        assert_eq!(found, expected, "{penalty:?}");
    }
}

#[test]
fn a_source_finds_the_same_whatever_else_is_in_its_batch() {
    let sources: Vec<[i64; 1]> = (4..60).map(|token| [token]).collect();
    let limits: Vec<usize> = (0..56).map(|n| 1 + n * 5 % 12).collect();
    let decode = |rows: &[usize]| {
        let batch: Vec<&[i64]> = rows.iter().map(|&row| sources[row].as_slice()).collect();
        let limits: Vec<usize> = rows.iter().map(|&row| limits[row]).collect();
        let stepper = Scripted(random_looking);
        beam_search(&stepper, &Source::new(&batch), &limits, 3, PENALTIES[1]).unwrap()
    };
    let all: Vec<usize> = (0..56).collect();
    let together = decode(&all);
    let apart: Vec<Hypothesis> = all.chunks(1).flat_map(&decode).collect();
    let backwards: Vec<usize> = all.iter().rev().copied().collect();
    assert_eq!(together, apart);
    assert_eq!(together, decode(&backwards).into_iter().rev().collect::<Vec<_>>());
}

/// 4 looks better than 5, and leads to worse.
fn garden_path(said: &[i64]) -> Vec<f32> {
    let p: [f32; 6] = match said[1..] {
        [] => [0.0, 0.0, 0.0, 0.01, 0.59, 0.4],
        [4] => [0.0, 0.0, 0.0, 0.4, 0.3, 0.3],
        _ => [0.0, 0.0, 0.0, 0.98, 0.01, 0.01],
    };
    p.map(f32::ln).to_vec()
}

#[test]
fn a_beam_of_two_finds_what_greedy_search_misses() {
    assert_eq!(search(garden_path, &[5], 1)[0].tokens, [4]);
    let found = search(garden_path, &[5], 2);
    assert_eq!((found[0].tokens.as_slice(), found[0].finished), ([5].as_slice(), true));
    assert!((found[0].score - (0.4f64 * 0.98).ln()).abs() < 1e-6);
}

#[test]
fn an_output_at_its_limit_is_not_passed_off_as_finished() {
    // A source of 4 wants to say 5 for ever, one of 5 may end at once.
    let endless = |said: &[i64]| match said[0] {
        4 => vec![-9.0, -9.0, -9.0, -8.0, -2.0, -0.2],
        _ => vec![-9.0, -9.0, -9.0, -0.5, -2.0, -1.5],
    };
    let found = search(endless, &[3, 3], 2);
    assert_eq!((found[0].tokens.as_slice(), found[0].finished), ([5, 5, 5].as_slice(), false));
    assert!((found[0].score + 0.6).abs() < 1e-6);
    assert_eq!((found[1].tokens.as_slice(), found[1].finished), ([].as_slice(), true));
}

#[test]
fn a_source_is_done_when_no_live_hypothesis_can_win_any_more() {
    let sure = |said: &[i64]| {
        assert_eq!(said.len(), 1, "a second step");
        vec![-9.0, -9.0, -9.0, -0.1, -4.0, -5.0]
    };
    // Eight tokens for -4.0 would be -0.5 each, and one for -0.1 is there.
    assert!(search(sure, &[8], 3)[0].finished);
}

#[test]
fn of_equals_the_better_hypothesis_comes_first_and_then_the_lower_token() {
    let live = [0, 1].map(|row| Live { row, tokens: vec![4], score: -1.0 });
    let rows: [&[f32]; 2] = [&[0.0, -2.0, 0.0, -1.0, -1.0], &[0.0, -1.0, 0.0, -1.0, -0.5]];
    let best = best_continuations(&live, &rows, 4).unwrap();
    let found: Vec<(usize, i64)> = best.iter().map(|one| (one.parent, one.token)).collect();
    assert_eq!(found, [(1, 4), (0, 3), (0, 4), (1, 1)]);
}

#[test]
fn scores_that_are_no_numbers_are_an_error_and_impossible_tokens_are_none() {
    let source = Source::new(&[&[4]]);
    let failed = beam_search(&Scripted(|_| vec![f32::NAN; 6]), &source, &[3], 2, PENALTIES[1]);
    assert_eq!(failed.unwrap_err().message(), "the model's scores are not finite numbers");
    // Only EOS is possible, so that the beam is never full.
    let only_eos = |_: &[i64]| vec![0.0, f32::NEG_INFINITY, 0.0, -0.1, f32::NEG_INFINITY];
    let found = search(only_eos, &[3], 4);
    assert_eq!((found[0].tokens.as_slice(), found[0].finished), ([].as_slice(), true));
}
