//! Several models that decode together.

use seqloom::Decoder;

use crate::support::run::{Scene, lines, words};

#[test]
fn a_score_is_the_mean_of_the_models_scores() {
    let scene = Scene::two();
    let words = words(30);
    let runs = ["runs/copy", "runs/other"].map(|run| scene.path(run));
    let alone = runs.each_ref().map(|run| Decoder::with_overrides(run, &["decoding.beam=4"]).unwrap());
    let means: [fn(f64, f64) -> f64; 2] = [|one, other| (one + other) / 2.0, |_, _| f64::NAN];
    for (ensemble, mean) in ["log_probabilities", "probabilities"].into_iter().zip(means) {
        let settings = ["decoding.beam=4".to_owned(), format!("decoding.ensemble={ensemble}")];
        let together = Decoder::open_together(&runs, &settings).unwrap();
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
    let checked = ["decode", "runs/copy", "--with", "runs/other", "--input", "valid.csv", "--verify", "10"];
    scene.seqloom(&checked).succeeded();
}

#[test]
fn models_that_do_not_match_are_refused_with_the_first_difference() {
    let scene = Scene::trained();
    scene.write("letters.csv", "source,target\nxyz,xyz\nxy,xy\n");
    let train = |out: &str, settings: &[&str]| {
        let mut arguments = vec!["--out", out, "--set", "training.steps=1"];
        settings.iter().for_each(|setting| arguments.extend(["--set", *setting]));
        scene.train(&arguments).succeeded();
    };
    train("runs/letters", &["data.train=letters.csv", "data.valid=letters.csv"]);
    train("runs/words", &["data.source.words={}"]);
    let inspected = scene.seqloom(&["inspect", "runs/copy", "--vocabulary"]).succeeded().stdout;
    let first = inspected.split("\"<eos>\" ").nth(1).unwrap().split_whitespace().next().unwrap();
    let decode = |with: &str| scene.decode(&["--with", with], "ab\n");
    decode("runs/letters").refused(
        2,
        &format!(
            "error: models that decode together must have one target tokenizer, but its token 4 is {first} in runs/copy \
             and \"x\" in runs/letters"
        ),
    );
    decode("runs/words").refused(
        2,
        "error: models that decode together must have one source tokenizer, but its kind is characters in runs/copy and \
         words in runs/words",
    );
    decode("runs/none").refused_naming(2, &["there is no run, checkpoint or model file at runs/none"]);
}
