//! The other fields of an input row are copied to the output, such as an `id`.

use serde_json::json;

use super::table;
use crate::support::run::{Scene, objects};

const OBJECTS: &str = concat!(
    r#"{"id": 123456789012345678901, "source": "abc", "meta": {"b": [1.0, {"z": null}], "a": "\u00e9"}}"#,
    "\n",
    r#"{"source": "bad", "id": "second", "target": "bad", "late": true}"#,
    "\n",
);

#[test]
fn objects_copy_every_other_field_unchanged() {
    let scene = Scene::trained();
    scene.write("in.jsonl", OBJECTS);
    let out = scene.decode(&["--input", "in.jsonl", "--format", "jsonl"], "").succeeded().stdout;
    let lines: Vec<&str> = out.lines().collect();
    let first = r#"{"id":123456789012345678901,"meta":{"b": [1.0, {"z": null}], "a": "\u00e9"},"source":"abc","reference":null,"output":"abc","score":"#;
    assert!(lines[0].starts_with(first), "{out}");
    let second = r#"{"id":"second","late":true,"source":"bad","reference":"bad","output":"bad","score":"#;
    assert!(lines[1].starts_with(second), "{out}");
}

#[test]
fn a_table_from_objects_has_the_fields_of_the_first_row_and_reports_the_rest() {
    let scene = Scene::trained();
    let skip = ["--input-format", "jsonl", "--format", "csv", "--on-error", "skip"];
    let finished = scene.decode(&skip, &format!("not read\n{OBJECTS}")).succeeded();
    let rows = table(&finished.stdout);
    let header = ["id", "meta", "source", "reference", "output", "score", "finished", "error"];
    assert_eq!(rows[0], header);
    assert_eq!(rows[1][..5], [""; 5], "a row that cannot be read carries nothing");
    assert_eq!(rows[2][..3], ["123456789012345678901", r#"{"b": [1.0, {"z": null}], "a": "\u00e9"}"#, "abc"]);
    assert_eq!(rows[3][..3], ["second", "", "bad"]);
    let note = "note: rows with fields that the first row lacks: 1 (the table has no column for them; --format jsonl keeps all); \
                the first: `late`";
    assert!(finished.stderr.contains(note), "{}", finished.stderr);
}

#[test]
fn other_columns_are_copied_to_tables_and_to_objects() {
    let scene = Scene::trained();
    scene.write("in.csv", "\"a, b\",source,,score,target\n\"x\ny\",abc,1,2,abc\n,bad,,,bad\n");
    let finished = scene.decode(&["--input", "in.csv", "--format", "csv"], "").succeeded();
    let rows = table(&finished.stdout);
    assert_eq!(rows[0], ["a, b", "", "source", "reference", "output", "score", "finished"]);
    assert_eq!(rows[1][..5], ["x\ny", "1", "abc", "abc", "abc"]);
    assert_eq!(rows[2][..5], ["", "", "bad", "bad", "bad"]);
    let note = "note: not copied from the input: `score` (the output has its own columns of that name)\n";
    assert!(finished.stderr.ends_with(note), "{}", finished.stderr);
    let out = scene.decode(&["--input", "in.csv", "--format", "jsonl"], "").succeeded().stdout;
    let first = &objects(&out)[0];
    assert_eq!([&first["a, b"], &first[""], &first["output"]], [&json!("x\ny"), &json!("1"), &json!("abc")]);
    assert!(first["score"].is_number());
    let text = scene.decode(&["--input", "in.csv"], "").succeeded();
    assert_eq!((text.stdout.as_str(), text.stderr.contains("note")), ("abc\nbad\n", false));
}

#[test]
fn each_output_of_a_list_and_of_a_shard_has_the_fields_of_its_row() {
    let scene = Scene::trained();
    scene.write("in.tsv", "source\tid\nabc\ti1\nbad\ti2\nfee\ti3\n");
    let asked = ["--input", "in.tsv", "--format", "csv", "--beam", "2", "--set", "decoding.n_best=2"];
    let rows = table(&scene.decode(&asked, "").succeeded().stdout);
    assert_eq!(rows[0][..4], ["id", "source", "rank", "output"]);
    let ids: Vec<[&str; 2]> = rows[1..].iter().map(|row| [row[0].as_str(), row[2].as_str()]).collect();
    assert_eq!(ids, [["i1", "1"], ["i1", "2"], ["i2", "1"], ["i2", "2"], ["i3", "1"], ["i3", "2"]]);
    let shard = ["--input", "in.tsv", "--format", "jsonl", "--shard", "2/2"];
    let out = scene.decode(&shard, "").succeeded().stdout;
    assert_eq!(objects(&out)[0]["id"], json!("i2"));
}

/// After a kill at any point, in each format from each format, the resumed output is the same.
#[test]
fn an_output_with_copied_fields_is_resumed() {
    let scene = Scene::trained();
    let words = ["abc", "bad", "fee", "cab", "dead"];
    let rows = words.iter().zip(0..).map(|(word, n)| format!("{word},\"i,{n}\"\n"));
    scene.write("in.csv", format!("source,\"the, id\"\n{}", rows.collect::<String>()));
    let rows =
        words.iter().zip(0..).map(|(word, n)| format!("{{\"the, id\": {n}, \"source\": \"{word}\"}}\n"));
    scene.write("in.jsonl", rows.collect::<String>());
    for input in ["in.csv", "in.jsonl"] {
        for output in ["out.csv", "out.jsonl"] {
            let arguments = ["--input", input, "--output", output];
            scene.decode(&arguments, "").succeeded();
            let whole = scene.text(output);
            for cut in [whole.len() - 1, whole.len() / 2, 3] {
                scene.write(output, &whole[..cut]);
                scene.decode(&[&arguments[..], &["--resume"]].concat(), "").succeeded();
                assert_eq!(scene.text(output), whole, "{input} to {output}, cut after byte {cut}");
            }
        }
    }
    // An input with other columns needs another output.
    scene.write("out.csv", "id,source,output,score,finished\n1,abc,abc,0,true\n");
    let refused = scene.decode(&["--input", "in.csv", "--output", "out.csv", "--resume"], "");
    refused.refused_naming(2, &["an output to resume must begin with `\"the, id\",source,output,"]);
}
