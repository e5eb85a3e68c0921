//! The recurrent network on the command line: the same properties as the Transformer.

use crate::support::run::{Finished, Scene, lines, numbers, objects, unsure_lines, words};

/// Replaces the file's [model.transformer].
const NETWORK: &str = "model.recurrent={width=32,encoder_layers=2,decoder_layers=2,dropout=0.0}";

fn train(scene: &Scene, out: &str, more: &[&str]) -> Finished {
    let settings = [NETWORK].iter().chain(more).flat_map(|setting| ["--set", *setting]);
    scene.train(&["--out", out].into_iter().chain(settings).collect::<Vec<_>>())
}

/// With the finished run `runs/copy`.
fn trained() -> Scene {
    let scene = Scene::new(400, 40);
    train(&scene, "runs/copy", &[]).succeeded();
    scene
}

/// The words of the validation, which a model has not seen.
fn unseen() -> String {
    lines(&words(440)[400..])
}

/// How many of them were copied.
fn right(outputs: &str) -> usize {
    outputs.lines().zip(unseen().lines()).filter(|(output, word)| output == word).count()
}

#[test]
fn it_learns_and_decodes_with_every_search() {
    let scene = trained();
    let rows = scene.metrics("runs/copy", "valid");
    let exact = numbers(&rows, "exact_match");
    // A few hundred words do not teach it to copy all others.
    assert!(exact.first() < exact.last() && exact.last() >= Some(&0.75), "{exact:?}");
    let outputs = |more: &[&str]| scene.decode(more, &unseen()).succeeded().stdout;
    assert!(right(&outputs(&[])) >= 30, "greedy");
    assert!(right(&outputs(&["--set", "decoding.beam=4"])) >= 30, "a beam");
    let lists = outputs(&["--set", "decoding.beam=4", "--set", "decoding.n_best=3", "--format", "jsonl"]);
    assert_eq!(objects(&lists).len(), 3 * 40);
    let unsure = unsure_lines(60);
    let decode = |more: &[&str]| scene.decode(more, &unsure).succeeded().stdout;
    let beam = ["--set", "decoding.beam=3"];
    let one = decode(&[&beam[..], &["--set", "decoding.batch_size=1"]].concat());
    let four = decode(&[&beam[..], &["--set", "runtime.threads=4"]].concat());
    assert_eq!(one, four, "batches and threads change nothing");
    for weights in ["bf16", "int8"] {
        decode(&["--set", &format!("decoding.weights={weights}")]);
    }
    scene.write("unsure.txt", &unsure);
    for weights in ["f32", "int8"] {
        let weights = format!("decoding.weights={weights}");
        let verified = scene.verify(&["--input", "unsure.txt", "--set", &weights], "").succeeded();
        assert!(verified.stdout.contains("checks passed"), "{weights}: {}", verified.stdout);
    }
}

#[test]
fn inspection_ensembles_and_averages_support_it() {
    let scene = trained();
    let traced = scene.decode(&["--trace", "trace.jsonl"], "abc\n").succeeded().stdout;
    assert_eq!(traced, "abc\n");
    assert!(scene.text("trace.jsonl").contains("attention"));
    scene.seqloom(&["inspect", "runs/copy", "--tensors"]).succeeded();
    let scored = scene.seqloom(&["score", "runs/copy", "--input", "valid.csv"]).succeeded();
    assert_eq!(scored.stdout.lines().count(), 40, "a score for each pair");
    // Another network beside it, over the same vocabularies.
    let other = ["--out", "runs/other", "--set", "training.steps=150"];
    scene.train(&other).succeeded();
    let both = scene.decode(&["--with", "runs/other"], &unseen()).succeeded().stdout;
    assert!(right(&both) >= 30, "{both}");
    let from = |more: &[&str]| scene.train(&[&["--from", "runs/copy", "--out", "fine"], more].concat());
    from(&["--set", "training.steps=1"]).refused_naming(2, &["the weight `"]);
    from(&["--set", "training.steps=1", "--set", NETWORK]).succeeded();
    scene.seqloom(&["average", "runs/copy", "--last", "2"]).succeeded();
}

#[test]
fn a_resumed_run_equals_the_uninterrupted_one_for_any_number_of_threads() {
    let scene = Scene::new(60, 12);
    let settings = |steps, threads| {
        let fixed = ["training.tokens_per_batch=96", "training.shards=4", "model.recurrent.dropout=0.2"];
        let every = ["training.log_every=4", "training.validate_every=8", "training.checkpoint_every=4"];
        let own = [format!("training.steps={steps}"), format!("runtime.threads={threads}")];
        fixed.into_iter().chain(every).map(str::to_owned).chain(own).collect::<Vec<_>>()
    };
    let run = |out: &str, steps: usize, threads: usize, more: &[&str]| {
        let settings = settings(steps, threads);
        let all = [NETWORK].into_iter().chain(settings.iter().map(String::as_str));
        let all = all.flat_map(|setting| ["--set", setting]);
        let all = ["--out", out].into_iter().chain(all).chain(more.iter().copied());
        scene.train(&all.collect::<Vec<_>>()).succeeded();
    };
    run("whole", 16, 1, &[]);
    run("parts", 8, 2, &[]);
    run("parts", 16, 4, &["--resume"]);
    let model = |run: &str| scene.read(scene.checkpoint(run, "latest").join("model.safetensors"));
    assert!(model("whole") == model("parts"), "the weights");
    assert_eq!(scene.text("whole/metrics.csv"), scene.text("parts/metrics.csv"));
}
