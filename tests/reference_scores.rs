//! Token accuracy and perplexity: the same numbers in `score`, `decode --score-references`, `evaluate` and `experiment`.

use serde_json::{Value, json};

use crate::support::run::{Scene, objects, unsure_lines};

fn read(scene: &Scene, file: &str) -> Value {
    serde_json::from_str(&scene.text(file)).unwrap()
}

/// Greedy search takes the most likely token of each step, as one model sees it and as several do.
#[test]
fn each_token_of_a_greedy_output_is_the_most_likely_one() {
    let scene = Scene::two();
    scene.write("in.txt", unsure_lines(60));
    let mean = ["--with", "runs/other"];
    let probabilities = ["--with", "runs/other", "--set", "decoding.ensemble=\"probabilities\""];
    let all: [&[&str]; 3] = [&[], &mean, &probabilities];
    for more in all {
        let decode = ["--input", "in.txt", "--tokens", "--output", "out.jsonl"];
        scene.decode(&[&decode[..], more].concat(), "").succeeded();
        let score = ["score", "runs/copy", "--input", "out.jsonl", "--tokens-column", "tokens"];
        let to = ["--format", "jsonl", "--summary", "summary.json"];
        let finished = scene.seqloom(&[&score[..], &to, more].concat()).succeeded();
        let rows = objects(&finished.stdout);
        assert!(rows.len() == 60 && rows.iter().all(|row| row["correct"] == row["length"]), "{more:?}");
        assert_eq!(read(&scene, "summary.json")["token_accuracy"], 1.0);
    }
    scene.write("in.csv", "source,target\nabcd,abca\n");
    let wrong = ["score", "runs/copy", "--input", "in.csv", "--format", "jsonl"];
    let row = objects(&scene.seqloom(&wrong).succeeded().stdout).remove(0);
    assert_eq!((&row["length"], row["correct"].as_u64().unwrap() < 5), (&json!(5), true), "{row}");
}

#[test]
fn decode_and_evaluate_have_the_numbers_of_score() {
    let scene = Scene::two();
    let to = ["--output", "scores.jsonl", "--summary", "score.json"];
    scene.seqloom(&[&["score", "runs/other", "--input", "valid.csv"], &to[..]].concat()).succeeded();
    let to = ["--score-references", "--output", "out.jsonl", "--summary", "decode.json"];
    let decode = [&["decode", "runs/other", "--input", "valid.csv"], &to[..]].concat();
    let said = scene.seqloom(&decode).succeeded().stderr;
    let metrics = ["--metrics", "perplexity,token_accuracy,exact_match"];
    let evaluate = [&["evaluate", "runs/other", "runs/copy", "--input", "valid.csv"], &metrics[..]].concat();
    let to = ["--format", "json", "--rows", "rows.jsonl"];
    let result = scene.seqloom(&[&evaluate[..], &to].concat()).succeeded().stdout;
    let result: Value = serde_json::from_str(&result).unwrap();

    let [score, decode] = ["score.json", "decode.json"].map(|file| read(&scene, file));
    for metric in ["token_accuracy", "perplexity"] {
        assert_eq!(score[metric], decode[metric], "{metric}");
        let scores = [0, 1].map(|system| &result["systems"][system]["scores"][metric]);
        assert_eq!(score[metric], scores[0]["value"], "{metric}");
        for one in scores {
            let [low, value, high] = [&one["interval"][0], &one["value"], &one["interval"][1]]
                .map(|number| number.as_f64().unwrap());
            assert!(low <= value && value <= high, "{metric}: {one}");
        }
        assert!(scores[1]["p"].is_f64() && scores[1]["best"] == true, "{metric}: {}", scores[1]);
    }
    let [accuracy, perplexity] =
        ["token_accuracy", "perplexity"].map(|metric| score[metric].as_f64().unwrap());
    let (correct, tokens) = (&score["correct"], &score["tokens"]);
    let line = format!(
        ", token accuracy {:.2} % ({correct} of {tokens} tokens), perplexity {perplexity:.3} ({tokens} tokens)\n",
        100.0 * accuracy
    );
    assert!(said.contains(&line), "{said}");

    let [scored, decoded, values] =
        ["scores.jsonl", "out.jsonl", "rows.jsonl"].map(|file| objects(&scene.text(file)));
    assert_eq!([scored.len(), decoded.len(), values.len()], [40, 40, 80]);
    for ((scored, decoded), values) in scored.iter().zip(&decoded).zip(values.chunks(2)) {
        let of_reference =
            ["reference_score", "reference_length", "reference_correct"].map(|key| &decoded[key]);
        assert_eq!(of_reference, ["score", "length", "correct"].map(|key| &scored[key]));
        let [score, length] = ["score", "length"].map(|key| scored[key].as_f64().unwrap());
        let value = values[0]["perplexity"].as_f64().unwrap();
        assert!((value / (-score / length).exp() - 1.0).abs() < 1e-6, "{value}: {scored}");
    }
    let text = scene.seqloom(&evaluate).succeeded().stdout;
    let line = text.lines().find(|line| line.starts_with("perplexity")).unwrap();
    let cells: Vec<&str> = line.split_whitespace().take(3).collect();
    assert_eq!(cells, ["perplexity", "runs/other", &format!("{perplexity:.3}")], "{text}");
}

