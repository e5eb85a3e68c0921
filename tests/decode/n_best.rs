//! Several outputs per row: each has its rank, and an input row counts once.

use serde_json::{Value, json};

use super::table;
use crate::support::run::{Scene, lines, objects, words};

/// Three of a beam of four.
const THREE: [&str; 4] = ["--beam", "4", "--set", "decoding.n_best=3"];

/// All letters of the model's language.
const BAN_ALL: &str = r#"decoding.banned=["a", "b", "c", "d", "e", "f", "g", "h"]"#;

#[test]
fn each_output_has_a_row_with_its_rank_and_score() {
    let scene = Scene::trained();
    scene.write("in.csv", "source,target\nabc,abc\n,ab\nhgfed,hgfed\n");
    let decode = |format: &str, more: &[&str]| {
        let arguments = [&THREE[..], &["--input", "in.csv", "--format", format], more].concat();
        scene.decode(&arguments, "").succeeded()
    };
    let finished = decode("jsonl", &["--summary", "s.json", "--examples", "9"]);
    let rows = objects(&finished.stdout);
    let ranks: Vec<u64> = rows.iter().map(|row| row["rank"].as_u64().unwrap()).collect();
    assert_eq!(ranks, [1, 2, 3, 1, 1, 2, 3]);
    assert_eq!([&rows[0], &rows[3], &rows[4]].map(|row| &row["output"]), ["abc", "", "hgfed"]);
    for row in rows.iter().filter(|row| row["finished"] == true && row["output"] != "") {
        let length = row["output"].as_str().unwrap().chars().count() + 1;
        let [score, ranking] = ["score", "ranking"].map(|key| row[key].as_f64().unwrap());
        assert!((ranking - score / length as f64).abs() < 1e-9, "{row}");
    }
    assert!(rows[0]["ranking"].as_f64() > rows[1]["ranking"].as_f64(), "the best first");
    // Only the best one is compared with the reference.
    let summary: Value = serde_json::from_str(&scene.text("s.json")).unwrap();
    assert_eq!(
        (&summary["rows"], &summary["outputs"], &summary["exact_match"]),
        (&json!(3), &json!(7), &json!(2.0 / 3.0))
    );
    assert_eq!(finished.stderr.matches("->").count(), 3, "{}", finished.stderr);

    let text = decode("csv", &[]).stdout;
    let rows = table(&text);
    assert_eq!(rows[0], ["source", "reference", "rank", "output", "score", "ranking", "finished"]);
    assert_eq!((rows.len(), &rows[1][..4]), (8, &["abc", "abc", "1", "abc"].map(String::from)[..]));
    let one = scene.decode(&["--input", "in.csv", "--format", "csv", "--beam", "4"], "").succeeded().stdout;
    assert_eq!(table(&one)[0], ["source", "reference", "output", "score", "finished"]);
}

#[test]
fn text_has_one_line_per_row() {
    Scene::trained().decode(&THREE, "ab\n").refused(
        2,
        "error: text output has one line per row, but `decoding.n_best` is 3\n\
         hint: use --format csv or --format jsonl, or --n-best 1",
    );
    Scene::trained().decode(&["--format", "csv", "--set", "decoding.n_best=3"], "ab\n").refused(
        2,
        "error: --set decoding.n_best=3: `n_best` must be at most `beam`, but they are 3 and 1\n\
         hint: widen `beam` to 3 or more",
    );
}

#[test]
fn as_many_samples_as_requested_are_written_and_missing_outputs_reported() {
    let scene = Scene::trained();
    let form = ["--format", "jsonl", "--input-format", "text"];
    let decode = |more: &[&str]| scene.decode(&[&form[..], more].concat(), "abc\n").succeeded();
    let samples = decode(&["--set", "decoding.sampling={}", "--set", "decoding.n_best=5"]);
    assert_eq!(objects(&samples.stdout).len(), 5);
    // Groups without a diversity penalty find the same outputs, and continue.
    let groups = ["--set", "decoding.beam_groups=4", "--set", "decoding.diversity_strength=0.0"];
    let all = decode(&[&THREE[..], &groups].concat());
    assert_eq!(objects(&all.stdout).len(), 3);
    // Only EOS is allowed.
    let few = decode(&[&THREE[..], &["--set", BAN_ALL, "--set", "decoding.suppress_unknown=true"]].concat());
    assert_eq!(objects(&few.stdout).len(), 1);
    let note = "note: rows with fewer outputs than `decoding.n_best`: 1 (the search found no more)\n";
    assert_eq!(few.stderr, note);
}

#[test]
fn an_incomplete_group_is_decoded_again_and_input_rows_are_counted() {
    let scene = Scene::trained();
    let mut rows = words(9);
    // A row of one output, a row that is skipped, and one with line breaks and quotes.
    rows[2] = String::new();
    rows[5] = "\"a\"".repeat(300);
    rows[7] = "ab\"\"cd".into();
    scene.write("rows.txt", lines(&rows));
    for format in ["csv", "jsonl"] {
        let out = format!("out.{format}");
        let arguments = ["--input", "rows.txt", "--on-error", "skip", "--shard", "1/1", "--output", &out];
        let arguments = [&THREE[..], &arguments].concat();
        scene.decode(&arguments, "").succeeded();
        let whole = scene.read(&out);
        let cuts =
            [0, 10, whole.len() / 5, whole.len() / 2, whole.len() * 4 / 5, whole.len() - 1, whole.len()];
        for cut in cuts {
            scene.write(&out, &whole[..cut]);
            scene.decode(&[&arguments[..], &["--resume"]].concat(), "").succeeded();
            assert!(scene.read(&out) == whole, "{format}, cut after byte {cut}:\n{}", scene.text(&out));
        }
        assert_eq!(scene.text(&out).matches("hint").count(), 0);
        let fewer = ["--resume", "--set", "decoding.n_best=2"];
        let refused = scene.decode(&[&arguments[..], &fewer].concat(), "");
        let message = format!("at most 2 outputs per row (`decoding.n_best`), but {out} has one of rank 3\n");
        assert!(refused.code == Some(2) && refused.stderr.contains(&message), "{}", refused.stderr);
        assert!(scene.read(&out) == whole);
    }
    let shard =
        [&THREE[..], &["--input", "rows.txt", "--on-error", "skip", "--format", "jsonl", "--shard", "2/4"]];
    let rows = objects(&scene.decode(&shard.concat(), "").succeeded().stdout);
    let numbers: Vec<(u64, u64)> =
        rows.iter().map(|row| (row["row"].as_u64().unwrap(), row["rank"].as_u64().unwrap())).collect();
    assert_eq!(numbers, [(2, 1), (2, 2), (2, 3), (6, 1)], "the sixth is too long");
}
