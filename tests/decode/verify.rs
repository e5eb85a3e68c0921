//! `seqloom verify`: its checks, and that it detects failures.

use seqloom::checkpoint::model_file;

use crate::support::run::Scene;

#[test]
fn a_correct_model_is_verified_with_a_line_for_each_check() {
    let scene = Scene::trained();
    let finished = scene.verify(&["--input", "valid.csv", "--beam", "3", "--rows", "20"], "").succeeded();
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert!(lines[0].starts_with("20 rows on the CPU ("), "{}", finished.stdout);
    assert_eq!(lines.last(), Some(&"all 12 checks passed, within 1e-5, and within 1e-4 without a cache"));
    assert!(lines[1..13].iter().all(|line| line.starts_with("ok  ")), "{}", finished.stdout);
    for what in [
        "ok        a beam of 3, batches of 1 against one of 20: 0 of 20 outputs differ, their scores by at most 0.0e0",
        "a beam of 3, batches of 1 against shuffled ones of 7: ",
        "a beam of 3, batches of 1 against up to 64 on all cores: ",
        "a beam of 3, tokens step by step against whole outputs without a cache: 20 outputs, at most ",
        "a beam of 3, scores of the search against those of the outputs: 20 outputs, at most 0.0e0 apart",
        "ok        a beam of 3, its lists by rank: 0 of 20 outputs are out of order",
        "ok        a beam of 3 against greedy search: 0 of 20 outputs rank below what greedy search finds, by at most 0.0e0",
        "samples with seed 1, batches of 1 against one of 20: 0 of 20 outputs differ",
    ] {
        assert!(finished.stdout.contains(what), "no {what:?} in\n{}", finished.stdout);
    }
    assert_eq!(finished.stderr, "");
    // All rows of a shorter input, from standard input, with a prefix, some of which are impossible.
    let finished = scene.verify(&["--prefix", "a"], "ab\n\ncd\n").succeeded();
    assert!(finished.stdout.contains("), of which 1 empty or skipped\n"), "{}", finished.stdout);
}

#[test]
fn differences_of_lower_precision_weights_are_reported_and_are_no_failure() {
    let scene = Scene::trained();
    for weights in ["int8", "bf16"] {
        let setting = format!("decoding.weights={weights}");
        let arguments = ["--input", "valid.csv", "--rows", "8", "--set", &setting];
        let finished = scene.verify(&arguments, "").succeeded();
        let reported: Vec<&str> =
            finished.stdout.lines().filter(|line| line.starts_with("reported  ")).collect();
        assert_eq!(reported.len(), 2, "{}", finished.stdout);
        assert!(
            reported[0]
                .to_lowercase()
                .contains(&format!("greedy search, weights in {weights} against f32: "))
        );
    }
    let arguments = ["--input", "valid.csv", "--rows", "8", "--set", "runtime.precision=bf16"];
    let finished = scene.verify(&arguments, "").succeeded();
    assert!(
        finished.stdout.contains("reported  greedy search, weights in F32, tokens step by step"),
        "{}",
        finished.stdout
    );
}

/// With logits this large, f32 has few digits left behind the point.
#[test]
fn a_failed_check_is_named_and_the_command_fails() {
    let scene = Scene::trained();
    let best = scene.path(scene.checkpoint("runs/copy", "best")).join("model.safetensors");
    let (header, mut weights) = model_file::read(&best).unwrap();
    for (name, weight) in weights.iter_mut().filter(|(name, _)| name.starts_with("decoder.norm")) {
        assert!(name.starts_with("decoder.norm."));
        *weight = &*weight * 1e4;
    }
    scene.write("large.safetensors", header.to_bytes(&weights).unwrap());
    let search = ["--beam", "4", "--set", "decoding.n_best=4", "--rows", "20"];
    let finished =
        scene.seqloom(&[&["verify", "large.safetensors", "--input", "valid.csv"][..], &search].concat());
    assert_eq!(finished.code, Some(1), "{}", finished.stdout);
    assert!(finished.stdout.contains("FAILED    a beam of 4, tokens step by step"), "{}", finished.stdout);
    assert!(
        finished.stderr.contains("of 12 checks failed: a beam of 4, tokens step by step"),
        "{}",
        finished.stderr
    );
}

#[test]
fn unsupported_options_of_verify_are_refused() {
    let scene = Scene::trained();
    scene.verify(&[], "\n\n").refused(
        2,
        "error: there must be a row to check, but all are empty or skipped\nhint: name other rows with --input",
    );
    let finished = scene.verify(&["--output", "a.txt"], "ab\n");
    assert!(
        finished.code == Some(2) && finished.stderr.contains("unexpected argument"),
        "{}",
        finished.stderr
    );
    assert_eq!(scene.verify(&["--rows", "0"], "ab\n").code, Some(2));
}

#[test]
fn a_removed_option_names_the_command_that_replaces_it() {
    let scene = Scene::trained();
    let gone = "error: `decode` no longer has this option\nhint: use `seqloom ";
    scene.decode(&["--verify"], "ab\n").refused(2, &format!("{gone}verify RUN`, with `--rows N`"));
    scene.decode(&["--interactive"], "").refused(2, &format!("{gone}interactive RUN`"));
}
