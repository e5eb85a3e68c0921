//! Rows that are broken, too long, empty or unusual: each is reported clearly, and the rows around it are unaffected.

use serde_json::{Value, json};

use crate::support::run::{Scene, objects};

/// Five rows between good ones: empty, unknown, NUL, not UTF-8, too long.
fn strange() -> Vec<u8> {
    let long = "a".repeat(100_000);
    [&b"abc\n\nxyz\nb\0a\n\xFFab\n"[..], long.as_bytes(), b"\ncab\n"].concat()
}

#[test]
fn an_invalid_row_ends_the_command_after_the_previous_rows() {
    let scene = Scene::trained();
    let finished = scene.fed(&["decode", "runs/copy"], b"ab\n\xFF\xFE\ncd\n");
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), "ab\n"));
    assert_eq!(
        finished.stderr,
        "error: <stdin>:2: the text must be UTF-8, but byte 1 of the line is 0xFF\n  \u{fffd}\u{fffd}\n\
         hint: convert the file to UTF-8\n"
    );
    let finished = scene.decode(&[], &format!("ab\n{}\n", "a".repeat(100_000)));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), "ab\n"));
    assert_eq!(
        finished.stderr,
        "error: <stdin>:2: a source may have 512 tokens (`data.source.max_length`), but this row's has 100000\n\
         hint: cut it with --truncate, or allow more with --set data.source.max_length=N\n"
    );
}

#[test]
fn with_skip_each_row_has_its_line_and_errors_are_reported() {
    let scene = Scene::trained();
    let finished = scene
        .fed(&["decode", "runs/copy", "--on-error", "skip", "--summary", "s.json"], &strange())
        .succeeded();
    let lines: Vec<&str> = finished.stdout.split('\n').collect();
    assert_eq!(lines.len(), 8, "{}", finished.stdout);
    assert_eq!([lines[0], lines[1], lines[4], lines[5], lines[6], lines[7]], ["abc", "", "", "", "cab", ""]);
    let notes = [
        "note: skipped rows: 2 (their outputs are empty); the first: <stdin>:5: the text must be UTF-8, but byte 1 of the line is 0xFF\n",
        "note: empty sources: 1 (their outputs are empty); the first: <stdin>:2\n",
        "note: sources with NUL characters: 1 (as in UTF-16 and binary files); the first: <stdin>:4\n",
        "note: sources without any symbol of the vocabulary: 1; the first: <stdin>:3\n",
        "note: symbols of the sources that are not in the vocabulary: 4\n",
    ];
    for note in notes {
        assert!(finished.stderr.contains(note), "no {note:?} in\n{}", finished.stderr);
    }
    let summary: Value = serde_json::from_str(&scene.text("s.json")).unwrap();
    assert_eq!((&summary["rows"], &summary["skipped"], &summary["empty"]), (&json!(7), &json!(2), &json!(1)));
    // The other rows are the same without it.
    let good = scene.decode(&[], "abc\nxyz\nb\0a\ncab\n").succeeded().stdout;
    assert_eq!(good.lines().collect::<Vec<_>>(), [lines[0], lines[2], lines[3], lines[6]]);
}

#[test]
fn a_skipped_row_has_its_reason_in_a_column() {
    let scene = Scene::trained();
    let skip = ["decode", "runs/copy", "--on-error", "skip", "--format"];
    let rows = objects(&scene.fed(&[&skip[..], &["jsonl"]].concat(), &strange()).succeeded().stdout);
    assert_eq!((&rows[0]["error"], &rows[0]["output"]), (&Value::Null, &json!("abc")));
    let broken = json!({
        "source": null, "output": "", "score": null, "finished": false,
        "error": "<stdin>:5: the text must be UTF-8, but byte 1 of the line is 0xFF\n  \u{fffd}ab"
    });
    assert_eq!(rows[4], broken);
    assert!(rows[5]["error"].as_str().unwrap().contains("this row's has 100000"), "{}", rows[5]["error"]);
    let text = scene.fed(&[&skip[..], &["csv"]].concat(), &strange()).succeeded().stdout;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.headers().unwrap(), &["source", "output", "score", "finished", "error"][..]);
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), &rows[4][1], &rows[4][2], &rows[6][1]), (7, "", "", "cab"));
}

