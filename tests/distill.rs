//! `seqloom distill`: which outputs of a teacher become pairs, in which columns, and that a student trains on them as they are.

mod inputs;
mod resumed;

use std::collections::BTreeSet;
use std::process::Child;

use seqloom::data::Files;
use seqloom::data::readers::read_pairs;
use serde_json::{Value, json};

use crate::support::run::{Finished, Scene, lines, objects, unsure_lines, wait_until, words};

/// All letters of the model's language.
const BAN_ALL: &str = r#"decoding.banned=["a", "b", "c", "d", "e", "f", "g", "h"]"#;

fn distill(scene: &Scene, more: &[&str]) -> Finished {
    scene.seqloom(&[&["distill", "runs/copy"], more].concat())
}

/// The pairs of a table, as training reads them.
fn pairs(scene: &Scene, name: &str) -> Vec<[String; 2]> {
    let read = read_pairs(&Files(vec![scene.path(name).into()]), ["source", "target"], true).unwrap();
    read.pairs.into_iter().map(|pair| [pair.source, pair.target]).collect()
}

/// The outputs of `decode` that can be pairs, with their sources.
fn usable(decoded: &Finished) -> Vec<[String; 2]> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let rows = objects(&decoded.stdout).into_iter().filter(|row| row["finished"] == true);
    let all = rows.map(|row| ["source", "output"].map(|key| text(&row, key)));
    all.filter(|[_, output]| !output.is_empty() && !output.contains("<unk>")).collect()
}

fn decode(scene: &Scene, input: &str, more: &[&str]) -> Finished {
    scene.decode(&[&["--input", input, "--format", "jsonl"], more].concat(), "").succeeded()
}

/// The line with the counts.
fn counts(finished: &Finished) -> &str {
    finished
        .stderr
        .lines()
        .find(|line| line.contains(", written to "))
        .unwrap_or_else(|| panic!("{finished:?}"))
}

#[test]
fn the_outputs_for_the_training_pairs_train_a_student() {
    let scene = Scene::trained();
    let finished = distill(&scene, &["--output", "pairs.csv"]).succeeded();
    let expected = usable(&decode(&scene, "train.csv", &["--beam", "5"]));
    let count = expected.len();
    assert!(count > 380, "{count} of 400 outputs can be pairs");
    assert_eq!(pairs(&scene, "pairs.csv"), expected);
    assert!(scene.text("pairs.csv").starts_with("source,target\n"));
    let equal = expected.iter().filter(|[source, target]| source == target).count();
    let line = counts(&finished);
    assert!(line.starts_with(&format!("{count} pairs from 400 sources, written to pairs.csv; ")), "{line}");
    assert!(line.ends_with(&format!("; {equal} of {count} equal their references")), "{line}");
    let next = "to train a student: data.train = \"pairs.csv\", or add this file to those of data.train\n";
    assert!(finished.stderr.ends_with(next), "{}", finished.stderr);
    assert!(finished.stdout.is_empty());
    for (train, count) in [("\"pairs.csv\"", count), ("[\"train.csv\", \"pairs.csv\"]", 400 + count)] {
        let set = format!("data.train={train}");
        let checked = scene.seqloom(&["check", "copy.toml", "--out", "student", "--set", &set]).succeeded();
        assert!(checked.stdout.contains(&format!("\n{count} training pairs\n")), "{}", checked.stdout);
    }
    scene
        .train(&["--out", "student", "--set", "data.train=pairs.csv", "--set", "training.steps=2"])
        .succeeded();
}

