//! Beam search compared with greedy search, length limits, and replaced unknown symbols.

use seqloom::checkpoint::model_file;
use serde_json::Value;

use crate::support::run::{Scene, lines, objects, unsure_lines, words};

/// Twelve tokens and label smoothing: EOS is always among the most likely few tokens, but almost never likely.
#[test]
fn no_beam_ranks_below_greedy_search() {
    let scene = Scene::trained();
    scene.write("some.txt", unsure_lines(60));
    let outputs = |beam: &str, more: &[&str]| -> Vec<Value> {
        let arguments = ["--input", "some.txt", "--format", "jsonl", "--beam", beam];
        let n_best = if beam == "1" { "decoding.n_best=1" } else { "decoding.n_best=2" };
        let all = scene.decode(&[&arguments[..], &["--set", n_best], more].concat(), "").succeeded().stdout;
        objects(&all).into_iter().filter(|row| row["rank"].as_u64().unwrap_or(1) == 1).collect()
    };
    let length = |row: &Value| row["output"].as_str().unwrap().replace("<unk>", "?").chars().count() + 1;
    let ranking = |row: &Value| row["score"].as_f64().unwrap() / length(row) as f64;
    let is_right = |row: &&Value| row["output"] == row["source"];
    let greedy = outputs("1", &[]);
    for beam in ["2", "5", "10"] {
        let wide = outputs(beam, &[]);
        for (greedy, wide) in greedy.iter().zip(&wide).filter(|(greedy, _)| greedy["finished"] == true) {
            assert!(
                wide["finished"] == true && ranking(wide) >= ranking(greedy) - 1e-9,
                "{wide}, not {greedy}"
            );
        }
        assert!(wide.iter().filter(is_right).count() >= greedy.iter().filter(is_right).count());
    }
    // Stopping at the first finished output can rank below greedy search; `verify` reports it, and it is no failure.
    let finished = scene
        .verify(&["--input", "valid.csv", "--set", "decoding.stop=first", "--rows", "20"], "")
        .succeeded();
    assert!(finished.stdout.contains("reported  a beam of 5 against greedy search: "), "{}", finished.stdout);
    assert!(!finished.stdout.contains("greedy search: 0 of 20"), "{}", finished.stdout);
}

/// The target of each letter is a long text.
fn long_targets(scene: &Scene) {
    let rows: String =
        "abcdef".chars().map(|letter| format!("{letter},{letter}{}\n", "ghijk".repeat(15))).collect();
    scene.write("train.csv", format!("source,target\n{rows}"));
    scene.write("valid.csv", format!("source,target\n{rows}abc,abc\n"));
    scene.write("copy.toml", scene.text("copy.toml").replace("max_length_offset = 4", ""));
}

#[test]
fn outputs_may_be_as_long_as_the_training_targets() {
    let scene = Scene::new(9, 3);
    long_targets(&scene);
    let one_step = ["--set", "training.steps=1", "--out"];
    let finished = scene.train(&[&one_step[..], &["run"]].concat()).succeeded();
    assert!(!finished.stderr.contains("references longer than an output may be"), "{}", finished.stderr);
    let model = scene.path(scene.checkpoint("run", "best")).join("model.safetensors");
    let decoding = &model_file::read(&model).unwrap().0.config["decoding"];
    // Sources have a token, targets 76, and 77 with EOS.
    assert_eq!(
        (decoding["max_length_factor"].as_f64(), decoding["max_length_offset"].as_u64()),
        (Some(76.0), Some(50))
    );
    // The run's config keeps the keys as given, so that the run can resume.
    assert!(!scene.text("run/config.toml").contains("max_length_"), "{}", scene.text("run/config.toml"));
    scene.train(&["--set", "training.steps=2", "--out", "run", "--resume"]).succeeded();

    let short = [&one_step[..], &["short", "--set", "decoding.max_length_offset=60"]].concat();
    let finished = scene.train(&short).succeeded();
    let note = "note: validation references longer than an output may be (`decoding.max_length`): 6 of 7; no output can match \
                them; the first is valid.csv:2: 77 tokens with <eos>, but at most 62 are allowed\n";
    assert!(finished.stderr.contains(note), "{}", finished.stderr);
    let stderr =
        scene.seqloom(&["decode", "short", "--input", "valid.csv", "--summary", "s.json"]).succeeded().stderr;
    let note = "note: references longer than an output may be: 6 (`decoding.max_length`; no output can match them); the \
                first: valid.csv:2\n";
    assert!(stderr.contains(note), "{stderr}");
    assert!(scene.text("s.json").contains("\"beyond_the_limit\":6"), "{}", scene.text("s.json"));
}

/// A model whose only possible token is UNK.
#[test]
fn an_unknown_symbol_is_replaced_by_the_attended_source_symbol() {
    let scene = Scene::trained();
    let only_unknown = r#"decoding.banned=["a", "b", "c", "d", "e", "f", "g", "h"]"#;
    let arguments =
        ["--set", only_unknown, "--set", "decoding.min_length=3", "--format", "jsonl", "--beam", "2"];
    let decode = |more: &[&str]| {
        objects(&scene.decode(&[&arguments[..], more].concat(), "xyz\nqé\nab\n").succeeded().stdout)
    };
    let (plain, replaced) = (
        decode(&["--set", "decoding.n_best=2"]),
        decode(&["--set", "decoding.n_best=2", "--replace-unknown"]),
    );
    for (plain, replaced) in plain.iter().zip(&replaced) {
        let [plain_text, text] = [plain, replaced].map(|row| row["output"].as_str().unwrap());
        assert!(plain_text.contains("<unk>") && plain["score"] == replaced["score"], "{plain}");
        assert_eq!(text.chars().count(), plain_text.matches("<unk>").count(), "{replaced}");
        let source = plain["source"].as_str().unwrap();
        assert!(text.chars().all(|symbol| source.contains(symbol)), "{replaced}");
    }
    let finished =
        scene.decode(&[&arguments[..4], &["--replace-unknown"]].concat(), &lines(&words(3))).succeeded();
    assert!(
        finished.stderr.contains("unknown symbols of the outputs, replaced by symbols of their sources: "),
        "{}",
        finished.stderr
    );
}
