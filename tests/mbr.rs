//! Minimum Bayes risk decoding (`decode --mbr`): the output is the candidate with the best expected value of a metric.
//!
//! The candidates are those that `decode --n-best` writes with the same search, so the expected values are computed here
//! once more.

use serde_json::{Value, json};

use crate::support::run::{Finished, Scene, objects, unsure_lines};

/// Samples that differ.
const SAMPLES: [&str; 4] =
    ["--set", "decoding.sampling.temperature=2.0", "--set", "decoding.suppress_unknown=true"];

/// A beam that ranks by the probability alone.
const BEAM: [&str; 4] = ["--set", "decoding.length_penalty=none", "--set", "decoding.suppress_unknown=true"];

/// A number of sources.
const ROWS: usize = 20;

fn decode(scene: &Scene, more: &[&[&str]]) -> Finished {
    let form = ["--input-format", "text", "--format", "jsonl"];
    scene.decode(&[&form, more.concat().as_slice()].concat(), &unsure_lines(ROWS)).succeeded()
}

fn rows(scene: &Scene, more: &[&[&str]]) -> Vec<Value> {
    objects(&decode(scene, more).stdout)
}

/// The outputs of each source.
fn lists(rows: Vec<Value>) -> Vec<Vec<Value>> {
    let mut lists: Vec<Vec<Value>> = Vec::new();
    for row in rows {
        match lists.last_mut().filter(|_| row["rank"] != 1) {
            Some(list) => list.push(row),
            None => lists.push(vec![row]),
        }
    }
    lists
}

fn text(row: &Value) -> &str {
    row["output"].as_str().unwrap()
}

fn number(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap()
}

/// The edit distance over characters, for each character of the reference.
fn error_rate(reference: &str, output: &str) -> f64 {
    let [reference, output] = [reference, output].map(|text| text.chars().collect::<Vec<char>>());
    let mut row: Vec<usize> = (0..=output.len()).collect();
    for (deleted, wanted) in reference.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], deleted + 1);
        for (column, written) in output.iter().enumerate() {
            let paired = diagonal + usize::from(wanted != written);
            diagonal = row[column + 1];
            row[column + 1] = paired.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[output.len()] as f64 / reference.len().max(1) as f64
}

#[test]
fn the_sample_with_the_lowest_expected_error_rate_is_written() {
    let scene = Scene::trained();
    let lists = lists(rows(&scene, &[&SAMPLES, &["--n-best", "12"]]));
    let mbr = ["--mbr", "character_error_rate", "--candidates", "12"];
    let chosen = rows(&scene, &[&SAMPLES, &mbr]);
    assert_eq!((lists.len(), chosen.len()), (ROWS, ROWS));
    let mut different = 0;
    for (list, chosen) in lists.iter().zip(&chosen) {
        assert_eq!(list.len(), 12);
        let expected =
            |output: &str| list.iter().map(|one| error_rate(text(one), output)).sum::<f64>() / 12.0;
        let best = list.iter().map(|one| expected(text(one))).fold(f64::INFINITY, f64::min);
        assert!((expected(text(chosen)) - best).abs() < 1e-9, "{chosen} costs more than {best}");
        assert!((number(chosen, "expected") - best).abs() < 1e-9, "{chosen}: not {best}");
        let is_drawn = list
            .iter()
            .any(|one| ["output", "score", "finished"].iter().all(|field| one[*field] == chosen[*field]));
        assert!(is_drawn, "{chosen} is none of {list:?}");
        different += usize::from(list.iter().any(|one| text(one) != text(chosen)));
    }
    assert!(different > ROWS / 2, "in {different} of {ROWS} rows there is something to choose");
}