#[test]
fn the_beam_is_5_unless_an_option_says_otherwise_and_a_source_may_have_several_pairs() {
    let scene = Scene::trained();
    scene.write("in.txt", unsure_lines(40));
    for (more, search) in [
        (&[][..], &["--beam", "5"][..]),
        (&["--beam", "1"], &["--beam", "1"]),
        (&["--set", "decoding.beam=1"], &["--beam", "1"]),
        (&["--mbr", "chrf", "--candidates", "4"], &["--beam", "5", "--mbr", "chrf", "--candidates", "4"]),
        (&["--set", "decoding.n_best=2"], &["--beam", "5", "--n-best", "2"]),
        (&["--n-best", "3"], &["--beam", "5", "--n-best", "3"]),
    ] {
        let own = ["--input", "in.txt", "--output", "pairs.jsonl"];
        let finished = distill(&scene, &[&own[..], more].concat()).succeeded();
        let expected = usable(&decode(&scene, "in.txt", search));
        assert_eq!(pairs(&scene, "pairs.jsonl"), expected, "{more:?}");
        assert!(!counts(&finished).contains("references"), "{}", finished.stderr);
        let note = "note: sources with symbols that are not in the vocabulary: 26 (decoded as <unk>)\n";
        assert!(finished.stderr.contains(note), "{}", finished.stderr);
    }
    assert!(pairs(&scene, "pairs.jsonl").len() > 40, "the last ones are the three best of each source");
    scene.train(&[
        "--out",
        "runs/lists",
        "--set",
        "decoding.n_best=3",
        "--set",
        "decoding.beam=3",
        "--set",
        "training.steps=20",
    ]);
    let one =
        ["decode", "runs/lists", "--input", "in.txt", "--output", "one.csv", "--n-best", "1", "--beam", "1"];
    scene.seqloom(&one).succeeded();
    let many = distill(&scene, &["--input", "in.txt", "--output", "pairs.csv", "--n-best", "7"]).succeeded();
    assert!(many.stderr.contains("note: --n-best 7 needs a beam of that width"), "{}", many.stderr);
    distill(&scene, &["--input", "in.txt", "--output", "pairs.csv", "--set", "decoding.n_best=7"]).refused(
        2,
        "error: --set decoding.n_best=7: `n_best` must be at most `beam`, but they are 7 and 5\n\
         hint: widen `beam` to 7 or more",
    );
}

#[test]
fn the_output_closest_to_the_reference_is_chosen() {
    let scene = Scene::trained();
    scene.write("in.txt", unsure_lines(40));
    let rows = objects(&decode(&scene, "in.txt", &["--beam", "5", "--n-best", "5"]).stdout);
    // The second outputs as references: by rank they would not be chosen.
    let is_second = |row: &&Value| row["rank"] == 2 && row["finished"] == true && row["output"] != "";
    let seconds: Vec<&Value> = rows.iter().filter(is_second).collect();
    assert!(seconds.len() > 10, "{} outputs are second", seconds.len());
    let reference =
        |row: &&Value| format!("{}\n", json!({ "source": row["source"], "target": row["output"] }));
    scene.write("in.jsonl", seconds.iter().map(reference).collect::<String>());
    let expected: Vec<[String; 2]> = seconds
        .iter()
        .map(|row| ["source", "output"].map(|key| row[key].as_str().unwrap().to_owned()))
        .filter(|[_, output]| !output.contains("<unk>"))
        .collect();
    for metric in ["exact_match", "character_error_rate", "chrf"] {
        let arguments = ["--input", "in.jsonl", "--output", "pairs.csv", "--closest", metric];
        let finished = distill(&scene, &arguments).succeeded();
        let found = pairs(&scene, "pairs.csv");
        let right = expected.iter().filter(|pair| found.contains(pair)).count();
        assert_eq!(right, expected.len(), "{metric}: {}", finished.stderr);
        assert!(found.len() <= seconds.len(), "{metric}: one pair for each source");
    }
    let refused = |more: &[&str], parts: &[&str]| {
        distill(&scene, &[&["--output", "new.csv"], more].concat()).refused_naming(2, parts);
        assert!(!scene.path("new.csv").exists());
    };
    refused(
        &["--closest", "blue"],
        &["--closest must name a metric, but `blue` is not one", "did you mean `bleu`?"],
    );
    refused(&["--closest", "chrf", "--n-best", "1"], &["`decoding.n_best` is 1", "--n-best 5"]);
    refused(
        &["--closest", "chrf", "--input", "in.txt"],
        &["in.txt: --closest compares outputs with references"],
    );
    scene.write("lacking.jsonl", "{\"source\":\"ab\"}\n");
    distill(&scene, &["--output", "new.csv", "--closest", "chrf", "--input", "lacking.jsonl"])
        .refused_naming(2, &["lacking.jsonl:1: --closest compares outputs with references"]);
}

