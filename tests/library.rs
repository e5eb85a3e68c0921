//! seqloom as a library: the example equals the command, and failures are errors.

#[allow(dead_code)] // Its `main` is for people.
#[path = "../examples/decode.rs"]
mod example;

use seqloom::Predictor;

use crate::support::run::{Scene, words};

#[test]
fn the_example_prints_the_outputs_of_the_command() {
    let scene = Scene::trained();
    let words = words(60);
    let texts: Vec<&str> = words.iter().map(String::as_str).chain(["", "hgfed"]).collect();
    let outputs = example::decode(&scene.path("runs/copy"), &texts).unwrap();
    let stdout = scene.decode(&["--beam", "5"], &(texts.join("\n") + "\n")).succeeded().stdout;
    assert_eq!(outputs, stdout.lines().collect::<Vec<_>>());
    assert_eq!(outputs[60], "");
}

#[test]
fn a_predictor_returns_scores_and_flags_and_scores_pairs() {
    let scene = Scene::trained();
    let settings = ["runtime.threads=1", "runtime.device=cpu", "decoding.max_length=4"];
    let decoder = Predictor::with_overrides(scene.path("runs/copy"), &settings).unwrap();
    let outputs = decoder.outputs(&["abc", "abcdefg"]).unwrap();
    assert_eq!((outputs[0].text.as_str(), outputs[0].hypothesis.finished), ("abc", true));
    assert_eq!((outputs[1].text.as_str(), outputs[1].hypothesis.finished), ("abcd", false));
    let counted = decoder.outputs(&["aZbÄ", "abc", " "]).unwrap();
    assert_eq!(counted.iter().map(|output| output.unknown).collect::<Vec<_>>(), [2, 0, 0]);
    assert_eq!(decoder.unknown_symbols("aZbÄ"), ["Z", "Ä"]);
    let scores = decoder.score(&[("abc", "abc"), ("abc", "cba"), ("", "")]).unwrap();
    assert!((scores[0] - outputs[0].hypothesis.score).abs() < 1e-5, "{scores:?}");
    assert!(scores[1] < scores[0] && scores[2] == 0.0, "{scores:?}");
    // It may move to another thread, and be used again.
    let again = std::thread::spawn(move || decoder.decode(&["abc".to_owned()])).join().unwrap().unwrap();
    assert_eq!(again, ["abc"]);
}

#[test]
fn invalid_input_is_an_error_and_no_panic() {
    let scene = Scene::trained();
    let run = scene.path("runs/copy");
    let refused = |path: &std::path::Path, settings: &[&str]| {
        Predictor::with_overrides(path, settings).err().map(|error| error.message().to_owned()).unwrap()
    };
    assert!(
        refused(&scene.path("nowhere"), &[]).starts_with("there is no run, checkpoint or model file at ")
    );
    assert!(refused(&run, &["decoding.beam=0"]).contains("`beam` must be at least 1"));
    assert!(
        refused(&run, &["seed=2"])
            .contains("only decoding.*, runtime.* and data.*.max_length can be set here")
    );
    let decoder = Predictor::with_overrides(&run, &["runtime.threads=1"]).unwrap();
    let error = decoder.decode(&["ab", &"a".repeat(513)]).unwrap_err();
    assert!(error.message().starts_with("text 1: a source may have 512 tokens"), "{error}");
    let error = decoder.score(&[("", "ab")]).unwrap_err();
    assert_eq!(error.message(), "pair 0: a target must have a source, but it is empty");
    assert_eq!(decoder.decode(&[] as &[&str]).unwrap(), Vec::<String>::new());
}

#[test]
fn n_best_lists_prefixes_and_ensembles_work_from_rust() {
    let scene = Scene::trained();
    let run = scene.path("runs/copy");
    let settings = ["runtime.threads=1", "runtime.device=cpu", "decoding.beam=4", "decoding.n_best=3"];
    let decoder = Predictor::with_overrides(&run, &settings).unwrap();
    let lists = decoder.n_best(&["abc", "", "hgfed"]).unwrap();
    assert_eq!(lists.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1, 3]);
    assert_eq!([&lists[0][0].text, &lists[1][0].text, &lists[2][0].text], ["abc", "", "hgfed"]);
    assert_eq!(decoder.decode(&["abc"]).unwrap(), ["abc"]);

    let begun = decoder.complete(&[("abc", "ca"), ("abc", ""), ("", "ca")]).unwrap();
    assert!(begun[0].iter().all(|output| output.text.starts_with("ca")), "{:?}", begun[0]);
    assert_eq!((&begun[1], &begun[2]), (&lists[0], &lists[1]));
    let error = decoder.complete(&[("abc", ""), ("abc", "axa")]).unwrap_err();
    let expected =
        "text 1: a prefix must consist of symbols of the target's vocabulary, but it lacks 1 of `axa`";
    assert_eq!((error.message(), error.exit_code()), (expected, 2));

    let together = Predictor::open_together(&[&run, &run], &settings).unwrap();
    assert_eq!(together.n_best(&["abc", "", "hgfed"]).unwrap(), lists);
    let nothing: [&str; 0] = [];
    assert!(Predictor::open_together(&nothing, &settings).is_err());
}
