//! CTC against sums and maxima over all alignments of small cases. tests/ctc.rs compares with PyTorch.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alignment::{Alignment, align};
use super::joint::{JointParent, JointScan};
use super::log_probs::CtcLogProbs;
use super::prefix_beam::{best_path, prefix_beam_search};
use super::prefix_score::CtcPrefix;
use super::{combined, log_add, log_sum};
use crate::data::source::required_frames;
use crate::data::vocabulary::EOS;
use crate::decoding::search::top_k::{Candidate, TopK};

const NEVER: f64 = f64::NEG_INFINITY;

/// A number from 0 to 1 that looks random.
fn noise(seed: u64) -> f64 {
    let mixed = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((mixed ^ (mixed >> 27)) >> 40) as f64 / (1u64 << 24) as f64
}

/// A head that looks random, more or less sure of itself.
fn random(seed: u64, frames: usize, symbols: usize, blank: i64) -> Arc<CtcLogProbs> {
    let sharpness = 1.0 + 8.0 * noise(seed);
    let mut data = Vec::new();
    for frame in 0..frames {
        let logit = |symbol| sharpness * noise(1000 * seed + (frame * symbols + symbol) as u64);
        let logits: Vec<f64> = (0..symbols).map(logit).collect();
        let sum = log_sum(logits.iter().copied());
        data.extend(logits.iter().map(|logit| (logit - sum) as f32));
    }
    Arc::new(CtcLogProbs::new(data, symbols, blank).unwrap())
}

/// Small heads of all sizes, the blank being the first, the last or another symbol.
fn cases() -> impl Iterator<Item = Arc<CtcLogProbs>> {
    (0..60).map(|seed| {
        let (frames, symbols) = ((seed % 7) as usize, 2 + (seed / 7 % 3) as usize);
        random(seed, frames, symbols, seed as i64 % symbols as i64)
    })
}

fn of_probabilities(frames: &[&[f32]], blank: i64) -> Arc<CtcLogProbs> {
    let data = frames.concat().into_iter().map(f32::ln).collect();
    Arc::new(CtcLogProbs::new(data, frames[0].len(), blank).unwrap())
}

fn tokens_of(head: &CtcLogProbs) -> Vec<i64> {
    (0..head.symbols() as i64).filter(|&symbol| symbol != head.blank()).collect()
}

/// All alignments, each with the sequence that it is an alignment of.
fn all_alignments(head: &CtcLogProbs) -> Vec<(Vec<i64>, Vec<i64>, f64)> {
    let mut paths = vec![(Vec::new(), 0.0)];
    for frame in 0..head.frames() {
        let longer = |(path, log_p): (Vec<i64>, f64)| {
            (0..head.symbols() as i64)
                .map(move |symbol| ([path.as_slice(), &[symbol]].concat(), log_p + head.at(frame, symbol)))
        };
        paths = paths.into_iter().flat_map(longer).collect();
    }
    let collapsed = |(path, log_p): (Vec<i64>, f64)| {
        let mut tokens = path.clone();
        tokens.dedup();
        tokens.retain(|&symbol| symbol != head.blank());
        (tokens, path, log_p)
    };
    paths.into_iter().map(collapsed).collect()
}

/// The log-probability of every sequence that there is.
fn all_sequences(head: &CtcLogProbs) -> BTreeMap<Vec<i64>, f64> {
    let mut all = BTreeMap::new();
    for (tokens, _, log_p) in all_alignments(head) {
        let sum = all.entry(tokens).or_insert(NEVER);
        *sum = log_add(*sum, log_p);
    }
    all
}

/// The probabilities of a frame sum to one but for rounding to f32.
fn assert_near(one: f64, other: f64, what: &str) {
    assert!(one == other || (one - other).abs() < 1e-7, "{one} is not {other}: {what}");
}