#[test]
fn a_shortlist_does_not_change_the_scores_of_references() {
    let scene = Scene::trained();
    let list = json!({"format": 1, "frequent": ["a"], "lists": {"c": ["d"]}});
    scene.write("list.json", list.to_string());
    let decode = |more: &[&str]| -> Vec<Value> {
        let own = ["--input", "valid.csv", "--format", "jsonl", "--score-references"];
        let rows = objects(&scene.decode(&[&own[..], more].concat(), "").succeeded().stdout);
        rows.iter().map(|row| row["reference_score"].clone()).collect()
    };
    assert_eq!(decode(&["--shortlist", "list.json"]), decode(&[]));
}

#[test]
fn a_reference_that_cannot_be_scored_is_counted_or_refused() {
    let scene = Scene::trained();
    scene.write("in.csv", "source,target\nabc,abc\nab,abababab\n");
    let short = ["--input", "in.csv", "--set", "data.target.max_length=5"];
    let to = ["--score-references", "--format", "jsonl", "--summary", "summary.json"];
    let finished = scene.decode(&[&short[..], &to].concat(), "").succeeded();
    let rows = objects(&finished.stdout);
    assert_eq!((&rows[0]["reference_length"], &rows[1]["reference_length"]), (&json!(4), &Value::Null));
    let summary = read(&scene, "summary.json");
    assert_eq!((&summary["unscored_references"], &summary["rows"]), (&json!(1), &json!(2)));
    let note = "note: references without a score: 1 (token accuracy and perplexity are without them); the first: in.csv:3: a \
                target may have 5 tokens";
    assert!(finished.stderr.contains(note) && summary["perplexity"].is_f64(), "{}", finished.stderr);

    let evaluate = ["evaluate", "runs/copy", "--metrics", "perplexity"];
    scene
        .seqloom(&[&evaluate[..], &short].concat())
        .refused_naming(2, &["in.csv:3: a target may have 5 tokens"]);
    scene.write("in.csv", "source,target\nab,abababab\n");
    let none = scene.decode(&[&short[..], &to].concat(), "").succeeded();
    assert!(!none.stderr.contains("perplexity 1"), "{}", none.stderr);
    assert_eq!(read(&scene, "summary.json")["perplexity"], Value::Null);
}

#[test]
fn symbols_of_references_that_are_not_in_the_vocabulary_are_counted() {
    let scene = Scene::trained();
    scene.write("in.csv", "source,target\nabc,aXc\nab,ab\nabc,YaZ\n");
    let decode = ["--input", "in.csv", "--summary", "summary.json"];
    let scored = scene.decode(&[&decode[..], &["--score-references"]].concat(), "").succeeded();
    let note = "note: symbols of the references that are not in the vocabulary: 3 (scored as <unk>)\n";
    assert!(scored.stderr.contains(note), "{}", scored.stderr);
    assert_eq!(read(&scene, "summary.json")["unknown_references"], 3);
    let score = scene.seqloom(&["score", "runs/copy", "--input", "in.csv", "--output", "scores.csv"]);
    let theirs = note.replace("references", "targets");
    assert!(score.succeeded().stderr.contains(&theirs));
    // Metrics of outputs compare texts.
    assert!(!scene.decode(&decode, "").succeeded().stderr.contains("symbols of the references"));
}

