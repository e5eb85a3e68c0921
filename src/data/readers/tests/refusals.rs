//! Broken files: each message states what must hold and what is there, names the line, and shows the row.

use super::*;

/// The whole text of the error, without the folder.
fn refused(name: &str, bytes: impl AsRef<[u8]>) -> String {
    let (folder, path) = file(name, bytes);
    let error = read_pairs(&Files(vec![path.into()]), ["source", "target"], true).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string().replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn an_invalid_row_is_named_and_shown() {
    let header = "source,target\n";
    let cases = [
        ("a,b\nc,d,e\n", "a.csv:3: the row has 3 fields, but the header has 2\n  c,d,e"),
        ("abc\n", "a.csv:2: the row has 1 field, but the header has 2\n  abc"),
        ("a,\"b\"c\n", "a.csv:2: a comma must follow a closing quote, but the field continues\n  a,\"b\"c"),
        (
            "a,\"b\nc,\"d\"\n",
            "a.csv:2: a comma must follow a closing quote, but the field continues in line 3\n  a,\"b\\nc,\"d\"",
        ),
        (
            "a,b\nc,\"d\ne,f\n",
            "a.csv:3: a quote opens a field in this row and must be closed, but the file ends\n  c,\"d\\ne,f",
        ),
    ];
    for (rows, message) in cases {
        let error = refused("a.csv", format!("{header}{rows}"));
        assert!(error.starts_with(&format!("error: {message}")), "{error}");
    }
}

#[test]
fn a_long_row_is_truncated_and_its_control_characters_are_escaped() {
    let error = refused("a.tsv", format!("source\ttarget\n\u{1b}[31m\ta\t{}\n", "é".repeat(500)));
    let shown = error.lines().nth(1).unwrap();
    assert!(shown.starts_with("  \\u{1b}[31m\\ta\\téé") && shown.ends_with("é…"), "{shown}");
    assert!(shown.chars().count() < 100);
}

#[test]
fn a_missing_column_is_named_with_the_existing_ones_and_the_nearest() {
    let error = refused("a.csv", "Source,target\na,b\n");
    let start = "error: a.csv:1: there must be a column `source`, but there are `Source`, `target`\nhint: did you mean `Source`?";
    assert!(error.starts_with(start), "{error}");
    let error = refused("a.tsv", "source\tphones\na\tb\n");
    assert!(error.contains("there must be a column `target`, but there are `source`, `phones`"), "{error}");
    assert!(error.contains("hint: `data.target.column` names the column"), "{error}");
    let error = refused("a.csv", "source;target\na;b\n");
    assert!(error.contains("hint: are the columns separated by `;`? Use a comma in .csv"), "{error}");
    let error = refused("a.csv", "source\ttarget\na\tb\n");
    assert!(
        error.contains("hint: the columns are separated by tabs: change the file's extension to .tsv"),
        "{error}"
    );
    let error = refused("a.csv", "source,target,source\na,b,c\n");
    assert!(
        error.starts_with("error: a.csv:1: a header must name each column once, but it names"),
        "{error}"
    );
}

#[test]
fn an_invalid_json_line_is_named_and_shown() {
    let good = "{\"source\":\"a\",\"target\":\"b\"}\n";
    let cases = [
        ("[1,2]", "each line must be a JSON object, but it is an array\n  [1,2]"),
        (
            "{\"source\": oops}",
            "each line must be a JSON object, but at column 12: expected value\n  {\"source\": oops}",
        ),
        (
            "{\"source\":\"a\"}",
            "there must be a column `target`, but there are `source`\n  {\"source\":\"a\"}",
        ),
        ("{}", "there must be a column `source`, but there is none\n  {}"),
        (
            "{\"source\":7,\"target\":\"b\"}",
            "`source` must be a string, but it is a number\n  {\"source\":7,",
        ),
        ("{\"source\":\"a\",\"target\":null}", "`target` must be a string, but it is null\n"),
        ("{\"source\":\"\\ud800\",\"target\":\"b\"}", "each line must be a JSON object, but at column "),
    ];
    for (line, message) in cases {
        let error = refused("a.jsonl", format!("{good}{line}\n"));
        assert!(error.starts_with(&format!("error: a.jsonl:2: {message}")), "{error}");
    }
    let deep = format!("{good}{}\n", "[".repeat(100_000));
    assert!(refused("a.jsonl", deep).contains("recursion limit"));
}

#[test]
fn invalid_utf8_is_named() {
    let error = refused("a.csv", b"source,target\na,b\ncaf\xE9,d\n");
    assert!(
        error.starts_with(
            "error: a.csv:3: the text must be UTF-8, but byte 4 of the line is 0xE9\n  caf\u{fffd},d"
        ),
        "{error}"
    );
    let error = refused("a.tsv", b"\xFF\xFEs\0o\0");
    assert!(error.contains("a.tsv:1: ") && error.contains("UTF-16"), "{error}");
}

#[test]
fn a_set_without_pairs_and_a_file_without_a_header_are_refused() {
    assert_eq!(
        refused("a.csv", "source,target\n\n"),
        "error: a file of pairs must have at least one row, but a.csv has none"
    );
    assert_eq!(refused("a.csv", ""), "error: a table must start with a header, but a.csv is empty");
    assert_eq!(refused("a.tsv", "\u{feff}\n"), "error: a table must start with a header, but a.tsv is empty");
    assert!(refused("a.jsonl", "").contains("must have at least one row, but a.jsonl has none"));
    assert!(read_pairs(&Files(Vec::new()), ["source", "target"], true).is_err());
    assert!(parallel("", "").is_err());
}

#[test]
fn an_unknown_extension_and_a_missing_file_are_refused() {
    let error = refused("a.txt", "a\tb\n");
    assert!(
        error.contains(
            "must be .csv, .tsv, .jsonl, .json or .parquet, but it is a.txt\nhint: name its format (`data.format`), or the two files"
        ),
        "{error}"
    );
    let missing = Files(vec![PathBuf::from("no/such.csv").into()]);
    let error = read_pairs(&missing, ["source", "target"], true).unwrap_err();
    let start = "cannot read no/such.csv: no such file or directory (looked for in /";
    assert!(error.exit_code() == 2 && error.message().starts_with(start), "{error}");
    assert!(
        error.to_string().ends_with("hint: relative paths start at the folder where seqloom is called"),
        "{error}"
    );
    // The tests run in the folder of the project, as those do who train its configs.
    let public = Files(vec![PathBuf::from("data/no_such_set/train.csv").into()]);
    let error = read_pairs(&public, ["source", "target"], true).unwrap_err().to_string();
    assert!(error.ends_with("hint: data/README.md lists the scripts that fetch public sets"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("folder.csv");
    std::fs::create_dir(&path).unwrap();
    assert!(read_pairs(&Files(vec![path.into()]), ["source", "target"], true).is_err());
}

#[test]
fn parallel_text_of_different_lengths_is_refused_with_both_lengths() {
    for (source, target, lengths) in
        [("a\nb\nc\n", "d\n", ["has 3", "has 1"]), ("a\n", "d\ne", ["has 1", "has 2"])]
    {
        let error = parallel(source, target).unwrap_err().to_string();
        assert!(
            error.contains("must have the same number of lines")
                && lengths.iter().all(|text| error.contains(text)),
            "{error}"
        );
    }
}