#[test]
fn the_score_of_a_prefix_is_the_sum_over_all_sequences_with_it() {
    for head in cases() {
        let all = all_sequences(&head);
        let of_prefix = |prefix: &[i64]| {
            log_sum(all.iter().filter(|(tokens, _)| tokens.starts_with(prefix)).map(|(_, log_p)| *log_p))
        };
        let mut open = vec![(Vec::new(), CtcPrefix::new(Arc::clone(&head)))];
        while let Some((tokens, prefix)) = open.pop() {
            let what = format!("{tokens:?} of {head:?}");
            assert_near(prefix.score(), of_prefix(&tokens), &what);
            assert_near(prefix.score_of_end(), all.get(&tokens).copied().unwrap_or(NEVER), &what);
            assert_eq!(prefix.score_with(head.blank()), NEVER);
            if tokens.len() > head.frames() {
                assert_eq!(prefix.score(), NEVER);
                continue;
            }
            for token in tokens_of(&head) {
                let longer = prefix.extend(token);
                assert_eq!(longer.score(), prefix.score_with(token));
                open.push(([tokens.as_slice(), &[token]].concat(), longer));
            }
        }
    }
}

#[test]
fn a_sequence_needs_enough_frames() {
    assert_eq!([&[][..], &[4], &[4, 5, 4], &[4, 4], &[4, 4, 4, 5, 5]].map(required_frames), [0, 1, 3, 3, 8]);
    for head in cases() {
        let tokens = tokens_of(&head);
        for n in 0..81 {
            let sequence: Vec<i64> =
                (0..n % 7).map(|place| tokens[((n / 7) >> place) % tokens.len()]).collect();
            let log_p = CtcPrefix::new(Arc::clone(&head)).extend_all(&sequence).score_of_end();
            assert_eq!(
                log_p > NEVER,
                required_frames(&sequence) <= head.frames(),
                "{sequence:?} of {head:?}"
            );
        }
    }
}

#[test]
fn continuations_and_end_of_a_prefix_sum_to_its_score() {
    let prefix = CtcPrefix::new(random(5, 300, 40, 0)).extend_all(&[4, 4, 17]);
    let next = (1..40).map(|token| prefix.score_with(token)).chain([prefix.score_of_end()]);
    assert_near(log_sum(next.collect::<Vec<_>>().into_iter()), prefix.score(), "300 frames");
}

#[test]
fn a_symbol_outside_the_vocabulary_is_impossible() {
    let prefix = CtcPrefix::new(random(1, 4, 5, 0));
    for token in [-1, 5, i64::MAX] {
        assert_eq!((prefix.score_with(token), prefix.extend(token).score_of_end()), (NEVER, NEVER));
    }
}

#[test]
fn a_wide_prefix_beam_finds_all_sequences_in_order() {
    for head in cases() {
        let found = prefix_beam_search(&head, &tokens_of(&head), 10_000);
        let mut all: Vec<(Vec<i64>, f64)> = all_sequences(&head).into_iter().collect();
        assert_eq!(found.len(), all.len(), "{head:?}");
        all.sort_by(|one, other| other.1.total_cmp(&one.1));
        for ((tokens, log_p), (expected, sum)) in found.iter().zip(&all) {
            assert_eq!(tokens, expected, "{head:?}");
            assert_near(*log_p, *sum, "of the prefix beam");
        }
    }
}

#[test]
fn a_narrow_prefix_beam_is_in_order_and_overestimates_no_sequence() {
    for seed in 0..40 {
        let head = random(seed, 40, 12, 0);
        let found = prefix_beam_search(&head, &tokens_of(&head), 8);
        assert_eq!(found.len(), 8);
        assert!(found.is_sorted_by(|one, other| one.1 >= other.1));
        for (tokens, log_p) in found {
            let exact = CtcPrefix::new(Arc::clone(&head)).extend_all(&tokens).score_of_end();
            assert!(log_p <= exact + 1e-9 && tokens.iter().all(|token| (1..12).contains(token)));
        }
    }
}

#[test]
fn the_likeliest_sequence_need_not_be_the_best_path() {
    let frame = [0.6f32, 0.4].as_slice();
    let head = of_probabilities(&[frame, frame], 0);
    assert!(best_path(&head, &[1]).is_empty());
    let found = prefix_beam_search(&head, &[1], 2);
    assert_eq!((&found[0].0, &found[1].0), (&vec![1], &Vec::new()));
    assert!((found[0].1 - 0.64f64.ln()).abs() < 1e-6 && (found[1].1 - 0.36f64.ln()).abs() < 1e-6);
}