#[test]
fn what_needs_a_model_or_the_same_tokens_is_refused() {
    let scene = Scene::trained();
    scene.write("ref.txt", "abc\n");
    scene.write("table.csv", "reference,output\na,a\n");
    let needs =
        ["needs a model that scores the references, but no RUN is named", "`seqloom score` computes it"];
    for texts in [&["--references", "ref.txt", "--outputs", "ref.txt"][..], &["--input", "table.csv"]] {
        for metric in ["token_accuracy", "perplexity"] {
            let evaluate = [&["evaluate", "--metrics", metric], texts].concat();
            scene.seqloom(&evaluate).refused_naming(2, &[&format!("`{metric}` {}", needs[0]), needs[1]]);
        }
    }
    let none = "--mbr must name a metric, but `perplexity` is not one; there are exact_match, ";
    scene.decode(&["--mbr", "perplexity"], "ab\n").refused_naming(2, &[none]);
    scene
        .decode(&["--score-references"], "ab\n")
        .refused_naming(2, &["--score-references needs references, but the input has none", "--targets"]);
    let pieces = ["--set", "training.steps=20", "--set", "data.target.bpe={ vocabulary = 40 }"];
    scene.train(&[&["--out", "runs/pieces"], &pieces[..]].concat()).succeeded();
    let both =
        ["evaluate", "runs/copy", "runs/pieces", "--input", "valid.csv", "--metrics", "chrf,perplexity"];
    let differ = "`perplexity` compares only runs with the same target tokens, but those of runs/copy and runs/pieces differ: kind is characters and bpe";
    scene.seqloom(&both).refused_naming(2, &[differ, "such as chrf"]);
}

/// An experiment with one seed.
fn experiment(scene: &Scene, out: &str, more: &[&str]) -> String {
    let mut arguments = [&["experiment", "--seeds", "1", "--out", out], more].concat();
    for setting in [
        "training.steps=20",
        "training.validate_every=20",
        "training.checkpoint_every=20",
        "training.metrics=[\"exact_match\", \"chrf\"]",
    ] {
        arguments.extend(["--set", setting]);
    }
    scene.seqloom(&arguments).succeeded().stdout
}

#[test]
fn an_experiment_has_both_metrics_unless_they_cannot_be_compared() {
    let scene = Scene::new(60, 12);
    scene.write("long.csv", format!("source,target\nab,ab\nab,{}\n", "a".repeat(600)));
    let sets = ["copy.toml", "--test", "valid=valid.csv", "--test", "long=long.csv"];
    let table = experiment(&scene, "one", &sets);
    let left_out = "are left out: copy-seed1 cannot score 1 reference (too long, or without a source)\n";
    for part in [
        "valid: token accuracy in %, higher is better, 12 rows\n",
        "valid: perplexity, lower is better, 12 rows\n",
        &format!("long: token accuracy and perplexity {left_out}"),
        "\nchrf: nrefs:1|case:mixed|eff:yes|",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(!table.contains("long: perplexity,") && !table.contains("valid: token accuracy and"), "{table}");
    let page = scene.text("one/index.html");
    for part in
        ["chrf: nrefs:1|", "validation perplexity", "validation token accuracy, %", left_out.trim_end()]
    {
        assert!(page.contains(part), "no {part}");
    }
    // Its numbers are those of `score`.
    let score = ["score", "one/runs/copy-seed1", "--input", "valid.csv", "--summary", "score.json"];
    scene.seqloom(&score).succeeded();
    let score = read(&scene, "score.json");
    let values = scene.text("one/table.csv");
    for metric in ["token_accuracy", "perplexity"] {
        let row = values.lines().find(|row| row.starts_with(&format!("valid,{metric},copy,"))).unwrap();
        let mean: f64 = row.split(',').nth(3).unwrap().parse().unwrap();
        assert_eq!(score[metric], mean, "{metric}");
    }

    scene.write(
        "pieces.toml",
        "extends = \"copy.toml\"\nname = \"pieces\"\n[data.target.bpe]\nvocabulary = 24\n",
    );
    let table = experiment(&scene, "two", &["copy.toml", "pieces.toml"]);
    let left_out = "valid: token accuracy and perplexity are left out: copy and pieces cut targets into different tokens (kind is \
                    characters and bpe)\n";
    assert!(table.contains(left_out) && !table.contains("valid: perplexity,"), "{table}");
}
