//! `seqloom score`: its scores equal those of the search for its outputs, and those of training for its validation set.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::run::{Finished, Scene, objects, unsure_lines, words};

fn score(scene: &Scene, more: &[&str]) -> Finished {
    scene.seqloom(&[&["score", "runs/copy"], more].concat())
}

/// A column of numbers.
fn column(text: &str, name: &str) -> Vec<f64> {
    let rows = csv::Reader::from_reader(text.as_bytes()).into_deserialize().map(Result::unwrap);
    rows.map(|row: BTreeMap<String, String>| row[name].parse().unwrap()).collect()
}

#[test]
fn the_score_of_an_output_is_the_score_that_the_search_gave_it() {
    let scene = Scene::trained();
    // Unknown letters too, so that the model is not sure of everything; and an empty source.
    scene.write("in.txt", unsure_lines(150) + "\n");
    for beam in ["1", "4"] {
        let arguments = ["--input", "in.txt", "--beam", beam, "--output", "out.csv"];
        scene.decode(&arguments, "").succeeded();
        let decoded = scene.text("out.csv");
        let scored = score(&scene, &["--input", "out.csv", "--target-column", "output", "--format", "csv"])
            .succeeded();
        let (by_search, by_force) = (column(&decoded, "score"), column(&scored.stdout, "score"));
        assert_eq!(by_search.len(), by_force.len());
        let finished = decoded.lines().skip(1).map(|line| line.ends_with("true"));
        let pairs: Vec<_> =
            by_search.iter().zip(&by_force).zip(finished).filter(|(_, finished)| *finished).collect();
        assert!(pairs.len() > 140, "{} outputs are finished", pairs.len());
        for ((search, force), _) in pairs {
            assert!((search - force).abs() < 1e-5, "beam {beam}: {search} and {force}");
        }
    }
}

/// BPE may tokenize an output's text differently from the search, and an unfinished output has no EOS: its tokens
/// are unambiguous.
#[test]
fn the_tokens_of_an_output_have_exactly_its_score() {
    let scene = Scene::new(400, 40);
    let pieces = ["--set", "data.target.bpe={ vocabulary = 60 }", "--set", "training.steps=150"];
    scene.train(&pieces).succeeded();
    scene.write("in.txt", unsure_lines(60));
    let list = ["--input", "in.txt", "--beam", "4", "--set", "decoding.n_best=4", "--tokens"];
    for (weights, output) in [("f32", "out.csv"), ("int8", "out.jsonl"), ("bf16", "out.jsonl")] {
        let weights = format!("decoding.weights={weights}");
        let short = ["--set", "decoding.max_length=4", "--set", &weights, "--output", output];
        scene.decode(&[&list[..], &short].concat(), "").succeeded();
        let arguments = ["--input", output, "--set", &weights, "--output", "scores.jsonl", "--tokens"];
        let of_tokens = [&arguments[..], &["--tokens-column", "tokens"]].concat();
        score(&scene, &of_tokens).succeeded();
        let scored = objects(&scene.text("scores.jsonl"));
        let found = match output {
            "out.csv" => column(&scene.text(output), "score"),
            _ => objects(&scene.text(output)).iter().map(|row| row["score"].as_f64().unwrap()).collect(),
        };
        assert_eq!(found, scored.iter().map(|row| row["score"].as_f64().unwrap()).collect::<Vec<_>>());
        let ended = |row: &&Value| row["tokens"].as_array().unwrap().last() == Some(&json!("<eos>"));
        let cut = scored.iter().filter(|row| !ended(row)).count();
        assert!(cut > 3 && cut < scored.len() - 3, "{cut} of {} are cut off", scored.len());
        if output == "out.jsonl" {
            for (found, scored) in objects(&scene.text(output)).iter().zip(&scored) {
                assert_eq!([&found["output"], &found["tokens"]], [&scored["target"], &scored["tokens"]]);
            }
        }
    }
}