#[test]
fn several_outputs_are_ranked_and_each_text_is_there_once() {
    let scene = Scene::trained();
    let mbr = [&SAMPLES[..], &["--mbr", "character_error_rate", "--candidates", "12"]].concat();
    let ranked = lists(rows(&scene, &[&mbr, &["--n-best", "3"]]));
    let first = rows(&scene, &[&mbr]);
    assert_eq!(ranked.len(), ROWS);
    for (list, first) in ranked.iter().zip(&first) {
        assert!(list.len() <= 3 && text(&list[0]) == text(first));
        assert!(list.windows(2).all(|two| number(&two[0], "expected") <= number(&two[1], "expected") + 1e-9));
        let ranks: Vec<u64> = list.iter().map(|one| one["rank"].as_u64().unwrap()).collect();
        assert!(ranks.into_iter().eq(1..=list.len() as u64));
        assert!((1..list.len()).all(|n| list[..n].iter().all(|one| text(one) != text(&list[n]))));
    }
    assert!(ranked.iter().any(|list| list.len() == 3));
}

/// Candidates weigh as much as they are probable, so the expected exact match is the probability.
#[test]
fn with_exact_match_the_most_probable_output_of_the_beam_wins() {
    let scene = Scene::trained();
    let lists = lists(rows(&scene, &[&BEAM, &["--n-best", "8"]]));
    let chosen = rows(&scene, &[&BEAM, &["--mbr", "exact_match", "--candidates", "8"]]);
    assert_eq!((lists.len(), chosen.len()), (ROWS, ROWS));
    let mut finished = 0;
    for (list, chosen) in lists.iter().zip(&chosen) {
        let scores: Vec<f64> = list.iter().map(|one| number(one, "score")).collect();
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - best).exp()).sum();
        assert_eq!(number(chosen, "score"), best);
        assert!((number(chosen, "expected") - 1.0 / total).abs() < 1e-9, "{chosen}: not {}", 1.0 / total);
        if list.iter().all(|one| one["finished"] == true) {
            finished += 1;
            assert_eq!(text(chosen), text(&list[0]), "the first of the beam");
        }
    }
    assert!(finished > 0);
}

#[test]
fn neither_batches_nor_threads_nor_the_same_model_twice_change_an_output() {
    let scene = Scene::trained();
    for search in [&SAMPLES, &BEAM] {
        let decode =
            |more: &[&str]| decode(&scene, &[search, &["--mbr", "chrf", "--candidates", "5"], more]).stdout;
        let alone = decode(&[]);
        assert_eq!(alone.lines().count(), ROWS);
        for setting in
            ["decoding.batch_size=1", "decoding.batch_size=7", "runtime.threads=1", "runtime.threads=3"]
        {
            assert_eq!(decode(&["--set", setting]), alone, "{setting}");
        }
        assert_eq!(decode(&["--with", "runs/copy"]), alone, "an ensemble");
        decode(&["--output", "out.jsonl", "--trace", "trace.jsonl"]);
        assert_eq!(scene.text("out.jsonl"), alone);
        let traced = objects(&scene.text("trace.jsonl"));
        assert!(
            traced.iter().map(text).eq(objects(&alone).iter().map(text)),
            "the trace is that of the outputs"
        );
    }
}

#[test]
fn a_table_has_the_expected_value_and_the_summary_scores_what_was_chosen() {
    let scene = Scene::trained();
    scene.write("in.csv", "id,source,target\n1,abc,abc\n2,,ab\n3,azzh,ah\n");
    let mbr = ["--input", "in.csv", "--mbr", "chrf", "--candidates", "4"];
    let written = ["--output", "out.csv", "--summary", "summary.json"];
    let finished = scene.decode(&[&mbr[..], &written].concat(), "").succeeded();
    let note =
        "note: --mbr chooses among 4 candidates, which need a beam of that width: `decoding.beam` is now 4\n";
    assert!(finished.stderr.starts_with(note), "{}", finished.stderr);
    let table = scene.text("out.csv");
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("id,source,reference,output,score,expected,finished"));
    let cells: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(cells.iter().map(|row| row[0]).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!((cells[0][3], cells[1][3]), ("abc", ""));
    assert!(cells.iter().all(|row| (0.0..=1.0).contains(&row[5].parse::<f64>().unwrap())), "{table}");
    let right = cells.iter().filter(|row| row[2] == row[3]).count();
    let summary: Value = serde_json::from_str(&scene.text("summary.json")).unwrap();
    assert_eq!(summary["outputs"], json!(3));
    assert_eq!(summary["exact_match"], json!(right as f64 / 3.0));
    // Lines of text are the same outputs.
    let lines = scene.decode(&mbr, "").succeeded().stdout;
    assert!(lines.lines().eq(cells.iter().map(|row| row[3])), "{lines}");
}