#[test]
fn what_cannot_be_a_pair_is_left_out_and_counted() {
    let scene = Scene::trained();
    scene.write("in.txt", "abc\nhgfed\n\n cab \n");
    // A wider beam would find shorter outputs.
    let own = ["--input", "in.txt", "--output", "p.csv", "--beam", "1"];
    let distill = |more: &[&str]| distill(&scene, &[&own[..], more].concat());
    let finished = distill(&["--set", "decoding.max_length=4"]).succeeded();
    let found = pairs(&scene, "p.csv");
    assert_eq!(found, [["abc", "abc"], [" cab ", "cab"]].map(|pair| pair.map(str::to_owned)));
    let line = "2 pairs from 4 sources, written to p.csv; left out: 1 unfinished, 1 empty";
    assert_eq!(counts(&finished), line);
    let finished = distill(&["--set", "data.target.max_length=4"]).succeeded();
    let line =
        "2 pairs from 4 sources, written to p.csv; left out: 1 empty, 1 longer than `data.target.max_length`";
    assert_eq!(counts(&finished), line);
    // Without letters there is <unk>, or nothing.
    let nothing = distill(&["--set", BAN_ALL, "--set", "decoding.suppress_unknown=true"]);
    assert_eq!(nothing.code, Some(2), "{}", nothing.stderr);
    let end = "left out: 4 empty\nerror: no output of 4 sources can be a pair\n\
               hint: look at the outputs with `seqloom decode`\n";
    assert!(nothing.stderr.ends_with(end), "{}", nothing.stderr);
    let once = ["--set", "decoding.min_length=2", "--set", "decoding.no_repeat_ngram=1"];
    let unknown = distill(&[&["--set", BAN_ALL], &once[..]].concat());
    assert!(unknown.stderr.contains("; left out: 3 with <unk>, 1 empty\n"), "{}", unknown.stderr);
    let long = distill(&["--set", "data.source.max_length=4"]);
    long.refused_naming(2, &["error: in.txt:2: a source may have 4 tokens", "--on-error skip"]);
    let finished = distill(&["--set", "data.source.max_length=4", "--on-error", "skip"]).succeeded();
    let line = "2 pairs from 4 sources, written to p.csv; left out: 1 not decoded, 1 empty";
    assert_eq!(counts(&finished), line);
    let note = "note: the first source that was not decoded: in.txt:2: a source may have 4 tokens";
    assert!(finished.stderr.contains(note), "{}", finished.stderr);
}

#[test]
fn the_training_pairs_are_read_with_their_policies_and_without_those_that_are_held_out() {
    let scene = Scene::new(200, 10);
    let extra = "source,target\nabab,abab\n,ab\ncdcd,dc\nefef,fe\n";
    scene.write("extra.csv", extra);
    let settings = [
        "data.train=[\"train.csv\", \"extra.csv\", \"extra.csv\"]",
        "data.empty=skip",
        "data.duplicate=skip",
        "data.copy=skip",
        "training.steps=150",
        "training.validate_every=150",
    ];
    // Words and their reverses: none of them is a copy.
    let turned = |word: &String| word.chars().rev().collect::<String>();
    let words: Vec<String> = words(210).into_iter().filter(|word| turned(word) != *word).collect();
    let table = |words: &[String]| -> String {
        let rows = words.iter().map(|word| format!("{word},{}\n", turned(word)));
        format!("source,target\n{}", rows.collect::<String>())
    };
    let (valid, train) = words.split_at(10);
    scene.write("valid.csv", table(valid));
    scene.write("train.csv", table(train));
    let set: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    let trained = scene.train(&set).succeeded().stderr;
    let count = train.len() + 2;
    assert!(trained.contains(&format!("{count} training pairs; ")), "{trained}");
    let finished = distill(&scene, &["--output", "p.csv"]);
    for part in [
        &format!(" from {count} sources, written to p.csv"),
        "note: training pairs skipped because a side is empty: 2, the first at extra.csv:3\n",
        "note: training pairs skipped because source and target are equal: 2, the first at extra.csv:2\n",
        "note: training pairs skipped because the same pair came before: 2, the first at extra.csv:4\n",
    ] {
        assert!(finished.stderr.contains(part), "no {part:?} in\n{}", finished.stderr);
    }
    let share = ["--set", "data.valid={share=0.1}", "--out", "runs/share"];
    let trained = scene.train(&[&set[..], &share].concat()).succeeded().stderr;
    let finished = scene.seqloom(&["distill", "runs/share", "--output", "p.csv"]);
    let used: usize =
        trained.split_once(" training pairs; ").unwrap().0.rsplit('\n').next().unwrap().parse().unwrap();
    let held_out = count - used;
    assert!(held_out > 10 && held_out < 30, "{trained}");
    for part in [
        format!(" from {used} sources, written to p.csv"),
        format!("note: training pairs held out for validation (`data.valid`), and not decoded: {held_out}\n"),
    ] {
        assert!(finished.stderr.contains(&part), "no {part:?} in\n{}", finished.stderr);
    }
}

