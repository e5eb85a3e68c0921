//! Ensembles of several models.

use seqloom::Predictor;

use crate::support::run::{Scene, lines, objects, words};

#[test]
fn a_score_is_the_mean_of_the_models_scores() {
    let scene = Scene::two();
    let words = words(30);
    let runs = ["runs/copy", "runs/other"].map(|run| scene.path(run));
    let alone = runs.each_ref().map(|run| Predictor::with_overrides(run, &["decoding.beam=4"]).unwrap());
    let means: [fn(f64, f64) -> f64; 2] = [|one, other| (one + other) / 2.0, |_, _| f64::NAN];
    for (ensemble, mean) in ["log_probabilities", "probabilities"].into_iter().zip(means) {
        let settings = ["decoding.beam=4".to_owned(), format!("decoding.ensemble={ensemble}")];
        let together = Predictor::open_together(&runs, &settings).unwrap();
        let outputs = together.outputs(&words).unwrap();
        let pairs: Vec<(&str, &str)> =
            words.iter().zip(&outputs).map(|(word, output)| (word.as_str(), output.text.as_str())).collect();
        let [one, other, both] =
            [&alone[0], &alone[1], &together].map(|decoder| decoder.score(&pairs).unwrap());
        for (row, output) in outputs.iter().enumerate().filter(|(_, output)| output.hypothesis.finished) {
            let score = output.hypothesis.score;
            assert!((score - both[row]).abs() < 1e-4, "{ensemble}: {score}, {}", both[row]);
            let mean = mean(one[row], other[row]);
            assert!(mean.is_nan() || (score - mean).abs() < 1e-4, "{ensemble}: {score}, {mean}");
            // Means are between: that of probabilities is never below that of their logarithms.
            assert!(score > (one[row] + other[row]) / 2.0 - 1e-4, "{ensemble}: {score}");
        }
    }
}

#[test]
fn two_models_decode_on_the_command_line_and_the_batch_changes_nothing() {
    let scene = Scene::two();
    let sources = lines(&words(40));
    let decode = |run: &str, more: &[&str]| {
        let arguments = [&["decode", run, "--format", "csv", "--beam", "3"], more].concat();
        scene.fed(&arguments, sources.as_bytes()).succeeded().stdout
    };
    let together = decode("runs/copy", &["--with", "runs/other"]);
    assert_ne!(together, decode("runs/copy", &[]));
    assert_ne!(together, decode("runs/other", &[]));
    for setting in ["decoding.batch_size=1", "decoding.batch_size=7", "runtime.threads=1"] {
        assert_eq!(decode("runs/copy", &["--with", "runs/other", "--set", setting]), together, "{setting}");
    }
    assert_eq!(decode("runs/copy", &["--with", "runs/copy"]), decode("runs/copy", &[]));
    let checked = ["verify", "runs/copy", "--with", "runs/other", "--input", "valid.csv", "--rows", "10"];
    scene.seqloom(&checked).succeeded();
}

/// The search options are those of the first model; the other models' settings are ignored.
#[test]
fn the_search_options_of_the_other_models_do_not_matter() {
    let scene = Scene::trained();
    let groups =
        ["--set", "decoding.beam=4", "--set", "decoding.beam_groups=2", "--set", "training.steps=60"];
    scene.train(&[&["--out", "runs/groups"][..], &groups].concat()).succeeded();
    let decode = |more: &[&str]| {
        let both = ["decode", "runs/copy", "--with", "runs/groups"];
        scene.fed(&[&both[..], more].concat(), b"abc\nfed\n").succeeded().stdout
    };
    assert_eq!(decode(&["--beam", "3"]).lines().count(), 2);
    let samples = decode(&["--set", "decoding.sampling.temperature=0.01"]);
    assert_eq!(samples, decode(&[]), "samples as cold as these are greedy search");
}

