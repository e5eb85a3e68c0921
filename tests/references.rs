//! Rows with several right targets (`data.target.alternatives`): training learns the first one, and every command that scores
//! outputs compares them with all. The values are those counted here by hand.

use serde_json::{Value, json};

use crate::support::run::{Scene, numbers, objects, words};

const SEVERAL: [&str; 2] = ["--set", "data.target.alternatives=|"];

/// The targets of a word that a model copies: it alone; the right one as the second or as the first of two; none is right.
fn field(n: usize, word: &str) -> String {
    match n % 4 {
        0 => word.to_owned(),
        1 => format!("zz|{word}"),
        2 => format!("{word}|{word}z"),
        _ => format!("zzzzzzzz|{word}z"),
    }
}

/// The words of a scene's `valid.csv` as a table with these targets.
fn table(target: impl Fn(usize, &str) -> String) -> String {
    let rows = words(440).split_off(400).into_iter().enumerate();
    let rows: String = rows.map(|(n, word)| format!("{word},{}\n", target(n, &word))).collect();
    format!("source,target\n{rows}")
}

fn first(n: usize, word: &str) -> String {
    field(n, word).split('|').next().unwrap().to_owned()
}

/// With such a `valid.csv`, its first targets alone in `firsts.csv`, and the run `runs/several`, which copies words.
fn scene() -> Scene {
    let scene = Scene::trained();
    scene.write("valid.csv", table(field));
    scene.write("firsts.csv", table(first));
    train(&scene, "runs/several", &[&SEVERAL[..], &["--set", "data.test=valid.csv"]].concat());
    scene
}

/// A run with the weights of `runs/copy`, validated once.
fn train(scene: &Scene, out: &str, more: &[&str]) -> String {
    let once = ["steps=1", "log_every=1", "validate_every=1", "decode_rows=0", "adamw.learning_rate=1e-20"];
    let once = once.map(|setting| format!("training.{setting}"));
    let mut arguments = vec!["--from", "runs/copy", "--out", out];
    once.iter().for_each(|setting| arguments.extend(["--set", setting.as_str()]));
    arguments.extend(more);
    scene.train(&arguments).succeeded().stderr
}