#[test]
fn invalid_tokens_are_refused() {
    let scene = Scene::trained();
    let tokens = |list: &str| {
        scene.write("in.jsonl", format!("{{\"source\": \"ab\", \"tokens\": {list}}}\n"));
        score(&scene, &["--input", "in.jsonl", "--tokens-column", "tokens"])
    };
    tokens("[\"a\", \"<unk>\", \"<eos>\"]").succeeded();
    let lacks = "error: in.jsonl:1: a token must be one of the model's vocabulary, but it lacks `ab`";
    tokens("[\"ab\"]").refused(2, lacks);
    for within in ["[\"<eos>\", \"a\"]", "[\"<eos>\", \"<eos>\"]"] {
        tokens(within).refused(2, "error: in.jsonl:1: <eos> must not occur within a target");
    }
    let list = "error: in.jsonl:1: a target must be a JSON list of tokens (--tokens-column), but it is";
    for (wrong, shown) in [("\"ab\"", "ab"), ("[1]", "[1]")] {
        let hint = "hint: `decode --tokens` writes such lists; for texts use --target-column";
        tokens(wrong).refused(2, &format!("{list} `{shown}`\n{hint}"));
    }
    scene.decode(&["--tokens"], "ab\n").refused(
        2,
        "error: text output cannot contain tokens, but --tokens is given\n\
         hint: use --format csv or --format jsonl",
    );
}

#[test]
fn an_ensemble_has_the_mean_of_its_scores_and_a_score_depends_on_no_search() {
    let scene = Scene::two();
    let input = ["--input", "valid.csv", "--format", "csv"];
    let scores =
        |more: &[&str]| column(&score(&scene, &[&input[..], more].concat()).succeeded().stdout, "score");
    let early = "runs/other";
    let other = scene.seqloom(&["score", early, "--input", "valid.csv", "--format", "csv"]).succeeded();
    let means: Vec<f64> =
        scores(&[]).iter().zip(column(&other.stdout, "score")).map(|(a, b)| (a + b) / 2.0).collect();
    let together = scores(&["--with", early]);
    assert!(together.iter().zip(&means).all(|(a, b)| (a - b).abs() < 1e-3), "{together:?}\n{means:?}");
    let probabilities = scores(&["--with", early, "--set", "decoding.ensemble=\"probabilities\""]);
    assert!(
        probabilities.iter().zip(&together).all(|(a, b)| a >= b),
        "the mean of numbers is above that of their logs"
    );
    score(&scene, &["--input", "valid.csv", "--set", "decoding.beam=4"]).refused(
        2,
        "error: scoring runs no search, but `decoding.beam=4` was given\n\
         hint: only `ensemble` and `weights` of [decoding] can be set here",
    );
}

#[test]
fn perplexity_and_token_accuracy_of_the_validation_set_are_those_of_training() {
    let scene = Scene::trained();
    let finished = score(&scene, &["--input", "valid.csv", "--summary", "s.json"]).succeeded();
    let summary: Value = serde_json::from_str(&scene.text("s.json")).unwrap();
    let best: u64 = scene.text("runs/copy/best").trim()[5..].parse().unwrap();
    let metrics = scene.text("runs/copy/metrics.csv");
    let row =
        metrics.lines().find(|row| row.starts_with(&format!("{best},")) && row.contains(",valid,")).unwrap();
    let header: Vec<&str> = metrics.lines().next().unwrap().split(',').collect();
    let of_training = |name: &str| -> f64 {
        let place = header.iter().position(|column| *column == name).unwrap();
        row.split(',').nth(place).unwrap().parse().unwrap()
    };
    let trained = of_training("perplexity");
    assert!((summary["perplexity"].as_f64().unwrap() - trained).abs() < 1e-5, "{summary} {trained}");
    let scores: Vec<f64> = finished.stdout.lines().map(|line| line.parse().unwrap()).collect();
    let mean = scores.iter().sum::<f64>() / 40.0;
    assert_eq!((scores.len(), &summary["pairs"], &summary["skipped"]), (40, &json!(40), &json!(0)));
    assert!((summary["mean_log_probability"].as_f64().unwrap() - mean).abs() < 1e-9);
    assert!(finished.stderr.starts_with("40 pairs, "), "{}", finished.stderr);
    assert!(finished.stderr.contains(&format!("perplexity {trained:.4} per token")), "{}", finished.stderr);
    let accuracy = of_training("token_accuracy");
    assert!((summary["token_accuracy"].as_f64().unwrap() - accuracy).abs() < 1e-9, "{summary} {accuracy}");
    let share = summary["correct"].as_f64().unwrap() / summary["tokens"].as_f64().unwrap();
    assert_eq!(summary["token_accuracy"], share);
    let line = format!(" including EOS: token accuracy {:.2} %, perplexity ", 100.0 * accuracy);
    assert!(finished.stderr.contains(&line), "{}", finished.stderr);
}