/// Each model tokenizes the source as in its training: only the target tokens must be the same.
#[test]
fn models_that_tokenize_sources_differently_decode_together() {
    let scene = Scene::trained();
    for (run, cut) in
        [("runs/pieces", "data.source.bpe={ vocabulary = 40 }"), ("runs/words", "data.source.words={}")]
    {
        scene.train(&["--out", run, "--set", "training.steps=60", "--set", cut]).succeeded();
    }
    let words = words(20);
    let runs = ["runs/copy", "runs/pieces", "runs/words"].map(|run| scene.path(run));
    let settings = ["decoding.beam=3"];
    let alone = runs.each_ref().map(|run| Predictor::with_overrides(run, &settings).unwrap());
    let together = Predictor::open_together(&runs, &settings).unwrap();
    let outputs = together.outputs(&words).unwrap();
    let pairs: Vec<(&str, &str)> =
        words.iter().zip(&outputs).map(|(word, output)| (word.as_str(), output.text.as_str())).collect();
    let scores = alone.each_ref().map(|decoder| decoder.score(&pairs).unwrap());
    let both = together.score(&pairs).unwrap();
    for (row, output) in outputs.iter().enumerate().filter(|(_, output)| output.hypothesis.finished) {
        let mean = scores.iter().map(|scores| scores[row]).sum::<f64>() / 3.0;
        assert!((output.hypothesis.score - mean).abs() < 1e-4, "{} and {mean}", output.hypothesis.score);
        assert_eq!(output.hypothesis.score, both[row]);
    }
    let sources = lines(&words);
    let with = ["--with", "runs/pieces", "--with", "runs/words", "--beam", "3", "--format", "csv"];
    let decode = |more: &[&str]| scene.decode(&[&with[..], more].concat(), &sources).succeeded().stdout;
    let all = decode(&[]);
    assert_eq!(all, decode(&["--set", "decoding.batch_size=3"]));
    // The attention is the first one's, over its own tokens.
    decode(&["--output", "o.csv", "--trace", "t.jsonl"]);
    let trace = objects(&scene.text("t.jsonl"));
    assert!(trace.iter().all(|row| {
        let tokens = row["source_tokens"].as_array().unwrap().len();
        row["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|step| step["attention"].as_array().unwrap().len() == tokens)
    }));
    // The limit is that of each: as one word a long source is short.
    let long = ["--set", "data.source.max_length=3"];
    let refused = scene.decode(&[&with[..], &long].concat(), "abcdefgh\n");
    assert!(refused.code == Some(2) && refused.stderr.contains("this row's has 8"), "{}", refused.stderr);
    let cut = scene.decode(&[&with[..], &long, &["--truncate"]].concat(), "abcdefgh\n").succeeded();
    assert!(cut.stdout.contains(",true"), "{}", cut.stdout);
}

#[test]
fn mismatched_models_are_refused_with_the_first_difference() {
    let scene = Scene::trained();
    scene.write("letters.csv", "source,target\nxyz,xyz\nxy,xy\n");
    let train = |out: &str, settings: &[&str]| {
        let mut arguments = vec!["--out", out, "--set", "training.steps=1"];
        settings.iter().for_each(|setting| arguments.extend(["--set", *setting]));
        scene.train(&arguments).succeeded();
    };
    train("runs/letters", &["data.train=letters.csv", "data.valid=letters.csv"]);
    let inspected = scene.seqloom(&["inspect", "runs/copy", "--vocabulary"]).succeeded().stdout;
    let first = inspected.split("\"<eos>\" ").nth(1).unwrap().split_whitespace().next().unwrap();
    let decode = |with: &str| scene.decode(&["--with", with], "ab\n");
    decode("runs/letters").refused(
        2,
        &format!(
            "error: the models of an ensemble must have the same target vocabulary, but token 4 is {first} in runs/copy \
             and \"x\" in runs/letters"
        ),
    );
    decode("runs/none").refused_naming(2, &["there is no run, checkpoint or model file at runs/none"]);
}
