//! A trace has the model's scores at each step, and a streamed search gives the same result.

use super::super::stream::{check_streamable, stream};
use super::super::trace::{TraceStep, TracedOutput, trace};
use super::*;

/// Attends more to the source's token the longer the output is.
fn looking(source: &[i64], prefix: &[i64]) -> Vec<f32> {
    let own = (prefix.len() + 1) as f32 / 10.0;
    source.iter().map(|_| own).chain([1.0 - own]).collect()
}

fn model() -> Scripted {
    Scripted { attention: Some(looking), ..Scripted::new(random_looking) }
}

/// The script's distribution for an output, fully sorted.
fn expected(source: &[i64], one: &Hypothesis, top: usize) -> Vec<TraceStep> {
    let target: Vec<i64> = one.tokens.iter().copied().chain(one.finished.then_some(EOS)).collect();
    let step = |n: usize| {
        let row = random_looking(source, &target[..n]);
        let mut order: Vec<(i64, f32)> = (0..).zip(row.iter().copied()).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        let rank = 1 + order.iter().position(|(token, _)| *token == target[n]).unwrap();
        order.truncate(top);
        let attention = looking(source, &target[..n]);
        TraceStep { token: target[n], log_p: row[target[n] as usize], rank, top: order, attention }
    };
    (0..target.len()).map(step).collect()
}

#[test]
fn a_trace_has_the_models_scores_of_each_output_in_every_search() {
    for config in all_kinds() {
        let config = DecodingConfig { max_length: Some(6), ..config };
        let sources = sources(9);
        let mut outputs: Vec<Hypothesis> =
            found_by(&model(), &sources, &config).into_iter().map(|list| list[0].clone()).collect();
        outputs[3].tokens.clear();
        let requests = requests(&sources, &config);
        let known: Vec<TracedOutput> = requests
            .iter()
            .zip(&outputs)
            .map(|(request, one)| TracedOutput { request, tokens: &one.tokens, finished: one.finished })
            .collect();
        let steps = trace(&model(), &known, 3).unwrap();
        for ((source, one), steps) in sources.iter().zip(&outputs).zip(&steps) {
            assert_eq!(*steps, expected(source, one, 3));
            let sum: f64 = steps.iter().map(|step| f64::from(step.log_p)).sum();
            assert!(one.tokens.is_empty() || sum == one.score, "{sum} and {}", one.score);
        }
    }
}

#[test]
fn an_empty_output_has_an_empty_trace() {
    let requests = [DecodeRequest::new(&[4], 9), DecodeRequest::new(&[], 9)];
    let [nothing, empty] =
        requests.each_ref().map(|request| TracedOutput { request, tokens: &[], finished: false });
    let decoder = model();
    assert_eq!(trace(&decoder, &[nothing, empty], 2).unwrap(), [vec![], vec![]]);
    assert_eq!(trace(&decoder, &[], 2).unwrap().len(), 0);
    assert_eq!(decoder.steps.get(), 0);
    let one = TracedOutput { finished: true, ..nothing };
    let steps = trace(&decoder, &[nothing, one, empty], 0).unwrap();
    assert_eq!(steps.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 0]);
    assert!(steps[1][0].top.is_empty());
}

#[test]
fn ties_rank_the_lower_token_first_and_an_impossible_token_is_an_error() {
    let even: Script = |_, _| vec![-1.5, -1.5, -1.5, -1.5, -1.5, f32::NEG_INFINITY];
    let decoder = Scripted { attention: Some(looking), ..Scripted::new(even) };
    let request = DecodeRequest::new(&[4], 9);
    let known = |tokens| TracedOutput { request: &request, tokens, finished: false };
    let steps = trace(&decoder, &[known(&[4])], 9).unwrap();
    assert_eq!((steps[0][0].rank, steps[0][0].top.len()), (5, 5));
    assert!(trace(&decoder, &[known(&[5])], 9).is_err());
    assert!(trace(&decoder, &[known(&[6])], 9).is_err());
}

#[test]
fn observing_a_search_changes_nothing_and_reports_each_step_once() {
    for config in all_kinds() {
        let config = DecodingConfig { n_best: 1, beam: 1, beam_groups: 1, max_length: Some(6), ..config };
        for [token] in sources(20) {
            let source = [token];
            let request = request(&source, None, &options(&config));
            let mut steps = Vec::new();
            let output = stream(&Scripted::new(random_looking), &request, &options(&config), 3, |step| {
                steps.push(step.clone());
                Ok(())
            });
            let output = output.unwrap();
            assert_eq!([&output], [&found_by(&Scripted::new(random_looking), &[[token]], &config)[0][0]]);
            let mut expected = expected(&[token], &output, 3);
            expected.iter_mut().for_each(|step| step.attention.clear());
            assert_eq!(steps, expected);
        }
    }
}

#[test]
fn an_observer_may_end_the_search_and_several_outputs_cannot_be_observed() {
    let opening = begins_with(&[4, 5]);
    let config = DecodingConfig { min_length: 5, ..DecodingConfig::default() };
    let request = request(&[4], Some(&opening), &options(&config));
    let decoder = Scripted::new(random_looking);
    let mut seen = Vec::new();
    let ended = stream(&decoder, &request, &options(&config), 1, |step| {
        seen.push(step.token);
        if seen.len() < 2 { Ok(()) } else { Err(crate::error::Error::failure("enough")) }
    });
    assert_eq!((ended.unwrap_err().message(), seen), ("enough", vec![4, 5]));
    let wide = DecodingConfig { beam: 4, beam_groups: 2, ..DecodingConfig::default() };
    assert!(
        check_streamable(&options(&wide))
            .unwrap_err()
            .message()
            .ends_with("`decoding.beam` = 1, but it is 4")
    );
    let samples =
        DecodingConfig { n_best: 3, sampling: Some(SamplingConfig::default()), ..Default::default() };
    assert!(
        check_streamable(&options(&samples))
            .unwrap_err()
            .message()
            .ends_with("`decoding.n_best` = 1, but it is 3")
    );
}