#[test]
fn each_token_has_its_log_probability() {
    let scene = Scene::trained();
    scene.write("in.csv", "source,target\nabc,abc\nab,axb\nab,\n");
    let finished = score(&scene, &["--input", "in.csv", "--format", "jsonl", "--tokens"]).succeeded();
    let rows = objects(&finished.stdout);
    let tokens: Vec<&Value> = rows.iter().map(|row| &row["tokens"]).collect();
    assert_eq!(
        tokens,
        [&json!(["a", "b", "c", "<eos>"]), &json!(["a", "<unk>", "b", "<eos>"]), &json!(["<eos>"])]
    );
    for row in &rows {
        let log_p: Vec<f64> = serde_json::from_value(row["log_probabilities"].clone()).unwrap();
        assert_eq!(json!(log_p.len()), row["length"]);
        assert!((log_p.iter().sum::<f64>() - row["score"].as_f64().unwrap()).abs() < 1e-9);
        assert!(log_p.iter().all(|log_p| *log_p < 0.0));
    }
    assert!(rows[0]["score"].as_f64() > rows[2]["score"].as_f64(), "a copy is likelier than silence");
    let note = "note: symbols of the targets that are not in the vocabulary: 1 (scored as <unk>)\n";
    assert!(finished.stderr.ends_with(note), "{}", finished.stderr);
    score(&scene, &["--input", "in.csv", "--tokens"]).refused(
        2,
        "error: --tokens writes a list for each pair, and only JSON Lines can hold lists\n\
         hint: use --format jsonl, or name a .jsonl file with --output",
    );
}

#[test]
fn pairs_are_read_from_columns_of_any_name_or_from_parallel_text() {
    let scene = Scene::trained();
    scene.write("in.csv", "source,target\nabc,abc\nab,ba\n");
    scene.write("in.tsv", "to\tfrom\nabc\tabc\nba\tab\n");
    scene.write("in.src", "abc\nab\n");
    scene.write("in.tgt", "abc\nba\n");
    let table = score(&scene, &["--input", "in.csv"]).succeeded();
    let named = ["--input", "in.tsv", "--source-column", "from", "--target-column", "to"];
    assert_eq!(score(&scene, &named).succeeded().stdout, table.stdout);
    let parallel = ["--input", "in.src", "--targets", "in.tgt"];
    assert_eq!(score(&scene, &parallel).succeeded().stdout, table.stdout);
}

#[test]
fn scores_do_not_depend_on_the_batch() {
    let scene = Scene::trained();
    let words = words(2100);
    let table = |words: &[String]| {
        let rows: String = words.iter().map(|word| format!("{word},{word}\n")).collect();
        format!("source,target\n{rows}")
    };
    scene.write("all.csv", table(&words));
    scene.write("one.csv", table(&words[2095..2096]));
    let all = score(&scene, &["--input", "all.csv"]).succeeded().stdout;
    let one = score(&scene, &["--input", "one.csv"]).succeeded().stdout;
    let all: Vec<f64> = all.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(all.len(), 2100);
    assert!((all[2095] - one.trim().parse::<f64>().unwrap()).abs() < 1e-5);
}