#[test]
fn a_best_path_collapses_repeats_and_then_removes_blanks() {
    let path = [0, 2, 2, 0, 2, 1, 1, 0, 0, 3];
    let frames: Vec<Vec<f32>> = path
        .iter()
        .map(|&symbol| (0..4).map(|other| if other == symbol { 0.7 } else { 0.1 }).collect())
        .collect();
    let head = of_probabilities(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>(), 0);
    assert_eq!(best_path(&head, &[1, 2, 3]), [2, 2, 1, 3]);
    assert_eq!(prefix_beam_search(&head, &[1, 2, 3], 5)[0].0, [2, 2, 1, 3]);
    // A token that is not allowed is in neither; where it was likely, the best path has the blank.
    assert_eq!(best_path(&head, &[1, 3]), [1, 3]);
    assert!(prefix_beam_search(&head, &[1, 3], 5).iter().all(|(tokens, _)| !tokens.contains(&2)));
}

#[test]
fn an_alignment_is_the_likeliest_of_all() {
    for head in cases() {
        let all = all_alignments(&head);
        for tokens in all_sequences(&head).keys() {
            let mut own = all.iter().filter(|(sequence, ..)| sequence == tokens).collect::<Vec<_>>();
            own.sort_by(|one, other| other.2.total_cmp(&one.2));
            let (_, path, log_p) = own[0];
            let found = align(&head, tokens).unwrap();
            assert_near(found.log_p, *log_p, "the likeliest alignment");
            assert_eq!(path_of(&found, &head), *path, "{tokens:?} of {head:?}");
        }
    }
}

/// The symbols of an alignment, whose spans must have the log-probabilities of their frames.
fn path_of(alignment: &Alignment, head: &CtcLogProbs) -> Vec<i64> {
    let mut path = vec![head.blank(); head.frames()];
    for span in &alignment.spans {
        path[span.first_frame..=span.last_frame].fill(span.token);
        let frames = span.first_frame..=span.last_frame;
        assert_near(span.log_p, frames.map(|frame| head.at(frame, span.token)).sum(), "a span");
    }
    path
}

#[test]
fn an_impossible_alignment_is_an_error() {
    let head = of_probabilities(&[&[0.5, 0.5, 0.0], &[0.5, 0.5, 0.0], &[0.5, 0.5, 0.0]], 0);
    let refused = |tokens: &[i64]| align(&head, tokens).unwrap_err().message().to_owned();
    assert_eq!(align(&head, &[1, 1]).unwrap().spans.len(), 2);
    let expected = "an alignment of 3 tokens must have at least 5 frames, but there are 3";
    assert_eq!(refused(&[1, 1, 1]), expected);
    assert_eq!(refused(&[2]), "an alignment must be possible, but the CTC head gives it no probability");
    for token in [-1, 0, 3] {
        let expected = format!("an alignment must be of tokens of the CTC head, but {token} is none");
        assert_eq!(refused(&[token]), expected);
    }
}

#[test]
fn invalid_log_probabilities_are_refused() {
    let made = |data: Vec<f32>, symbols, blank| CtcLogProbs::new(data, symbols, blank);
    for wrong in [(vec![-1.0; 7], 3, 0), (vec![-1.0; 6], 3, 3), (vec![-1.0; 6], 3, -1), (Vec::new(), 0, 0)] {
        let (numbers, symbols, blank) = (wrong.0.len(), wrong.1, wrong.2);
        let expected = format!("the CTC head gave {numbers} scores for {symbols} symbols and blank {blank}");
        assert_eq!(made(wrong.0, wrong.1, wrong.2).unwrap_err().message(), expected);
    }
    for number in [f32::NAN, f32::INFINITY] {
        let error = made(vec![-1.0, number], 2, 0).unwrap_err();
        assert_eq!(error.message(), "the scores of the CTC head are not finite numbers");
    }
    assert_eq!(made(vec![f32::NEG_INFINITY, 0.0], 2, 0).unwrap().frames(), 1);
    assert_eq!(made(Vec::new(), 2, 0).unwrap().frames(), 0);
}

/// What a decoder gives to the tokens behind two hypotheses, and the sums of these.
const ROWS: [[f32; 8]; 2] =
    [[-9.0, -9.0, -9.0, -6.0, -1.0, -2.0, -3.0, -4.0], [-9.0, -9.0, -9.0, -1.0, -2.0, -3.0, -2.5, -9.0]];
const SUMS: [f64; 2] = [-1.0, -1.5];

/// The tokens of the same hypotheses.
fn prefixes() -> [CtcPrefix; 2] {
    let empty = CtcPrefix::new(random(3, 12, 8, 0));
    [4, 5].map(|token| empty.extend(token))
}