/// UniMorph's form: lemma, form, tags, without a header, in a file whose name tells no format.
#[test]
fn sources_of_several_columns_without_a_header_keep_their_places() {
    let scene = Scene::new(8, 2);
    let data = "format = \"tsv\"\nheader = false\n[data.source]\nparts = [{ column = \"3\", split = \";\", set = true }, \
                { column = \"1\", characters = {} }]\n[data.target]\ncolumn = \"2\"\n[model.transformer]";
    let config = scene.text("copy.toml").replace(".csv", ".txt").replace("[model.transformer]", data);
    scene.write("copy.toml", config);
    let rows: Vec<[String; 3]> = ["ab", "cd", "ef", "gh"]
        .into_iter()
        .flat_map(|word| [("N;SG", "a"), ("N;PL", "b")].map(|(tags, end)| (word, tags, end)))
        .map(|(word, tags, end)| [word.to_owned(), format!("{word}{end}"), tags.to_owned()])
        .collect();
    let table: String = rows.iter().map(|row| row.join("\t") + "\n").collect();
    scene.write("train.txt", &table);
    scene.write("valid.txt", &table);
    scene.train(&["--set", "training.steps=250", "--set", "training.validate_every=250"]).succeeded();
    let finished = distill(&scene, &["--output", "pairs.csv"]).succeeded();
    let written: Vec<Vec<String>> =
        scene.text("pairs.csv").lines().map(|line| line.split(',').map(str::to_owned).collect()).collect();
    assert!(!written.is_empty());
    for row in &written {
        let known = rows.iter().any(|known| known[0] == row[0] && known[2] == row[2]);
        assert!(row.len() == 3 && known && !row[1].is_empty(), "{row:?}");
    }
    let next =
        "to train a student: data.train = { file = \"pairs.csv\", format = \"csv\" }, or add this file";
    assert!(finished.stderr.contains(next), "{}", finished.stderr);
    let set = "data.train=[\"train.txt\", { file = \"pairs.csv\", format = \"csv\" }]";
    let trained = scene.train(&["--out", "student", "--set", set, "--set", "training.steps=2"]).succeeded();
    let count = format!("{} training pairs", 8 + written.len());
    assert!(trained.stderr.contains(&count), "{}", trained.stderr);
    // As objects they have the names of the columns, and other sources have a tab between them.
    scene.write("in.txt", "N;PL\tab\n");
    distill(&scene, &["--input", "in.txt", "--output", "pairs.jsonl"]).succeeded();
    let object = &objects(&scene.text("pairs.jsonl"))[0];
    assert_eq!((&object["3"], &object["1"]), (&json!("N;PL"), &json!("ab")));
    scene.write("in.txt", "ab\n");
    distill(&scene, &["--input", "in.txt", "--output", "pairs.jsonl"])
        .refused_naming(2, &["error: in.txt:1: "]);
}