#[test]
fn a_source_truncated_in_decoding_is_truncated_in_scoring() {
    let scene = Scene::trained();
    scene.write("in.txt", "abcdefgh\nab\n");
    let short = ["--truncate", "--set", "data.source.max_length=4"];
    let decode = ["--input", "in.txt", "--output", "out.csv", "--tokens"];
    scene.decode(&[&decode[..], &short].concat(), "").succeeded();
    let tokens = ["--input", "out.csv", "--tokens-column", "tokens", "--format", "jsonl"];
    let finished = score(&scene, &[&tokens[..], &short, &["--summary", "s.json"]].concat()).succeeded();
    assert!(finished.stderr.contains("note: truncated sources: 1 (too long"), "{}", finished.stderr);
    let summary: Value = serde_json::from_str(&scene.text("s.json")).unwrap();
    assert_eq!(summary["truncated"], 1);
    let text = scene.text("out.csv");
    let mut decoded = csv::Reader::from_reader(text.as_bytes());
    let at = decoded.headers().unwrap().iter().position(|name| name == "score").unwrap();
    let decoded = decoded.records().map(|row| row.unwrap()[at].parse::<f64>().unwrap());
    for (decoded, scored) in decoded.zip(objects(&finished.stdout)) {
        assert_eq!(Some(decoded), scored["score"].as_f64());
    }
    let whole = score(&scene, &[&tokens[..], &["--set", "data.source.max_length=4"]].concat());
    whole.refused_naming(
        2,
        &[
            "a source may have 4 tokens",
            "hint: cut it with --truncate, or allow more with --set data.source.max_length",
        ],
    );
}

#[test]
fn a_pair_that_cannot_be_scored_is_refused_or_skipped() {
    let scene = Scene::trained();
    scene.write("in.csv", format!("source,target\nab,ab\n,ab\nab,{}\n,\nabc,abc\n", "a".repeat(600)));
    let finished = score(&scene, &["--input", "in.csv"]);
    assert_eq!((finished.code, finished.stdout.lines().count()), (Some(2), 1));
    assert_eq!(finished.stderr, "error: in.csv:3: a target must have a source, but it is empty\n");
    let skip = ["--input", "in.csv", "--on-error", "skip", "--format", "jsonl"];
    let finished = score(&scene, &skip).succeeded();
    let rows = objects(&finished.stdout);
    assert_eq!((rows.len(), &rows[1]["score"], &rows[3]["score"]), (5, &Value::Null, &json!(0.0)));
    let too_long =
        "in.csv:4: a target may have 512 tokens (`data.target.max_length`), but this row's has 600";
    assert_eq!(rows[2]["error"], too_long);
    assert!(finished.stderr.contains("note: skipped pairs: 2 (they have no score); the first: in.csv:3: "));
    let longer = ["--set", "data.target.max_length=600"];
    let rows = objects(&score(&scene, &[&skip[..], &longer].concat()).succeeded().stdout);
    assert_eq!((&rows[2]["length"], &rows[2]["error"]), (&json!(601), &Value::Null));

    scene.write("in.txt", "ab\n");
    score(&scene, &["--input", "in.txt"]).refused(
        2,
        "error: a file of pairs must be .csv, .tsv, .jsonl, .json or .parquet, but it is in.txt\n\
         hint: for parallel text, --input is the file of sources and --targets the file of targets",
    );
    scene.write("two.txt", "ab\ncd\n");
    let finished = score(&scene, &["--input", "in.txt", "--targets", "two.txt"]);
    assert_eq!(finished.code, Some(2));
    let message = "must have the same number of lines, but in.txt has 1 and two.txt has 2\n";
    assert!(finished.stderr.ends_with(message), "{}", finished.stderr);
}
