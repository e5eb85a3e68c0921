//! Ranks that are killed, that hang, that are told to stop, and whose updates fail.

use std::process::Child;

use super::{assert_same_run, finished, free_port, rank, settings, start, train};
use crate::support::run::{Scene, listened_to, wait_until};

/// More updates than a test waits for.
const LONG: [&str; 4] = [
    "training.steps=100000",
    "training.checkpoint_every=5",
    "training.validate_every=100000",
    "runtime.rank_timeout=2",
];

fn signal(name: &str, rank: &Child) {
    let kill = std::process::Command::new("kill").args([name, &rank.id().to_string()]).status();
    assert!(kill.unwrap().success());
}

/// Two ranks of a long run, some updates after their start.
fn started(scene: &Scene, out: &str) -> Vec<Child> {
    let ranks = start(scene, 2, &[&["--out", out, "--resume"][..], &settings(&LONG)].concat());
    let latest = || std::fs::read(scene.path(format!("{out}/latest"))).unwrap_or_default();
    let before = latest();
    wait_until("there is another checkpoint", || latest() != before);
    ranks
}

/// Where a run has stopped, it goes on as if it had not.
#[test]
fn a_lost_rank_ends_the_others_and_the_run_goes_on_from_its_checkpoint() {
    let scene = Scene::new(120, 40);
    for (name, lost, others) in [("-KILL", 1, 0), ("-KILL", 0, 1), ("-STOP", 1, 0)] {
        let ranks = started(&scene, "killed");
        signal(name, &ranks[lost]);
        let lost_id = ranks[lost].id();
        let mut ranks: Vec<Option<Child>> = ranks.into_iter().map(Some).collect();
        let other = finished(ranks[others].take().into_iter().collect()).remove(0);
        if name == "-STOP" {
            signal("-KILL", ranks[lost].as_ref().unwrap());
        }
        finished(ranks[lost].take().into_iter().collect());
        assert_eq!(other.code, Some(1), "{}", other.stderr);
        for part in [&format!(" lost rank {lost} ("), &format!(", process {lost_id}): "), "with --resume"] {
            assert!(other.stderr.contains(part), "must contain {part}:\n{}", other.stderr);
        }
    }
    let steps: u64 = scene.text("killed/latest").trim().trim_start_matches("step-").parse().unwrap();
    let end = format!("training.steps={}", steps + 10);
    let more =
        [&end, "training.checkpoint_every=5", "training.validate_every=100000", "training.keep_last=2"];
    train(&scene, 2, "killed", &[&more[..], &["--resume"]].concat());
    train(&scene, 1, "alone", &more);
    assert_same_run(&scene, "alone", "killed");
}

#[test]
fn a_signal_to_any_rank_saves_once_and_ends_all() {
    let scene = Scene::new(120, 40);
    for (to, name, code) in [(1, "-TERM", 143), (0, "-INT", 130)] {
        let ranks = started(&scene, "stopped");
        signal(name, &ranks[to]);
        let ranks = finished(ranks);
        assert!(ranks.iter().all(|rank| rank.code == Some(code)), "{ranks:?}");
        assert!(ranks[0].stderr.contains("saved. To continue, use --resume"), "{}", ranks[0].stderr);
        assert_eq!(ranks[1].stderr, "");
    }
}

/// A shard that does not fit into memory on one rank is halved on all; updates that are not finite roll back.
#[test]
fn faults_of_updates_are_handled_as_by_one_rank() {
    let scene = Scene::new(120, 40);
    for (name, value) in [("SEQLOOM_TEST_MEMORY_FOR", "30"), ("SEQLOOM_TEST_NAN_AT", "17,18,19")] {
        let more = ["training.non_finite.limit=3", "training.non_finite.then=rollback"];
        let ranks = |out: &str, count: usize| {
            let (port, arguments) = (free_port(), [&["--out", out][..], &settings(&more)].concat());
            let start =
                |number| listened_to(rank(&scene, (number, count), port, &arguments).env(name, value));
            let ranks = finished((0..count).map(start).collect());
            ranks.into_iter().map(|rank| rank.succeeded().stderr).next().unwrap()
        };
        let (one, two) = (format!("{name}-1"), format!("{name}-2"));
        let alone = ranks(&one, 1);
        ranks(&two, 2);
        assert!(
            alone.contains("out of memory with") || alone.contains("are rolled back to step 12"),
            "{alone}"
        );
        assert_same_run(&scene, &one, &two);
    }
}
