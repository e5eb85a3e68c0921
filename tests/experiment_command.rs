//! `seqloom experiment`: what is finished is not done again, and the table does not depend on how often it was stopped.

mod records;
mod sets;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::Command;
use std::time::SystemTime;

use crate::support::run::{Finished, Scene, binary, listened_to, numbers, objects, wait_until};

/// Three configs, two of which extend the first.
fn scene() -> Scene {
    let scene = Scene::new(60, 12);
    let head = |name: &str| format!("extends = \"copy.toml\"\nname = \"{name}\"\n");
    scene.write("narrow.toml", head("narrow") + "[model.transformer]\nwidth = 16\n");
    scene.write("slow.toml", head("slow") + "[training.adamw]\nlearning_rate = 1e-4\n");
    scene
}

/// The arguments of an experiment with short trainings.
fn arguments<'a>(configs: &[&'a str], seeds: &'a str, out: &'a str) -> Vec<&'a str> {
    let mut arguments = [&["experiment"], configs, &["--seeds", seeds, "--out", out]].concat();
    for setting in [
        "training.steps=40",
        "training.validate_every=20",
        "training.checkpoint_every=20",
        "training.log_every=20",
    ] {
        arguments.extend(["--set", setting]);
    }
    arguments
}

fn modified(scene: &Scene, name: &str) -> SystemTime {
    fs::metadata(scene.path(name)).unwrap().modified().unwrap()
}