#[test]
fn jobs_are_merged_and_a_stopped_output_is_resumed_with_the_same_metric() {
    let scene = Scene::trained();
    scene.write("in.txt", unsure_lines(7));
    let mbr = ["--input", "in.txt", "--beam", "4", "--candidates", "4", "--n-best", "2", "--mbr"];
    let decode = |metric: &str, output: &str, more: &[&str]| {
        scene.decode(&[&mbr[..], &[metric, "--output", output], more].concat(), "")
    };
    decode("chrf", "whole.csv", &[]).succeeded();
    for shard in ["1/2", "2/2"] {
        decode("chrf", &format!("{}.csv", &shard[..1]), &["--shard", shard]).succeeded();
    }
    let merge = ["merge", "1.csv", "2.csv", "--output", "all.csv"];
    scene.seqloom(&merge).succeeded();
    assert_eq!(scene.text("all.csv"), scene.text("whole.csv"));
    decode("exact_match", "2.csv", &["--shard", "2/2"]).succeeded();
    scene.seqloom(&merge).refused_naming(2, &["all shards must be of one decode, but `--mbr` is"]);

    // The third row is too long, so the output is not finished.
    let rows = unsure_lines(7);
    let (start, _) = rows.split_at(rows.match_indices('\n').nth(1).unwrap().0 + 1);
    scene.write("in.txt", format!("{start}{}\n", "a".repeat(2000)));
    assert_eq!(decode("chrf", "out.csv", &[]).code, Some(2));
    scene.write("in.txt", &rows);
    decode("bleu", "out.csv", &["--resume"])
        .refused_naming(2, &[r#"the same settings, but `--mbr` was "chrf" and is now "bleu""#]);
    decode("chrf", "out.csv", &["--resume"]).succeeded();
    assert_eq!(scene.text("out.csv"), scene.text("whole.csv"));
}

#[test]
fn unknown_metrics_and_too_few_or_too_many_candidates_are_refused() {
    let scene = Scene::trained();
    let refused = |more: &[&str], parts: &[&str]| scene.decode(more, "ab\n").refused_naming(2, parts);
    let unknown = "error: --mbr must name a metric, but `chfr` is not one; there are exact_match, character_error_rate, ";
    refused(&["--mbr", "chfr"], &[unknown, "hint: did you mean `chrf`?"]);
    for candidates in ["0", "1"] {
        let message =
            format!("error: --candidates must be at least 2, but it is {candidates}\nhint: without --mbr, ");
        refused(&["--mbr", "chrf", "--candidates", candidates], &[message.as_str()]);
    }
    let many = ["--mbr", "chrf", "--candidates", "20000"];
    let must = "error: --candidates must be at most 10000, but it is 20000\n";
    refused(&many, &[must]);
    refused(&[&many[..], &SAMPLES].concat(), &[must]);
    let groups = ["--beam", "3", "--set", "decoding.beam_groups=3"];
    refused(&[&many[..], &groups].concat(), &["--candidates must be at most 9999, but it is 20000\n"]);
    let outputs = ["--mbr", "chrf", "--candidates", "2", "--beam", "3", "--set", "decoding.n_best=3"];
    refused(
        &outputs,
        &["--candidates must be at least the number of outputs (`decoding.n_best`), but they are 2 and 3"],
    );
    let alone = scene.decode(&["--candidates", "4"], "ab\n");
    assert!(alone.code == Some(2) && alone.stderr.contains("--mbr <METRIC>"), "{}", alone.stderr);
}
