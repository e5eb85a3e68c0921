//! A GPU must behave like the CPU, with the binary as a user runs it. Without a GPU these tests print a note and check
//! nothing. The numbers of the model and of AdamW on every device are in model/golden.rs and model/stepping.rs.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::support::run::{Finished, Scene};
use crate::support::{assert_close, gpu};

const GPU: [&str; 2] = ["--set", "runtime.device=cuda"];
const BF16: [&str; 2] = ["--set", "runtime.precision=bf16"];

/// Whether there is a GPU; prints a note if not.
fn here() -> bool {
    let here = gpu().is_some();
    if !here {
        eprintln!("skipped: there is no GPU here");
    }
    here
}

fn train(scene: &Scene, out: &str, settings: &[&str], more: &[&str]) -> Finished {
    let settings = settings.iter().flat_map(|setting| ["--set", *setting]);
    let arguments: Vec<&str> =
        ["--out", out].into_iter().chain(GPU).chain(settings).chain(more.iter().copied()).collect();
    scene.train(&arguments)
}

fn tensors(scene: &Scene, run: &str, file: &str) -> BTreeMap<String, Tensor> {
    let path = scene.path(scene.checkpoint(run, "latest").join(file));
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

#[test]
fn a_run_resumed_on_a_gpu_equals_the_uninterrupted_one_to_five_digits() {
    if !here() {
        return;
    }
    let scene = Scene::new(60, 12).with_gpus();
    let settings = [
        "model.transformer.dropout=0.2",
        "training.accumulate=2",
        "training.tokens_per_batch=64",
        "training.validate_every=6",
        "training.checkpoint_every=4",
        "training.ema.decay=0.9",
    ];
    for precision in ["f32", "bf16"] {
        let precision = format!("runtime.precision={precision}");
        let settings = [&settings[..], &[&precision]].concat();
        let (whole, pieces) = (format!("whole-{precision}"), format!("pieces-{precision}"));
        train(&scene, &whole, &settings, &["--set", "training.steps=20"]).succeeded();
        for stop in ["training.steps=7", "training.steps=12", "training.steps=20"] {
            train(&scene, &pieces, &settings, &["--resume", "--set", stop]).succeeded();
        }
        for file in ["model.safetensors", "training.safetensors"] {
            let (ours, theirs) = (tensors(&scene, &pieces, file), tensors(&scene, &whole, file));
            assert!(ours.keys().eq(theirs.keys()));
            for (name, tensor) in ours {
                assert_close(&tensor, &theirs[&name], 1e-5, &format!("{precision}, {file}: {name}"));
            }
        }
    }
}

#[test]
fn a_model_trained_on_a_gpu_in_bf16_decodes_alike_there_and_on_the_cpu() {
    if !here() {
        return;
    }
    let scene = Scene::new(400, 40).with_gpus();
    scene.train(&[&GPU[..], &BF16].concat()).succeeded();
    let table = scene.text("valid.csv");
    let words: String =
        table.lines().skip(1).map(|row| format!("{}\n", row.split(',').next().unwrap())).collect();
    let decoded = |more: &[&str]| scene.decode(more, &words).succeeded().stdout;
    let exact = ["--set", "decoding.weights=f32"];
    for search in [&[][..], &["--beam", "4"], &["--set", "decoding.sampling.top_k=3"]] {
        let on_cpu = decoded(&[&["--set", "runtime.device=cpu"][..], &exact, search].concat());
        assert_eq!(decoded(&[&GPU[..], &exact, search].concat()), on_cpu, "{search:?}");
    }
    let in_bf16 = decoded(&GPU);
    let right = in_bf16.lines().zip(words.lines()).filter(|(ours, word)| ours == word).count();
    assert!(right >= 38, "{right} of 40 words are copied");
    let verified = [&["verify", "runs/copy"][..], &GPU, &exact].concat();
    let verified = scene.fed(&verified, words.as_bytes()).succeeded();
    assert!(verified.stdout.contains("checks passed"), "{verified:?}");
}

#[test]
fn every_regulariser_runs_on_a_gpu() {
    if !here() {
        return;
    }
    let scene = Scene::new(60, 12).with_gpus();
    let cases: [&[&str]; 6] = [
        &["training.r_drop=1.0", "model.transformer.dropout=0.1"],
        &["training.scheduled_sampling.share=0.3"],
        &["model.transformer.attention_dropout=0.2", "training.word_dropout=0.1"],
        &["model.transformer.positions=rotary", "training.freeze=[\"encoder.*\"]"],
        &["training.tokens_per_batch=auto", "training.memory_limit=2"],
        &["model.transformer.norm=rms_norm", "model.transformer.activation=swiglu", "training.accumulate=2"],
    ];
    for (n, case) in cases.iter().enumerate() {
        for precision in ["runtime.precision=f32", "runtime.precision=bf16"] {
            let settings = [case, &[precision, "training.steps=8", "training.log_every=4"][..]].concat();
            let run = format!("run-{n}-{precision}");
            train(&scene, &run, &settings, &[]).succeeded();
            let metrics = scene.text(format!("{run}/metrics.csv"));
            assert!(
                metrics.contains("\n8,") && !metrics.to_lowercase().contains("nan"),
                "{case:?}: {metrics}"
            );
        }
    }
}