#[test]
fn a_source_that_is_too_long_is_truncated_on_request_and_counted() {
    let scene = Scene::trained();
    let limit = ["--input-format", "text", "--set", "data.source.max_length=4"];
    let arguments = [&limit[..], &["--truncate", "--format", "jsonl"]].concat();
    let finished = scene.decode(&arguments, "abcdef\nabcd\n").succeeded();
    let rows = objects(&finished.stdout);
    assert_eq!((&rows[0]["truncated"], &rows[1]["truncated"]), (&json!(true), &json!(false)));
    assert_eq!((&rows[0]["output"], &rows[1]["output"]), (&json!("abcd"), &json!("abcd")));
    assert_eq!(finished.stderr, "note: truncated sources: 1 (too long, --truncate); the first: <stdin>:1\n");
    scene.decode(&limit, "abcdef\n").refused(
        2,
        "error: <stdin>:1: a source may have 4 tokens (`data.source.max_length`), but this row's has 6\n\
         hint: cut it with --truncate, or allow more with --set data.source.max_length=N",
    );
}

#[test]
fn an_invalid_row_of_any_table_can_be_skipped() {
    let scene = Scene::trained();
    let cases: [(&str, &[u8], &str); 3] = [
        (
            "in.csv",
            b"source,target\nab,ab\n\"c\n\xFFd\",cd\nef\ngh,gh\n",
            "in.csv:4: the text must be UTF-8, but byte 1 of the line is 0xFF",
        ),
        (
            "in.tsv",
            b"source\ttarget\nab\tab\ncd\nef\tef\tef\ngh\tgh\n",
            "in.tsv:3: the row has 1 field, but the header has 2",
        ),
        (
            "in.jsonl",
            b"{\"source\":\"ab\"}\n{\"source\":1}\n{\"source\n{\"source\":\"gh\"}\n",
            "in.jsonl:2: `source` must be a string, but it is a number",
        ),
    ];
    for (name, bytes, first) in cases {
        scene.write(name, bytes);
        let finished = scene.decode(&["--input", name, "--on-error", "skip"], "").succeeded();
        assert_eq!(finished.stdout, "ab\n\n\ngh\n", "{name}: {}", finished.stderr);
        let note = format!("note: skipped rows: 2 (their outputs are empty); the first: {first}\n");
        assert!(finished.stderr.contains(&note), "no {note:?} in\n{}", finished.stderr);
    }
}

#[test]
fn a_misplaced_quote_invalidates_its_row_if_the_next_row_can_be_found() {
    let scene = Scene::trained();
    let message = "in.csv:3: a comma must follow a closing quote, but the field continues\n";
    let decode = |row: &str| {
        scene.write("in.csv", format!("source,target\nab,ab\n{row}\nef,ef\n"));
        scene.decode(&["--input", "in.csv", "--on-error", "skip"], "")
    };
    for row in ["\"cd\"e,cd", "\"a \"b\" c\",cd", "cd,\"d\" "] {
        let finished = decode(row).succeeded();
        assert_eq!(finished.stdout, "ab\n\nef\n", "{row}");
        assert!(finished.stderr.contains(&format!("the first: {message}")), "{}", finished.stderr);
    }
    let finished = decode("\"cd\"e,\"cd");
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), "ab\n"));
    assert!(finished.stderr.starts_with(&format!("error: {message}")), "{}", finished.stderr);
}

#[test]
fn an_endless_line_does_not_fill_the_memory() {
    let scene = Scene::trained();
    let endless = vec![b'a'; 17 << 20];
    let finished = scene.fed(&["decode", "runs/copy"], &endless);
    finished
        .refused_naming(2, &["error: <stdin>:1: a line may have at most 16 MiB, but this one is longer\n"]);
    let finished =
        scene.fed(&["decode", "runs/copy", "--on-error", "skip"], &[&endless[..], b"\nabc\n"].concat());
    assert_eq!(finished.succeeded().stdout, "\nabc\n");
}