/// Edit distance (Levenshtein 1966).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (n, wanted) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], n + 1);
        for (at, written) in other.iter().enumerate() {
            let paired = diagonal + usize::from(wanted != *written);
            diagonal = row[at + 1];
            row[at + 1] = paired.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// The first `most` targets of each row: exact match, character error rate, and the error rate with the errors of each row
/// capped.
fn by_hand(rows: &[Value], most: usize) -> [f64; 3] {
    let (mut exact, mut errors, mut capped, mut length) = (0, 0, 0, 0);
    for row in rows {
        let [field, output] = ["reference", "output"].map(|key| row[key].as_str().unwrap());
        let targets: Vec<&str> = field.split('|').take(most).collect();
        exact += usize::from(targets.contains(&output));
        let counts = targets.iter().map(|target| (distance(target, output), target.chars().count()));
        let rate = |counts: &(usize, usize)| counts.0 as f64 / counts.1 as f64;
        let nearest = counts.min_by(|one, other| rate(one).total_cmp(&rate(other))).unwrap();
        errors += nearest.0;
        capped += if row["finished"] == true { nearest.0.min(nearest.1) } else { nearest.1 };
        length += nearest.1;
    }
    let share = |count: usize, all: usize| count as f64 / all as f64;
    [share(exact, rows.len()), share(errors, length), share(capped, length)]
}

#[track_caller]
fn assert_equal(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
}

fn read(scene: &Scene, file: &str) -> Value {
    serde_json::from_str(&scene.text(file)).unwrap()
}

/// The rows that `runs/several` decodes, with their references as in the file.
fn decoded(scene: &Scene) -> Vec<Value> {
    let decode = ["decode", "runs/several", "--input", "valid.csv", "--output", "out.jsonl"];
    scene.seqloom(&decode).succeeded();
    objects(&scene.text("out.jsonl"))
}

#[test]
fn validations_and_the_test_set_compare_with_all_targets_and_the_loss_is_that_of_the_first() {
    let scene = scene();
    let rows = decoded(&scene);
    let [exact, rate, capped] = by_hand(&rows, usize::MAX);
    assert!(exact > 0.6 && exact > by_hand(&rows, 1)[0], "{exact}");
    let valid = scene.metrics("runs/several", "valid").pop().unwrap();
    let test = read(&scene, "runs/several/test.json");
    for (name, expected) in [("exact_match", exact), ("character_error_rate", rate)] {
        assert_equal(valid[name].parse().unwrap(), expected);
        assert_equal(test["models"][0]["metrics"][name].as_f64().unwrap(), expected);
    }
    let state = scene.text(scene.checkpoint("runs/several", "latest").join("state.json"));
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_equal(state["best"][0]["cost"].as_f64().unwrap(), capped);

    let firsts = train(&scene, "runs/firsts", &["--set", "data.valid=firsts.csv"]);
    assert!(!firsts.contains("several targets"), "{firsts}");
    let of_firsts = scene.metrics("runs/firsts", "valid").pop().unwrap();
    for name in ["nll", "perplexity", "token_accuracy"] {
        assert_eq!(of_firsts[name], valid[name], "{name}");
    }
    assert_equal(of_firsts["exact_match"].parse().unwrap(), by_hand(&rows, 1)[0]);
}

#[test]
fn a_run_says_how_many_rows_have_several_and_shows_them_in_its_samples() {
    let scene = scene();
    let said = train(&scene, "runs/again", &SEVERAL);
    let note = "note: rows with several targets (`data.target.alternatives`): 30; the loss is that of the first, and metrics compare \
                with all\n";
    assert_eq!(said.matches(note).count(), 1, "{said}");
    let samples = scene.text("runs/several/samples/step-00000001.txt");
    let word = words(402).pop().unwrap();
    assert!(samples.contains(&format!("{word} | zz / {word} | ")), "{samples}");
    let report = scene.seqloom(&[&["data", "copy.toml"], &SEVERAL[..]].concat()).succeeded().stdout;
    let facts = ["in 0 of 400 rows, at most 1", "in 30 of 40 rows, at most 2"];
    for fact in
        facts.map(|fact| format!("  {:22} {fact}; all other numbers are of the first\n", "several targets"))
    {
        assert!(report.contains(&fact), "no {fact:?} in\n{report}");
    }
}

#[test]
fn decode_compares_with_all_targets_and_writes_the_field_as_it_was() {
    let scene = scene();
    let rows = decoded(&scene);
    let fields: Vec<&str> = rows.iter().map(|row| row["reference"].as_str().unwrap()).collect();
    let expected: Vec<String> =
        words(440)[400..].iter().enumerate().map(|(n, word)| field(n, word)).collect();
    assert_eq!(fields, expected);
    let asked =
        ["--input", "valid.csv", "--output", "out.csv", "--summary", "summary.json", "--examples", "4"];
    let said = scene.seqloom(&[&["decode", "runs/several"], &asked[..]].concat()).succeeded().stderr;
    let summary = read(&scene, "summary.json");
    let [exact, rate, _] = by_hand(&rows, usize::MAX);
    assert_equal(summary["exact_match"].as_f64().unwrap(), exact);
    assert_equal(summary["character_error_rate"].as_f64().unwrap(), rate);
    for row in &rows[..4] {
        let [source, field, output] = ["source", "reference", "output"].map(|key| row[key].as_str().unwrap());
        let verdict = match field.split('|').any(|target| target == output) {
            true => "right".to_owned(),
            false => format!("wrong: it is {field}"),
        };
        assert!(said.contains(&format!("  {source}  ->  {output}  ({verdict})\n")), "{said}");
    }
    // A row is beyond the limit if none of its references fits.
    scene.write("long.csv", "source,target\nabc,abcdefgh|abc\nabc,abcdefgh|abcdefg\n");
    let limited = ["--input", "long.csv", "--output", "-", "--set", "decoding.max_length=5"];
    let said = scene.seqloom(&[&["decode", "runs/several"], &limited[..]].concat()).succeeded().stderr;
    let note = "references longer than an output may be: 1 (`decoding.max_length`; no output can match them); the first: long.csv:3\n";
    assert!(said.contains(note), "{said}");
}

#[test]
fn evaluate_compares_with_all_references_of_runs_tables_and_texts() {
    let scene = scene();
    let rows = decoded(&scene);
    let lines = |key: &str| -> String {
        rows.iter().map(|row| format!("{}\n", row[key].as_str().unwrap())).collect()
    };
    scene.write("ref.txt", lines("reference"));
    scene.write("out.txt", lines("output"));
    let evaluate = |more: &[&str]| -> Value {
        let usual = ["evaluate", "--format", "json", "--metrics", "exact_match,character_error_rate,bleu"];
        let finished = scene.seqloom(&[&usual[..], more].concat()).succeeded();
        serde_json::from_str(&finished.stdout).unwrap()
    };
    let texts = ["--references", "ref.txt", "--outputs", "out.txt"];
    let [exact, rate, _] = by_hand(&rows, usize::MAX);
    let of_training = ["runs/several", "--input", "valid.csv"];
    let named: [&[&str]; 3] = [&["runs/copy", "--input", "valid.csv"], &["--input", "out.jsonl"], &texts];
    let named = named.map(|more| [more, &["--alternatives", "|"]].concat());
    for more in [&of_training[..]].into_iter().chain(named.iter().map(Vec::as_slice)) {
        let result = evaluate(more);
        let value = |metric: &str| result["systems"][0]["scores"][metric]["value"].as_f64().unwrap();
        assert_equal(value("exact_match"), exact);
        assert_equal(value("character_error_rate"), rate);
        let signature = result["metrics"][2]["signature"].as_str().unwrap();
        assert!(signature.starts_with("nrefs:var|"), "{more:?}: {signature}");
    }
    // Without the option, a field of a table is one reference.
    let result = evaluate(&["--input", "out.jsonl"]);
    assert!(result["systems"][0]["scores"]["exact_match"]["value"].as_f64().unwrap() < exact);
    assert!(result["metrics"][2]["signature"].as_str().unwrap().starts_with("nrefs:1|"));
}

#[test]
fn the_first_target_is_scored() {
    let scene = scene();
    let scored = |input: &str| -> Vec<Value> {
        let scores = scene.seqloom(&["score", "runs/several", "--input", input, "--format", "jsonl"]);
        objects(&scores.succeeded().stdout)
    };
    let (several, firsts) = (scored("valid.csv"), scored("firsts.csv"));
    assert_eq!((several.len(), &several[2]["source"]), (40, &json!(words(403)[402])));
    for ((n, one), other) in several.iter().enumerate().zip(&firsts) {
        assert_eq!([&one["score"], &one["length"]], [&other["score"], &other["length"]]);
        assert_eq!(one["target"], json!(field(n, one["source"].as_str().unwrap())), "as in the file");
    }
}

#[test]
fn an_experiment_compares_with_all_targets() {
    let scene = Scene::new(60, 12);
    let words = words(72).split_off(60);
    let rows: String =
        words.iter().enumerate().map(|(n, word)| format!("{word},{}\n", field(n, word))).collect();
    scene.write("valid.csv", format!("source,target\n{rows}"));
    let extends = "extends = \"copy.toml\"\nname = \"several\"\n";
    scene.write("several.toml", format!("{extends}[data.target]\nalternatives = \"|\"\n"));
    let short = ["training.steps=60", "training.validate_every=60", "training.checkpoint_every=60"];
    let mut arguments = vec!["experiment", "several.toml", "--seeds", "1", "--out", "out"];
    short.iter().for_each(|setting| arguments.extend(["--set", *setting]));
    scene.seqloom(&arguments).succeeded();
    let rows = objects(&scene.text("out/outputs/several-seed1/valid.jsonl"));
    let (all, firsts) = (by_hand(&rows, usize::MAX), by_hand(&rows, 1));
    assert_ne!(all[1], firsts[1]);
    let table = scene.text("out/table.csv");
    let mean = |metric: &str| -> f64 {
        let row = table.lines().find(|row| row.starts_with(&format!("valid,{metric},several,"))).unwrap();
        row.split(',').nth(3).unwrap().parse().unwrap()
    };
    assert_equal(mean("exact_match"), all[0]);
    assert_equal(mean("character_error_rate"), all[1]);
    scene.seqloom(&["experiment", "copy.toml", "several.toml"]).refused_naming(
        2,
        &["all configs must have the same `data.target.alternatives`, but copy and several differ"],
    );
}

/// The model copies its source, which is the second target; the first one, which is learned, is the source turned around. The
/// vocabulary lacks the third.
#[test]
fn a_set_in_a_file_trains_and_validates_as_in_memory() {
    let scene = Scene::trained();
    let row = |word: &String, others: &str| {
        let turned: String = word.chars().rev().collect();
        format!("{word},{turned}{}\n", others.replace("word", word))
    };
    let rows = |others: &str| -> String { words(400).iter().map(|word| row(word, others)).collect() };
    scene.write("train.csv", format!("source,target\n{}", rows("|word|zz")));
    scene.write("firsts.csv", format!("source,target\n{}", rows("")));
    let share = ["--set", "data.valid={ share = 0.1 }", "--set", "training.steps=2"];
    let in_memory = [&share[..], &SEVERAL].concat();
    let in_file =
        [&in_memory[..], &["--set", "data.in_memory_limit=0", "--set", "data.cache=cache"]].concat();
    train(&scene, "memory", &in_memory);
    train(&scene, "file", &in_file);
    // From the files that are there: the pairs that are held out are in one of them.
    train(&scene, "opened", &in_file);
    train(&scene, "resumed", &[&in_file[..], &["--set", "training.steps=1"]].concat());
    train(&scene, "resumed", &[&in_memory[..], &["--resume"]].concat());
    let valid = |run: &str| -> Value {
        let state = scene.text(scene.checkpoint(run, "latest").join("state.json"));
        serde_json::from_str::<Value>(&state).unwrap()["valid"].clone()
    };
    for run in ["file", "opened", "resumed"] {
        scene.same_run("memory", run);
        assert_eq!(valid("memory"), valid(run));
    }
    // The first targets alone train the same weights, but as references they are others.
    train(&scene, "firsts", &[&share[..], &["--set", "data.train=firsts.csv"]].concat());
    let weights = |run: &str| scene.read(scene.checkpoint(run, "latest").join("training.safetensors"));
    assert!(weights("firsts") == weights("memory"));
    let exact = |run: &str| numbers(&scene.metrics(run, "valid"), "exact_match");
    assert!(exact("memory").iter().all(|share| *share > 0.8), "{:?}", exact("memory"));
    assert!(exact("firsts").iter().all(|share| *share < 0.5), "{:?}", exact("firsts"));
    assert_ne!(valid("firsts"), valid("memory"));
}

#[test]
fn an_empty_one_of_several_is_refused_at_its_place_by_every_command_that_reads_it() {
    let scene = scene();
    scene.write("bad.csv", "source,target\nab,ab\ncd,cd||x\n");
    scene.write("table.csv", "reference,output\nab,ab\ncd||x,cd\n");
    scene.write("ref.txt", "ab\ncd||x\n");
    scene.write("out.txt", "ab\ncd\n");
    let refused = |arguments: &[&str], place: &str| {
        let must =
            format!("{place}: none of several targets may be empty, but one of these is\n  cd||x\nhint: ");
        scene.seqloom(arguments).refused_naming(2, &[&must, "the needless `|`"]);
    };
    let valid = ["--set", "data.valid=bad.csv"];
    refused(&[&["train", "copy.toml", "--out", "run"], &SEVERAL[..], &valid].concat(), "bad.csv:3");
    refused(&[&["data", "copy.toml"], &SEVERAL[..], &valid].concat(), "bad.csv:3");
    for command in ["decode", "score"] {
        refused(&[command, "runs/several", "--input", "bad.csv", "--output", "to.jsonl"], "bad.csv:3");
    }
    refused(&["evaluate", "runs/several", "--input", "bad.csv"], "bad.csv:3");
    refused(&["evaluate", "--input", "table.csv", "--alternatives", "|"], "table.csv:3");
    let texts = ["evaluate", "--references", "ref.txt", "--outputs", "out.txt", "--alternatives", "|"];
    refused(&texts, "ref.txt:2");
    let parallel = "data.valid={ source = \"out.txt\", target = \"ref.txt\" }";
    refused(
        &[&["train", "copy.toml", "--out", "run", "--set", parallel], &SEVERAL[..]].concat(),
        "ref.txt:2",
    );
    let checked = scene.seqloom(&[&["check", "copy.toml", "--out", "run"], &SEVERAL[..], &valid].concat());
    assert!(
        checked.stdout.contains("1. bad.csv:3: none of several targets may be empty"),
        "{}",
        checked.stdout
    );
    // Where rows may be skipped, such a row is one.
    let skipped = ["decode", "runs/several", "--input", "bad.csv", "--on-error", "skip"];
    let finished = scene.seqloom(&skipped).succeeded();
    assert!(finished.stderr.contains("note: skipped rows: 1 "), "{}", finished.stderr);
    assert_eq!(finished.stdout.lines().count(), 2);
    // Without the key, it is a text like any other.
    scene.seqloom(&["decode", "runs/copy", "--input", "bad.csv"]).succeeded();
}
