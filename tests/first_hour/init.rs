//! `seqloom init`: its files can be trained on at once, contain every pair once, and overwrite nothing.

use std::collections::BTreeSet;

use seqloom::config::Experiment;

use crate::support::run::{Finished, Scene, words};

/// Words and their letters with spaces between them, some words twice.
fn spellings(count: usize) -> Vec<(String, String)> {
    let spelled = |word: &String| word.chars().map(String::from).collect::<Vec<_>>().join(" ");
    let words = words(count);
    words.iter().chain(&words[..count / 10]).map(|word| (word.clone(), spelled(word))).collect()
}

fn rows(scene: &Scene, name: &str) -> Vec<(String, String)> {
    let text = scene.text(name);
    csv::Reader::from_reader(text.as_bytes()).into_deserialize().map(Result::unwrap).collect()
}

fn lines(pairs: &[(String, String)], between: char) -> String {
    pairs.iter().map(|(source, target)| format!("{source}{between}{target}\n")).collect()
}

fn init(scene: &Scene, arguments: &[&str]) -> Finished {
    scene.seqloom(&[&["init"], arguments].concat())
}

#[test]
fn init_writes_every_pair_once_and_its_config_trains_unchanged() {
    let scene = Scene::new(8, 2);
    let pairs = spellings(400);
    scene.write("spell.csv", format!("source,target\n{}", lines(&pairs, ',')));
    let stderr = init(&scene, &["spell.csv"]).succeeded().stderr;
    assert!(stderr.contains("spell.train.csv: 396 pairs for training\n"), "{stderr}");
    assert!(stderr.contains("tokens of the targets: words (8 different ones"), "{stderr}");
    assert!(stderr.ends_with("Train with: seqloom train spell.toml\n"), "{stderr}");
    let parts = ["train", "valid", "test"].map(|part| rows(&scene, &format!("spell.{part}.csv")));
    assert_eq!([parts[1].len(), parts[2].len()], [22, 22]);
    let mut all = parts.concat();
    let mut expected = pairs.clone();
    all.sort();
    expected.sort();
    assert_eq!(all, expected);
    let sources = |part: &[(String, String)]| part.iter().map(|pair| pair.0.clone()).collect::<BTreeSet<_>>();
    let [train, valid, test] = parts.map(|part| sources(&part));
    assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
    let experiment = Experiment::load(&scene.path("spell.toml"), &[]).unwrap();
    assert!(experiment.data.target.words.is_some() && experiment.data.source.characters.is_some());
    let few = ["training.steps=4", "training.validate_every=4", "runtime.device=cpu", "runtime.threads=1"];
    let mut train = vec!["train", "spell.toml"];
    few.iter().for_each(|setting| train.extend(["--set", *setting]));
    scene.seqloom(&train).succeeded();
    assert!(scene.path("runs/spell/best").exists());
}

#[test]
fn every_file_format_gives_the_same_splits() {
    let scene = Scene::new(8, 2);
    let pairs = spellings(100);
    let object = |(source, target): &(String, String)| {
        format!("{}\n", serde_json::json!({"in": source, "out": target}))
    };
    let side = |side: fn(&(String, String)) -> &String| {
        pairs.iter().map(|pair| format!("{}\n", side(pair))).collect::<String>()
    };
    scene.write("a.csv", format!("source,target\n{}", lines(&pairs, ',')));
    scene.write("b.tsv", format!("word\tspelled\n{}", lines(&pairs, '\t')));
    scene.write("c.jsonl", pairs.iter().map(object).collect::<String>());
    scene.write("d.in", side(|pair| &pair.0));
    scene.write("d.out", side(|pair| &pair.1));
    init(&scene, &["a.csv"]).succeeded();
    let stderr = init(&scene, &["b.tsv"]).succeeded().stderr;
    assert!(
        stderr.starts_with(
            "columns: `word` is the source, `spelled` is the target; use --header false if these are a pair\n"
        ),
        "{stderr}"
    );
    scene.write("f.tsv", lines(&pairs, '\t'));
    init(&scene, &["f.tsv", "--header", "false"]).succeeded();
    init(&scene, &["c.jsonl", "--source-column", "in", "--target-column", "out"]).succeeded();
    std::fs::create_dir(scene.path("folder")).unwrap();
    init(&scene, &["d.in", "--targets", "d.out", "--name", "d", "--out", "folder"]).succeeded();
    for part in ["train", "valid", "test"] {
        let whole = scene.read(format!("a.{part}.csv"));
        for name in ["b", "c", "folder/d", "f"] {
            assert!(scene.read(format!("{name}.{part}.csv")) == whole, "{name} {part}");
        }
    }
    assert!(scene.text("folder/d.toml").contains("train = \"folder/d.train.csv\"\n"));
    init(&scene, &["a.csv", "--seed", "2", "--name", "e"]).succeeded();
    assert!(scene.read("e.valid.csv") != scene.read("a.valid.csv"));
}

#[test]
fn init_overwrites_nothing_and_leaves_no_incomplete_file() {
    let scene = Scene::new(8, 2);
    scene.write("a.csv", format!("source,target\n{}", lines(&spellings(40), ',')));
    for there in ["a.toml", "a.test.csv"] {
        scene.write(there, "mine");
        let before = scene.files("");
        let message = format!(
            "error: {there} already exists and is not overwritten\nhint: use another --name or --out"
        );
        init(&scene, &["a.csv"]).refused(2, &message);
        assert!(scene.files("") == before);
        std::fs::remove_file(scene.path(there)).unwrap();
    }
    let before = scene.files("");
    init(&scene, &["a.csv", "--out", "nowhere"]).refused_naming(2, &["nowhere"]);
    scene.write("two.csv", "source,target\na,b\nc,d\n a,e\n");
    init(&scene, &["two.csv"]).refused_naming(
        2,
        &["there must be at least three different sources", "two.csv has fewer in its 3 pairs"],
    );
    scene.write("broken.csv", "source,target\na,b\nc\n");
    init(&scene, &["broken.csv"]).refused_naming(2, &["broken.csv:3: the row has 1 field"]);
    scene.write("words.txt", "ab\n");
    init(&scene, &["words.txt"])
        .refused_naming(2, &["hint: for parallel text, PAIRS is the file of sources"]);
    init(&scene, &["none.csv"]).refused_naming(2, &["(looked for in "]);
    init(&scene, &["a.csv", "--name", "a/b"]).refused(
        2,
        "error: --name must be a name, not a path, but it is `a/b`\nhint: choose the folder with --out",
    );
    init(&scene, &["a.csv", "--source-column", "source", "--target-column", "source"])
        .refused_naming(2, &["sources and targets must be two columns, but both are `source`"]);
    for name in ["two.csv", "broken.csv", "words.txt"] {
        std::fs::remove_file(scene.path(name)).unwrap();
    }
    assert!(scene.files("") == before);
}