/// Starts it, and kills it as soon as a file is there.
fn kill_at(scene: &Scene, arguments: &[&str], file: &str) {
    let mut child = scene.spawn(arguments);
    wait_until(file, || scene.path(file).exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The rows of table.csv, by the names of the columns.
fn rows(scene: &Scene, out: &str) -> Vec<BTreeMap<String, String>> {
    let text = scene.text(format!("{out}/table.csv"));
    csv::Reader::from_reader(text.as_bytes()).into_deserialize().map(Result::unwrap).collect()
}

/// The trainings and decodings that an experiment announces.
fn steps(finished: &Finished) -> Vec<&str> {
    let is_step = |line: &&str| line.starts_with("training ") || line.starts_with("decoding ");
    finished.stderr.lines().filter(is_step).collect()
}

/// `make experiment-kills` does the same at random moments.
#[test]
fn an_experiment_that_was_killed_ends_with_the_same_table() {
    let (scene, all) = (scene(), ["copy.toml", "narrow.toml", "slow.toml"]);
    let asked = |out| [&arguments(&all, "1,2", out)[..], &["--ensemble", "all"]].concat();
    let whole = scene.seqloom(&asked("whole")).succeeded();
    assert_eq!(whole.stdout, scene.text("whole/table.txt"));
    for name in ["copy", "narrow", "slow"] {
        assert!(whole.stdout.contains(&format!(" {name} ")), "{}", whole.stdout);
    }

    kill_at(&scene, &asked("killed"), "killed/runs/copy-seed2/latest");
    let model = scene.checkpoint("killed/runs/copy-seed1", "latest").join("model.safetensors");
    let (model, outputs) = (model.to_str().unwrap(), "killed/outputs/copy-seed1/valid.jsonl");
    let of_seed = [model, outputs].map(|name| modified(&scene, name));
    assert!(!scene.path("killed/table.csv").exists());
    let in_twos = [&asked("killed")[..], &["--jobs", "2"]].concat();
    kill_at(&scene, &in_twos, "killed/outputs/copy-ensemble2/valid.record.json");
    let together = "killed/outputs/copy-ensemble2/valid.jsonl";
    let of_ensemble = modified(&scene, together);
    let resumed = scene.seqloom(&asked("killed")).succeeded();
    for step in steps(&resumed) {
        assert!(step.ends_with("-ensemble2") && !step.ends_with("copy-ensemble2"), "it was finished: {step}");
    }
    assert_eq!([model, outputs].map(|name| modified(&scene, name)), of_seed);
    assert_eq!(modified(&scene, together), of_ensemble);
    for name in ["table.txt", "table.csv", "index.html"] {
        assert_eq!(scene.text(format!("killed/{name}")), scene.text(format!("whole/{name}")), "{name}");
    }

    // With nothing left to do, the same files once more.
    let again = scene.seqloom(&asked("killed")).succeeded();
    assert!(steps(&again).is_empty(), "{}", again.stderr);
    assert_eq!(scene.text("killed/index.html"), scene.text("whole/index.html"));
    check_files(&scene);
    // What was decoded greedily must not pass for the outputs of a beam.
    let wide = [&asked("killed")[..], &["--set", "decoding.beam=3"]].concat();
    scene
        .seqloom(&wide)
        .refused_naming(2, &["`decoding.beam` was 1, and is 3 here", "`seqloom evaluate RUN"]);
}

/// The table and the page of `whole`.
fn check_files(scene: &Scene) {
    let table = scene.text("whole/table.csv");
    let header = "set,metric,system,mean,sd,low,high,best,better_than,substitutions,deletions,insertions,reference_length,\
                  seed_1,seed_2\n";
    assert!(table.starts_with(&format!("{header}valid,exact_match,copy,")), "{table}");
    let rows = rows(scene, "whole");
    // Four metrics, three systems with their ensembles.
    assert_eq!(rows.len(), 4 * 6, "{table}");
    assert_eq!(rows.iter().filter(|row| row["best"] == "1").count(), 4, "{table}");
    let page = scene.text("whole/index.html");
    for part in [
        "<!DOCTYPE html>",
        "prefers-color-scheme: dark",
        "training.adamw.learning_rate",
        "dir=\"auto\"",
        "<svg",
        "<td class=\"name\">narrow,<wbr> ensemble of 2</td>",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    // It names no other file and no script.
    for part in ["<script", "<link", "src=", "@import"] {
        assert!(!page.contains(part), "{part}");
    }
}

#[test]
fn models_of_several_seeds_decode_together_and_are_compared() {
    let scene = scene();
    let mut asked = arguments(&["copy.toml", "slow.toml"], "1,2", "out");
    asked.extend(["--ensemble", "all"]);
    scene.seqloom(&asked).succeeded();
    let decode = ["decode", "out/runs/copy-seed1", "--with", "out/runs/copy-seed2", "--input", "valid.csv"];
    let to = ["--score-references", "--on-error", "skip", "--output", "together.jsonl"];
    scene.seqloom(&[&decode[..], &to].concat()).succeeded();
    let together = scene.text("together.jsonl");
    assert_eq!(scene.text("out/outputs/copy-ensemble2/valid.jsonl"), together);

    let rows = rows(&scene, "out");
    let names: Vec<&str> = rows.iter().map(|row| row["system"].as_str()).collect();
    assert_eq!(names[..4], ["copy", "copy, ensemble of 2", "slow", "slow, ensemble of 2"]);
    let outputs = objects(&together);
    let right = outputs.iter().filter(|row| row["output"] == row["reference"]).count();
    let [mean, low, high] = ["mean", "low", "high"].map(|name| rows[1][name].parse::<f64>().unwrap());
    assert_eq!((rows[1]["metric"].as_str(), mean), ("exact_match", right as f64 / outputs.len() as f64));
    assert!(low <= mean && mean <= high, "{low} {mean} {high}");
    for name in ["sd", "seed_1", "seed_2"] {
        assert!(rows[1][name].is_empty() && !rows[0][name].is_empty(), "{name}: {:?}", rows[1]);
    }

    // Scores of references are summed over tokens, and errors over rows.
    let of_ensemble =
        |metric: &str| rows.iter().find(|row| row["metric"] == metric && row["system"] == names[1]).unwrap();
    let sum = |key: &str| outputs.iter().map(|row| row[key].as_f64().unwrap()).sum::<f64>();
    let number = |row: &BTreeMap<String, String>, name: &str| row[name].parse::<f64>().unwrap();
    let expected = (-sum("reference_score") / sum("reference_length")).exp();
    assert!((number(of_ensemble("perplexity"), "mean") / expected - 1.0).abs() < 1e-12, "{expected}");
    let expected = sum("reference_correct") / sum("reference_length");
    assert_eq!(number(of_ensemble("token_accuracy"), "mean"), expected);
    let rate = of_ensemble("character_error_rate");
    let errors: f64 =
        ["substitutions", "deletions", "insertions"].iter().map(|kind| number(rate, kind)).sum();
    assert!((number(rate, "mean") - errors / number(rate, "reference_length")).abs() < 1e-12, "{rate:?}");
    assert_eq!(rows[1]["substitutions"], "");

    // Another model of one seed: its outputs are made again, and those of its ensemble.
    let best = scene.checkpoint("out/runs/copy-seed2", "best");
    let other = if best.ends_with("step-00000040") { "step-00000020\n" } else { "step-00000040\n" };
    scene.write("out/runs/copy-seed2/best", other);
    let again = scene.seqloom(&asked).succeeded();
    assert_eq!(steps(&again), ["decoding valid with copy-seed2", "decoding valid with copy-ensemble2"]);
    assert_ne!(scene.text("out/outputs/copy-ensemble2/valid.jsonl"), together);
}

#[test]
fn an_ensemble_of_some_has_the_seeds_with_the_best_validations() {
    let scene = scene();
    let mut asked = arguments(&["copy.toml"], "1,2,3", "out");
    asked.extend(["--ensemble", "2", "--set", "training.best_by=nll"]);
    // Of several outputs of a source the best counts.
    asked.extend(["--set", "decoding.beam=2", "--set", "decoding.n_best=2"]);
    let table = scene.seqloom(&asked).succeeded().stdout;
    let best = |seed: &u64| {
        let validations = scene.metrics(&format!("out/runs/copy-seed{seed}"), "valid");
        numbers(&validations, "nll").into_iter().fold(f64::INFINITY, f64::min)
    };
    let mut seeds = [1, 2, 3];
    seeds.sort_by(|one, other| best(one).total_cmp(&best(other)));
    let (one, other) = (seeds[0].min(seeds[1]), seeds[0].max(seeds[1]));
    let line = format!("copy, ensemble of 2: seeds {one}, {other}");
    assert!(table.contains(&format!("{line}\n")) && table.contains(", 12 rows\n"), "{line}: {table}");
    assert!(scene.text("out/index.html").contains(&line));
    let [first, second] = [one, other].map(|seed| format!("out/runs/copy-seed{seed}"));
    let decode = ["decode", &first, "--with", &second, "--input", "valid.csv", "--output", "together.jsonl"];
    scene.seqloom(&[&decode[..], &["--score-references", "--on-error", "skip"]].concat()).succeeded();
    assert_eq!(scene.text("out/outputs/copy-ensemble2/valid.jsonl"), scene.text("together.jsonl"));
}

#[test]
fn systems_have_their_whole_names_on_the_page() {
    let scene = scene();
    let sweep = "\"training.adamw.learning_rate\" = [0.01]\n\"training.label_smoothing\" = [0.0, 0.1]\n";
    scene.write("swept.toml", format!("extends = \"copy.toml\"\nname = \"swept\"\n[sweep]\n{sweep}"));
    let table = scene.seqloom(&arguments(&["swept.toml"], "1", "out")).succeeded().stdout;
    assert!(table.contains("\n* the best mean over 1 seed. sd: "), "{table}");
    let page = scene.text("out/index.html");
    let legend = page.split("</ul>").next().unwrap();
    for smoothing in ["0.0", "0.1"] {
        assert!(
            table.contains(&format!(" swept-learning_rate=0.01,label_smoothing={smoothing} ")),
            "{table}"
        );
        let name = format!("swept-learning_rate=<wbr>0.01,<wbr>label_smoothing=<wbr>{smoothing}");
        assert!(legend.contains(&format!("<span>{name}</span>")), "{legend}");
        let values = format!("<tr><th class=\"name\">{name}</th><td>{smoothing}</td></tr>");
        assert!(page.contains(&values), "no {values}");
    }
    assert!(page.contains("<tr class=\"best\">") && page.contains("over characters"));
}

#[test]
fn a_single_row_is_compared_with_nothing() {
    let scene = scene();
    scene.write("words.toml", "extends = \"copy.toml\"\nname = \"words\"\n[data.target.words]\n");
    let table = scene.seqloom(&arguments(&["words.toml"], "1", "out")).succeeded().stdout;
    assert!(!table.contains("* ") && table.contains("\nsd: standard deviation over seeds."), "{table}");
    let page = scene.text("out/index.html");
    for part in ["class=\"best\"", "Bold", "Differences", "<h2>Configs</h2>"] {
        assert!(!page.contains(part), "{part}");
    }
    // As the tokenizer of the model has it.
    assert!(page.contains("the error rate, over words, is") && table.contains("word error rate"), "{table}");
}

#[test]
fn each_row_of_a_test_set_is_scored_and_the_same_outputs_have_the_same_interval() {
    let scene = scene();
    scene.write("twin.toml", "extends = \"copy.toml\"\nname = \"twin\"\n");
    let table = |header: &str, more: &str| {
        let rows = scene.text("valid.csv");
        let rows = rows.lines().skip(1).zip(1..).map(|(row, n)| format!("{row},{n}{more}\n"));
        format!("{header}\n{}", rows.collect::<String>())
    };
    scene.write("ranked.csv", table("source,target,rank", ""));
    scene.write("listed.csv", table("source,target,rank,ranking", ",0.5"));
    let asked = arguments(&["copy.toml", "twin.toml"], "1", "out");
    let shown = scene.seqloom(&[&asked[..], &["--test", "ranked=ranked.csv"]].concat()).succeeded().stdout;
    assert!(shown.contains("ranked: exact match in %, higher is better, 12 rows\n"), "{shown}");
    let outputs = |run: &str| scene.text(format!("out/outputs/{run}/ranked.jsonl"));
    assert_eq!(outputs("copy-seed1"), outputs("twin-seed1"));
    for both in rows(&scene, "out").chunks(2) {
        let [one, other] = [0, 1].map(|n| ["mean", "low", "high"].map(|name| &both[n][name]));
        assert_eq!(one, other, "{both:?}");
    }
    // `decode` copies both columns, as if it had written a list; but the config asks for one output.
    let shown = scene.seqloom(&[&asked[..], &["--test", "listed=listed.csv"]].concat()).succeeded().stdout;
    assert!(shown.contains("listed: exact match in %, higher is better, 12 rows\n"), "{shown}");
}

#[test]
fn an_interrupt_ends_the_trainings_with_the_experiment() {
    let scene = scene();
    let mut endless = arguments(&["copy.toml"], "1,2", "stopped");
    endless.extend(["--jobs", "2", "--set", "training.steps=1000000", "--set", "runtime.threads=0"]);
    let child = scene.spawn(&endless);
    for seed in [1, 2] {
        wait_until("it trains", || scene.path(format!("stopped/runs/copy-seed{seed}/latest")).exists());
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    let finished = Finished::of(child);
    assert_eq!(finished.code, Some(130), "{}", finished.stderr);
    assert!(
        finished.stderr.ends_with("stopped; to continue, run the same command again\n"),
        "{}",
        finished.stderr
    );
    for seed in [1, 2] {
        let log = scene.text(format!("stopped/logs/copy-seed{seed}.log"));
        assert!(log.ends_with("saved. To continue, use --resume\n"), "{log}");
        // Both share the cores.
        let threads = (std::thread::available_parallelism().unwrap().get() / 2).max(1);
        assert!(log.contains(&format!(" on the CPU ({threads} thread")), "{log}");
    }
}

#[test]
fn shares_of_the_runs_give_one_table() {
    let scene = scene();
    let asked = [&arguments(&["slow.toml"], "1,2", "shared")[..], &["--ensemble", "all"]].concat();
    let share = |share: &'static str| scene.seqloom(&[&asked[..], &["--shard", share]].concat()).succeeded();
    // Ranks that share nothing need no address.
    let as_second_rank = |more: &[&str]| {
        let mut command = binary(&scene.path(""));
        command.env("RANK", "1").env("WORLD_SIZE", "2").args(&asked).args(more);
        Finished::of(listened_to(&mut command))
    };
    as_second_rank(&[]).refused_naming(2, &["this is rank 1 of 2, by RANK and WORLD_SIZE", "--shard auto"]);
    let first = share("1/2");
    assert!(first.stderr.contains("other jobs still have 1 run of 2. "), "{}", first.stderr);
    assert!(first.stdout.is_empty() && !scene.path("shared/runs/slow-seed2").exists());
    // As if another job were decoding with the ensemble.
    scene.write("shared/outputs/slow-ensemble2/lock", "");
    let lock = File::open(scene.path("shared/outputs/slow-ensemble2/lock")).unwrap();
    lock.lock().unwrap();
    let second = as_second_rank(&["--shard", "auto"]).succeeded();
    assert!(second.stderr.contains("other jobs still have 1 ensemble of 1. "), "{}", second.stderr);
    assert!(second.stdout.is_empty() && !scene.path("shared/table.txt").exists());
    drop(lock);
    let last = share("1/2");
    assert_eq!(steps(&last), ["decoding valid with slow-ensemble2"]);
    assert!(last.stdout.contains("valid: exact match") && last.stdout.contains("slow, ensemble of 2"));
    assert!(scene.path("shared/index.html").exists());
}

#[test]
fn a_run_that_fails_does_not_keep_the_others_from_ending() {
    let scene = scene();
    scene.write("broken.toml", "extends = \"copy.toml\"\nname = \"broken\"\n[data]\ntrain = \"no.csv\"\n");
    let finished = scene.seqloom(&arguments(&["broken.toml", "copy.toml"], "1", "some"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{}", finished.stderr);
    let list = "error: 1 of 2 runs failed:\n  broken-seed1: training broken-seed1 failed (exit status: 2), see \
                some/logs/broken-seed1.log\n    error: cannot read no.csv: no such file or directory (looked for in ";
    for part in [list, "\n    hint: relative paths start at the folder where seqloom is called\nhint: "] {
        assert!(finished.stderr.contains(part), "{part}: {}", finished.stderr);
    }
    assert!(scene.text("some/logs/broken-seed1.log").contains("no.csv"));
    assert!(scene.path("some/outputs/copy-seed1/valid.jsonl").exists());
}

#[test]
fn what_cannot_be_compared_is_refused_before_any_training() {
    let scene = scene();
    let refused = |configs: &[&str], more: &[&str], parts: &[&str]| {
        scene.seqloom(&[&["experiment"], configs, more].concat()).refused_naming(2, parts);
    };
    scene.write("twin.toml", "extends = \"narrow.toml\"\n");
    refused(
        &["narrow.toml", "twin.toml"],
        &[],
        &["twin.toml: each config must have its own `name`, but two have"],
    );
    scene.write("share.toml", "extends = \"copy.toml\"\n[data]\nvalid = { share = 0.1 }\n");
    refused(&["share.toml"], &[], &["no `data.test`, and `data.valid` is a share", "--test NAME=FILE"]);
    let one = ["an ensemble must have models of several seeds, but there is one", "--seeds 1,2,3"];
    refused(&["copy.toml"], &["--seeds", "1,1", "--ensemble", "all"], &one);
    let few = ["--ensemble 4 needs models of 4 seeds, but there are 3", "--ensemble all"];
    refused(&["copy.toml"], &["--ensemble", "4"], &few);
    refused(&["copy.toml"], &["--ensemble", "1"], &["it must be `all` or a number from 2"]);
    refused(&["copy.toml"], &["--test", "a=no.csv"], &["cannot read no.csv", "relative paths start at"]);
    scene.write("data/README.md", "");
    let public = ["--test", "a=data/a.csv"];
    refused(&["copy.toml"], &public, &["cannot read data/a.csv", "data/README.md lists the scripts"]);
    let twice = ["--test", "a=valid.csv", "--test", "a=train.csv"];
    refused(&["copy.toml"], &twice, &["each test set must have its own name"]);
    scene.write("other.toml", "extends = \"copy.toml\"\nname = \"other\"\n[data]\nvalid = \"train.csv\"\n");
    refused(&["copy.toml", "other.toml"], &[], &["all configs must have the same test set"]);
    refused(
        &["copy.toml"],
        &["--set", " seed = 2"],
        &["--set  seed = 2: `seed` must come from --seeds", "use --seeds 1,2,3"],
    );
    scene.write("swept.toml", "extends = \"copy.toml\"\n[sweep]\n\"training.stepz\" = [1]\n");
    refused(&["swept.toml"], &[], &["swept.toml:3:21: unknown key `stepz`"]);
    let choices = "\"training.steps\" = [1, 2]\n\"training.validate_every\" = [1]\n";
    scene.write(
        "long.toml",
        format!("extends = \"copy.toml\"\nname = \"{}\"\n[sweep]\n{choices}", "a".repeat(200)),
    );
    refused(
        &["long.toml"],
        &[],
        &["the name of a run may have 230 bytes, but this one has 23", "shorten the config's `name`"],
    );
    for command in ["train", "data"] {
        let refused = scene.seqloom(&[command, "swept.toml"]);
        refused.refused_naming(2, &["swept.toml:2:2: [sweep] is for `seqloom experiment`"]);
    }
    assert!(!scene.path("experiments").exists());
}
