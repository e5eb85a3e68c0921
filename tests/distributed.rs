//! Several ranks: they train as one would, they end together, and what cannot be is refused on each of them.

mod faults;
mod refused;

use std::net::TcpListener;
use std::process::{Child, Command};

use crate::support::run::{Finished, Scene, binary, listened_to};

/// An update of four shards, with all that draws random numbers or follows the weights.
const SETTINGS: [&str; 11] = [
    "training.steps=24",
    "training.log_every=4",
    "training.validate_every=12",
    "training.checkpoint_every=8",
    "training.tokens_per_batch=64",
    "training.accumulate=2",
    "training.shards=4",
    "training.word_dropout=0.1",
    "training.ema.decay=0.9",
    "model.transformer.dropout=0.2",
    "runtime.rank_timeout=20",
];

fn settings<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let settings = SETTINGS.iter().chain(more.iter().filter(|more| more.contains('=')));
    let options = more.iter().copied().filter(|more| !more.contains('='));
    settings.flat_map(|setting| ["--set", setting]).chain(options).collect()
}

/// A port that nothing listens on.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// `seqloom train copy.toml` as one of several ranks.
fn rank(scene: &Scene, place: (usize, usize), port: u16, arguments: &[&str]) -> Command {
    let mut command = binary(&scene.path(""));
    command.env("RANK", place.0.to_string()).env("WORLD_SIZE", place.1.to_string());
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
    command.args(["train", "copy.toml"]).args(arguments);
    command
}

/// All ranks of a run, started by hand.
fn start(scene: &Scene, ranks: usize, arguments: &[&str]) -> Vec<Child> {
    let port = free_port();
    (0..ranks).map(|number| listened_to(&mut rank(scene, (number, ranks), port, arguments))).collect()
}

fn finished(ranks: Vec<Child>) -> Vec<Finished> {
    ranks.into_iter().map(Finished::of).collect()
}

fn train(scene: &Scene, ranks: usize, out: &str, more: &[&str]) {
    let arguments = [&["--out", out][..], &settings(more)].concat();
    for finished in finished(start(scene, ranks, &arguments)) {
        finished.succeeded();
    }
}

/// What must be the same bytes, whoever trained.
fn assert_same_run(scene: &Scene, one: &str, other: &str) {
    assert_eq!(
        scene.text(format!("{one}/metrics.csv")),
        scene.text(format!("{other}/metrics.csv")),
        "{other}"
    );
    let files = |run: &str| scene.files(&format!("{run}/checkpoints"));
    assert!(
        files(one).into_values().eq(files(other).into_values()),
        "the checkpoints of {one} and {other} differ"
    );
    assert!(files(one).into_keys().count() >= 4);
}

#[test]
fn two_and_four_ranks_write_the_files_of_one() {
    let scene = Scene::new(120, 40);
    train(&scene, 1, "one", &[]);
    for ranks in [2, 4] {
        let out = ranks.to_string();
        train(&scene, ranks, &out, &[]);
        assert_same_run(&scene, "one", &out);
    }
}

/// bf16, whole updates of one batch in two shards, R-drop, and no clipping.
#[test]
fn the_same_holds_in_bf16() {
    let scene = Scene::new(120, 40);
    let other = [
        "runtime.precision=bf16",
        "training.accumulate=1",
        "training.r_drop=1.0",
        "training.clip_norm=0",
        "training.steps=12",
    ];
    train(&scene, 1, "one", &other);
    train(&scene, 4, "four", &other);
    assert_same_run(&scene, "one", "four");
}

#[test]
fn a_run_goes_on_on_any_number_of_ranks() {
    let scene = Scene::new(120, 40);
    train(&scene, 1, "one", &[]);
    for (ranks, steps) in [(4, "training.steps=8"), (1, "training.steps=16"), (2, "training.steps=24")] {
        train(&scene, ranks, "some", &[steps, "--resume"]);
    }
    assert_eq!(scene.text("one/metrics.csv"), scene.text("some/metrics.csv"));
    for name in ["model.safetensors", "training.safetensors"] {
        let [one, some] = ["one", "some"].map(|run| scene.read(scene.checkpoint(run, "latest").join(name)));
        assert!(one == some, "{name}");
    }
}

#[test]
fn the_command_starts_ranks_and_passes_on_its_exit_code() {
    let scene = Scene::new(120, 40);
    train(&scene, 1, "one", &[]);
    let with =
        |more: &[&str]| scene.train(&[&["--ranks", "2", "--out", "two"][..], &settings(more)].concat());
    let stderr = with(&[]).succeeded().stderr;
    assert!(stderr.starts_with("2 ranks, started by RANK and WORLD_SIZE\n"), "{stderr}");
    assert_same_run(&scene, "one", "two");
    let again = with(&[]);
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("error: rank 0 of 2: two already holds this run\n"), "{}", again.stderr);
    let mut inside = rank(&scene, (0, 2), free_port(), &["--ranks", "2"]);
    let message = "--ranks starts ranks, but this process is rank 0 of 2 already, by RANK and WORLD_SIZE";
    Finished::of(listened_to(&mut inside)).refused_naming(2, &[message]);
}

/// Our stubs of Gloo's headers must put nothing in the place of libtorch's code.
#[test]
fn the_binary_defines_no_symbol_of_gloo() {
    let symbols = Command::new("nm").args(["-C", "--defined-only", env!("CARGO_BIN_EXE_seqloom")]).output();
    let Ok(symbols) = symbols else {
        eprintln!("skipped: there is no nm here");
        return;
    };
    let symbols = String::from_utf8_lossy(&symbols.stdout).into_owned();
    assert!(symbols.contains("seqloom_group_open"));
    let of_gloo = |line: &&str| {
        let name = line.splitn(3, ' ').nth(2).unwrap_or_default();
        ["gloo::", "vtable for gloo::", "typeinfo for gloo::"].iter().any(|start| name.starts_with(start))
    };
    let found: Vec<&str> = symbols.lines().filter(of_gloo).collect();
    assert!(found.is_empty(), "{found:?}");
}
