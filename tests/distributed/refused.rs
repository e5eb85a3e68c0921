//! What ranks cannot do together: each of them says why, soon.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::{finished, free_port, rank, settings, start};
use crate::support::run::{Finished, Scene, listened_to};

/// Each of two ranks, the second one with other arguments, ends with this error.
#[track_caller]
fn refused(scene: &Scene, second: &[&str], message: &str) {
    let (port, own) = (free_port(), [&["--out", "refused"][..], &settings(&[])].concat());
    let one = listened_to(&mut rank(scene, (0, 2), port, &own));
    let other = listened_to(&mut rank(scene, (1, 2), port, &[&own[..], second].concat()));
    for (number, finished) in finished(vec![one, other]).into_iter().enumerate() {
        finished.refused_naming(2, &[&format!("error: rank {number} of 2: "), message]);
    }
}

#[test]
fn another_config_or_other_data_on_a_rank_are_refused_by_all() {
    let scene = Scene::new(120, 40);
    let differ = "all ranks must have the same config, but rank 1 and rank 0 differ in";
    refused(&scene, &["--set", "seed=7"], &format!("{differ} seed\n"));
    refused(&scene, &["--set", "training.adamw.beta1=0.5"], &format!("{differ} training.adamw.beta1\n"));
    let train = scene.text("train.csv");
    scene.write("other.csv", train.trim_end().rsplit_once('\n').unwrap().0);
    let message = "all ranks must have the same training pairs, but rank 1 has others than rank 0";
    refused(&scene, &["--set", "data.train=other.csv"], message);
    refused(&scene, &["--set", "data.train=missing.csv"], "cannot read missing.csv");
    // The same pairs under another name, as on a machine with a disk of its own.
    scene.write("copied.csv", &train);
    let (port, own) = (free_port(), [&["--out", "copied"][..], &settings(&[])].concat());
    let names = ["train.csv", "copied.csv"].map(|name| format!("data.train={name}"));
    let start = |(number, name): (usize, &String)| {
        listened_to(&mut rank(&scene, (number, 2), port, &[&own[..], &["--set", name]].concat()))
    };
    for rank in finished(names.iter().enumerate().map(start).collect()) {
        rank.succeeded();
    }
}

#[test]
fn ranks_that_cannot_share_an_update_are_refused() {
    let scene = Scene::new(120, 40);
    for (ranks, hint) in [(3, "start 2 or 4 ranks"), (8, "--set training.shards=8")] {
        let all = finished(start(&scene, ranks, &[&["--out", "refused"][..], &settings(&[])].concat()));
        let message =
            format!("must be a power of two of at most 4, the shards of an update, but it is {ranks}");
        for rank in all {
            rank.refused_naming(2, &[&message, hint]);
        }
    }
}

#[test]
fn a_meeting_that_fails_ends_in_time() {
    let scene = Scene::new(120, 40);
    let own = settings(&["runtime.join_timeout=2"]);
    let begun = Instant::now();
    let lone = |number: usize, port: u16, change: (&str, &str)| {
        let mut rank = rank(&scene, (number, 2), port, &own);
        Finished::of(listened_to(rank.env(change.0, change.1)))
    };
    let none = ("SEQLOOM_NOTHING", "");
    let absent = "2 ranks must connect to 127.0.0.1:";
    lone(0, free_port(), none).refused_naming(1, &[absent, "but these did not: 1\n", "runtime.join_timeout"]);
    lone(1, free_port(), none).refused_naming(1, &["rank 0 must answer at 127.0.0.1:", "but does not"]);
    let nowhere = ("MASTER_ADDR", "no.such.host.invalid");
    for number in [0, 1] {
        let parts = ["must be that of a host, but `no.such.host.invalid` is none", "MASTER_ADDR"];
        lone(number, free_port(), nowhere).refused_naming(2, &parts);
    }
    // Something else that accepts connections and says nothing.
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    lone(0, port, none).refused_naming(2, &[&format!("rank 0 must listen on port {port}"), "MASTER_PORT"]);
    let other = format!("rank 0 of 2 must answer at 127.0.0.1:{port}, but something else does");
    lone(1, port, none).refused_naming(2, &[&other, "MASTER_PORT"]);
    lone(2, port, none).refused_naming(2, &["RANK must be below WORLD_SIZE = 2, but it is 2"]);
    assert!(begun.elapsed() < Duration::from_secs(40));
}