#[test]
fn texts_with_quotes_line_breaks_and_spaces_are_read_back_as_they_are() {
    let scene = Scene::new(8, 2);
    // Half of the targets have a line break of two characters, which no CSV keeps.
    let target = |name: &str, end: &str| format!("  if \"{name}\",{end}\treturn {name}\n");
    let names = ["ab", "cd", "ef", "gh"];
    let rows: Vec<[String; 2]> = names
        .into_iter()
        .flat_map(|name| [("\n", name.to_owned()), ("\r\n", name.to_uppercase())])
        .map(|(end, name)| [format!(" {name}\"\n"), target(&name, end)])
        .collect();
    let object =
        |[source, target]: &[String; 2]| format!("{}\n", json!({ "source": source, "target": target }));
    scene.write("train.jsonl", rows.iter().map(object).collect::<String>());
    let settings = [
        "data.train=train.jsonl",
        "data.valid=train.jsonl",
        "data.source.whitespace=keep",
        "data.target.whitespace=keep",
        "decoding.max_length_offset=60",
    ];
    let set: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    let long = ["--set", "training.steps=400", "--set", "training.validate_every=400"];
    scene.train(&[&set[..], &long].concat()).succeeded();
    let decoded = usable(&decode(&scene, "train.jsonl", &["--beam", "5"]));
    assert!(decoded.iter().filter(|pair| rows.contains(pair)).count() >= 6, "{decoded:?}");
    distill(&scene, &["--output", "pairs.jsonl"]).succeeded();
    assert_eq!(pairs(&scene, "pairs.jsonl"), decoded);
    let finished = distill(&scene, &["--output", "pairs.csv"]).succeeded();
    let (kept, left_out): (Vec<_>, Vec<_>) =
        decoded.into_iter().partition(|pair| pair.iter().all(|text| !text.contains("\r\n")));
    assert!(kept.len() >= 3 && left_out.len() >= 3);
    assert_eq!(pairs(&scene, "pairs.csv"), kept);
    let omitted = format!("{} with CR LF, which only .jsonl keeps", left_out.len());
    assert!(counts(&finished).contains(&omitted), "{}", finished.stderr);
    let student = [&set[2..], &["--out", "student", "--set", "data.train=pairs.csv"]].concat();
    let said = scene.train(&[&student[..], &["--set", "training.steps=1"]].concat()).succeeded().stderr;
    assert!(!said.contains("pairs.csv: reading changed"), "{said}");
}

/// A command that has written pairs of some sources.
fn started(scene: &Scene, arguments: &[&str], record: &str) -> Child {
    let child = scene.spawn(&[&["distill", "runs/copy"], arguments].concat());
    let done = || {
        let bytes = std::fs::read(scene.path(record)).unwrap_or_default();
        let record: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        record["progress"]["tally"]["sources"].as_u64().unwrap_or(0)
    };
    wait_until("pairs are written", || done() > 0);
    child
}

#[test]
fn a_killed_command_is_resumed_and_ends_with_the_same_pairs_and_counts() {
    let scene = Scene::trained();
    let sources = lines(&words(8000));
    scene.write("in.txt", &sources);
    // Greedy search leaves words of six letters without EOS.
    let own = ["--input", "in.txt", "--beam", "1", "--set", "decoding.max_length=6"];
    let whole = distill(&scene, &[&own[..], &["--output", "whole.csv"]].concat()).succeeded();
    assert!(counts(&whole).contains(" unfinished"), "some sources have no pair: {}", whole.stderr);
    for output in ["pairs.csv", "pairs.jsonl"] {
        let arguments = [&own[..], &["--output", output]].concat();
        let record = format!("{output}.resume.json");
        let mut child = started(&scene, &arguments, &record);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(scene.path(&record).exists(), "it was not finished");
        // A pair that its record does not know.
        scene.write(output, [scene.read(output), b"torn,".to_vec()].concat());
        let resume = [&arguments[..], &["--resume"]].concat();
        let refused = distill(&scene, &[&resume[..], &["--set", "decoding.min_length=2"]].concat());
        refused.refused_naming(
            2,
            &["must be resumed with the same settings, but `decoding.min_length` was 0 and is now 2"],
        );
        scene.write("in.txt", sources.replacen('\n', "x\n", 1));
        distill(&scene, &resume).refused_naming(2, &["the same settings, but `content of in.txt` was \""]);
        scene.write("in.txt", &sources);
        let resumed = distill(&scene, &resume).succeeded();
        assert!(resumed.stderr.contains(&format!("{output} already has ")), "{}", resumed.stderr);
        assert_eq!(counts(&resumed).replace(output, "whole.csv"), counts(&whole));
        assert_eq!(pairs(&scene, output), pairs(&scene, "whole.csv"));
        let complete = distill(&scene, &resume).succeeded();
        let begins = format!("{output} is complete, by the same model, input and options\n");
        assert!(complete.stderr.starts_with(&begins), "{}", complete.stderr);
        assert_eq!(counts(&complete), counts(&resumed));
    }
    assert_eq!(scene.text("pairs.csv"), scene.text("whole.csv"));
    // An output that never began is begun, and one that has lost its end is refused.
    distill(&scene, &[&own[..2], &["--output", "new.csv", "--resume", "--shard", "1/100"]].concat())
        .succeeded();
    let arguments = [&own[..], &["--output", "lost.csv"]].concat();
    let mut child = started(&scene, &arguments, "lost.csv.resume.json");
    child.kill().unwrap();
    child.wait().unwrap();
    scene.write("lost.csv", "source,target\n");
    distill(&scene, &[&arguments[..], &["--resume"]].concat())
        .refused_naming(2, &["bytes by its record, but lost.csv has 14", "leave out --resume"]);
}