/// The best candidates, and what greedy search would take of each row.
fn joint(width: usize, weight: f64) -> (Vec<Candidate>, Vec<Candidate>) {
    let (mut scan, mut best) = (JointScan::default(), TopK::default());
    best.begin(2 * width);
    let mut greedy = Vec::new();
    for (number, prefix) in prefixes().iter().enumerate() {
        let parent = JointParent { number, sum: SUMS[number], prefix };
        let (largest, one) = scan.scan(parent, &ROWS[number], width, weight, &mut best);
        assert_eq!(largest, -1.0);
        greedy.extend(one);
    }
    (best.candidates().to_vec(), greedy)
}

#[test]
fn a_scan_without_ctc_weight_has_the_decoders_scores() {
    let (found, greedy) = joint(2, 0.0);
    let shown: Vec<_> = found.iter().map(|one| (one.parent, one.token, one.total)).collect();
    assert_eq!(shown, [(0, 4, -2.0), (1, EOS, -2.5), (0, 5, -3.0), (1, 4, -3.5)]);
    assert_eq!(greedy, found[..2]);
}

#[test]
fn a_candidate_has_the_weighted_sum_of_both_scores() {
    let (found, _) = joint(10, 0.25);
    assert_eq!(found.len(), 16);
    for one in found.into_iter().filter(|one| one.token != 0) {
        let (prefix, sum) = (&prefixes()[one.parent], SUMS[one.parent]);
        let decoder = f64::from(ROWS[one.parent][one.token as usize]);
        let ctc = if one.token == EOS { prefix.score_of_end() } else { prefix.score_with(one.token) };
        let expected = sum + 0.75 * decoder + 0.25 * (ctc - prefix.score());
        assert!((one.total - expected).abs() < 1e-12, "{one:?}");
    }
}

#[test]
fn only_the_decoders_best_candidates_and_eos_are_scored() {
    // With room for all of them, in a beam of 2.
    let (mut scan, mut best) = (JointScan::default(), TopK::default());
    let reached = [0, 1].map(|number| {
        best.begin(100);
        let parent = JointParent { number, sum: 0.0, prefix: &prefixes()[number] };
        scan.scan(parent, &ROWS[number], 2, 1.0, &mut best);
        let mut tokens: Vec<i64> = best.candidates().iter().map(|one| one.token).collect();
        tokens.sort_unstable();
        tokens
    });
    assert_eq!(reached, [vec![EOS, 4, 5, 6], vec![EOS, 4, 6]]);
}

#[test]
fn the_greedy_token_does_not_depend_on_the_width() {
    for weight in [0.0, 0.3, 0.9, 1.0] {
        let alone = joint(1, weight).1;
        assert!((2..12).all(|width| joint(width, weight).1 == alone), "{weight}");
    }
}

#[test]
fn tokens_excluded_by_the_decoder_are_no_candidates_and_those_by_ctc_rank_last() {
    // One frame: no token has room behind the first.
    let prefix = CtcPrefix::new(random(3, 1, 8, 0)).extend(4);
    let scanned = |prefix: &CtcPrefix, row: &[f32], weight| {
        let (mut scan, mut best) = (JointScan::default(), TopK::default());
        best.begin(8);
        let parent = JointParent { number: 0, sum: 0.0, prefix };
        let greedy = scan.scan(parent, row, 4, weight, &mut best).1;
        assert_eq!(greedy, best.candidates().first().copied());
        best.candidates().iter().map(|one| one.token).collect::<Vec<_>>()
    };
    let never = f32::NEG_INFINITY;
    let free = [never, never, never, -5.0, -1.0, -2.0, never, never];
    let without_eos = [never, never, never, never, -1.0, -2.0, never, never];
    for weight in [0.3, 1.0] {
        assert_eq!(scanned(&prefix, &free, weight), [EOS, 4, 5]);
        assert_eq!(scanned(&prefix, &without_eos, weight), [4, 5]);
    }
    assert_eq!(scanned(&prefix, &free, 0.0), [4, 5, EOS]);
    // Where CTC excludes the prefix already, the decoder chooses.
    assert_eq!(scanned(&prefix.extend(5), &free, 0.3), [4, 5, EOS]);
    assert_eq!((combined(0.0, -1.0, NEVER), combined(1.0, NEVER, -1.0)), (-1.0, -1.0));
}