#[test]
fn jobs_share_the_sources_and_a_student_reads_all_their_files() {
    let scene = Scene::trained();
    distill(&scene, &["--output", "whole.csv"]).succeeded();
    for (shard, output) in [("1/2", "one.csv"), ("2/2", "two.csv")] {
        let finished = distill(&scene, &["--output", output, "--shard", shard]).succeeded();
        assert!(counts(&finished).contains(" from 200 sources, "), "{}", finished.stderr);
    }
    let set = |names: &[&str]| -> BTreeSet<[String; 2]> {
        names.iter().flat_map(|name| pairs(&scene, name)).collect()
    };
    assert_eq!(set(&["one.csv", "two.csv"]), set(&["whole.csv"]));
    scene
        .seqloom(&["merge", "one.csv", "two.csv", "--output", "both.csv"])
        .refused_naming(2, &["outputs of `distill` are not merged"]);
}

#[test]
fn an_ensemble_teaches_and_several_files_of_sources_are_decoded() {
    let scene = Scene::two();
    scene.write("one.txt", lines(&words(20)));
    scene.write("two.csv", "text\nabc\nhgfed\n");
    let both = ["--input", "one.txt", "--with", "runs/other", "--output", "pairs.jsonl"];
    let finished = distill(&scene, &both).succeeded();
    let expected = usable(&decode(&scene, "one.txt", &["--beam", "5", "--with", "runs/other"]));
    assert_eq!(pairs(&scene, "pairs.jsonl"), expected);
    assert!(counts(&finished).contains(" from 20 sources, "), "{}", finished.stderr);
    scene.write("more.csv", "source\nabc\nhgfed\n");
    let two = ["--input", "one.txt", "--input", "more.csv", "--output", "pairs.csv"];
    let finished = distill(&scene, &two).succeeded();
    assert!(counts(&finished).contains(" from 22 sources, "), "{}", finished.stderr);
    let column = ["--input", "two.csv", "--column", "text", "--output", "pairs.csv"];
    let finished = distill(&scene, &column).succeeded();
    assert!(counts(&finished).contains(" from 2 sources, "), "{}", finished.stderr);
    assert!(scene.text("pairs.csv").starts_with("source,target\nabc,"), "the columns are those of the run");
}

#[test]
fn an_output_that_would_destroy_something_or_has_no_columns_is_refused() {
    let scene = Scene::trained();
    let refused = |more: &[&str], parts: &[&str]| distill(&scene, more).refused_naming(2, parts);
    let before = scene.read("train.csv");
    refused(&["--output", "./train.csv"], &["cannot be both the `data.train` and the output"]);
    refused(&["--output", "runs/copy/metrics.csv"], &["it belongs to the run"]);
    assert_eq!(scene.read("train.csv"), before);
    for name in ["pairs.txt", "pairs.tsv", "pairs", "pairs.csv.gz", "-"] {
        refused(&["--output", name], &["--output must name a .csv or .jsonl file", name]);
    }
    refused(
        &["--output", "pairs.csv", "--input", "none.txt"],
        &["cannot read none.txt: no such file or directory"],
    );
    scene.seqloom(&["distill", "runs/none", "--output", "pairs.csv"]).refused_naming(2, &["runs/none"]);
    // What cannot be read does not empty an old output.
    scene.write("pairs.csv", "old\n");
    std::fs::remove_file(scene.path("train.csv")).unwrap();
    refused(&["--output", "pairs.csv"], &["cannot read train.csv: no such file or directory"]);
    assert_eq!(scene.text("pairs.csv"), "old\n");
    let finished = scene.seqloom(&["distill", "runs/copy"]);
    assert!(finished.code == Some(2) && finished.stderr.contains("--output <FILE>"), "{}", finished.stderr);
}
