//! Reading files of each format. Errors in broken files are in `refusals`.
//!
//! Crate `csv` is the independent reference: its output must be read back.

mod alternatives;
mod refusals;

use std::io::Cursor;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

/// A folder with one file of the given bytes.
fn file(name: &str, bytes: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<(String, String, u64)>> {
    let (_folder, path) = file(name, bytes);
    let pairs = read_pairs(&Files(vec![path.into()]), ["source", "target"], true)?;
    Ok(pairs.pairs.into_iter().map(|pair| (pair.source, pair.target, pair.place.line)).collect())
}

fn parallel(source: &str, target: &str) -> Result<Vec<Pair>> {
    let folder = tempfile::tempdir().unwrap();
    let paths = [folder.path().join("a.en"), folder.path().join("a.de")];
    std::fs::write(&paths[0], source).unwrap();
    std::fs::write(&paths[1], target).unwrap();
    let [source, target] = paths;
    read_pairs(&Files(vec![PairFile::Parallel { source, target, weight: None }]), ["source", "target"], true)
        .map(|set| set.pairs)
}

fn rows(text: &str, format: Format) -> Vec<Result<SourceRow>> {
    let reader = Box::new(Cursor::new(text.to_string().into_bytes()));
    RowReader::read(reader, Path::new("in"), format, Columns::new(&["source"], "target")).unwrap().collect()
}

fn expect(pairs: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
    pairs.iter().map(|(source, target, line)| (source.to_string(), target.to_string(), *line)).collect()
}

#[test]
fn csv_has_quotes_lines_in_fields_and_other_columns() {
    let text = "id,target,source\n1,\"b, \"\"B\"\"\",a\n2,\"x\ny\n\nz\",\"\"\"\"\n3,b\"b,\" a \"\n";
    let pairs = read("a.csv", text).unwrap();
    assert_eq!(pairs, expect(&[("a", "b, \"B\"", 2), ("\"", "x\ny\n\nz", 3), (" a ", "b\"b", 7)]));
}

#[test]
fn a_byte_order_mark_crlf_blank_lines_and_a_missing_final_newline_are_accepted() {
    for newline in ["\n", "\r\n"] {
        let text = ["\u{feff}source,target", "a,b", "", "", "c,\"d", "e\"", "f,g"].join(newline);
        let pairs = read("a.CSV", text).unwrap();
        assert_eq!(pairs, expect(&[("a", "b", 2), ("c", "d\ne", 5), ("f", "g", 7)]));
    }
    let pairs = read("a.csv", "\u{feff}\"source\",target\na,b").unwrap();
    assert_eq!(pairs, expect(&[("a", "b", 2)]));
}

#[test]
fn quotes_in_tsv_are_characters() {
    let pairs = read("a.tsv", "source\ttarget\n\"a\tb\"\"\r\n a,b \tc\n").unwrap();
    assert_eq!(pairs, expect(&[("\"a", "b\"\"", 2), (" a,b ", "c", 3)]));
}

#[test]
fn jsonl_has_its_escapes_and_other_keys() {
    let text = "{\"source\":\"a\\n\\u00e9\",\"target\":\"b\",\"id\":{\"deep\":[1]}}\r\n\n{\"target\":\"d\",\"source\":\"c\"}";
    let pairs = read("a.jsonl", text).unwrap();
    assert_eq!(pairs, expect(&[("a\né", "b", 1), ("c", "d", 3)]));
}

#[test]
fn text_is_read_unchanged() {
    let pairs = read("a.csv", "source,target\n e\u{301}\0 ,👩\u{200D}🚀 שלום\u{2028}x\n").unwrap();
    assert_eq!(pairs, expect(&[(" e\u{301}\0 ", "👩\u{200D}🚀 שלום\u{2028}x", 2)]));
}

#[test]
fn several_files_follow_each_other_and_one_column_may_be_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("1.csv"), folder.path().join("2.tsv"));
    std::fs::write(&one, "source,target\na,b\n").unwrap();
    std::fs::write(&two, "source\ttarget\nc\td\n").unwrap();
    let files = Files(vec![one.into(), two.clone().into()]);
    let pairs = read_pairs(&files, ["source", "target"], true).unwrap().pairs;
    assert_eq!(pairs.iter().map(|pair| pair.target.as_str()).collect::<String>(), "bd");
    assert_eq!(pairs[1].place.to_string(), format!("{}:2", two.display()));
    let copied = read_pairs(&files, ["source", "source"], true).unwrap().pairs;
    assert_eq!((copied[0].source.as_str(), copied[0].target.as_str()), ("a", "a"));
}

#[test]
fn parallel_text_pairs_line_by_line() {
    let pairs = parallel("\u{feff}a \"b\r\nc\n", "d,e\r\n f").unwrap();
    assert_eq!((pairs[0].source.as_str(), pairs[0].target.as_str()), ("a \"b", "d,e"));
    assert_eq!((pairs[1].source.as_str(), pairs[1].target.as_str(), pairs[1].place.line), ("c", " f", 2));
}

#[test]
fn each_line_of_text_is_a_source_even_if_empty() {
    let rows = rows("a\r\n\n \"b\", c\t\nlast", Format::Text);
    let texts: Vec<(String, u64)> =
        rows.into_iter().map(|row| row.unwrap()).map(|row| (row.text, row.place.line)).collect();
    let expected =
        [("a", 1), ("", 2), (" \"b\", c\t", 3), ("last", 4)].map(|(text, line)| (text.to_string(), line));
    assert_eq!(texts, expected);
    assert!(super::tests::rows("", Format::Text).is_empty());
}

#[test]
fn a_table_for_decoding_may_lack_targets_and_have_empty_sources() {
    let row = |text: &str, reference: Option<&str>, line| SourceRow {
        text: text.to_string(),
        target: reference.map(str::to_string),
        prefix: None,
        others: Vec::new(),
        place: Place { file: Path::new("in").into(), line },
    };
    let read = |text, format| rows(text, format).into_iter().map(|row| row.unwrap()).collect::<Vec<_>>();
    assert_eq!(read("source\na\n\"\"\n", Format::Csv), [row("a", None, 2), row("", None, 3)]);
    assert_eq!(read("target\tsource\nb\t\n", Format::Tsv), [row("", Some("b"), 2)]);
    let objects =
        "{\"source\":\"a\"}\n{\"source\":\"\",\"target\":\"b\"}\n{\"source\":\"c\",\"target\":null}\n";
    assert_eq!(read(objects, Format::Jsonl), [row("a", None, 1), row("", Some("b"), 2), row("c", None, 3)]);
}

#[test]
fn without_a_header_columns_are_named_by_their_numbers() {
    let (_folder, path) = file("a.tsv", "\u{feff}aller\tɑ l e\n\nbon\tb ɔ\n");
    let files = Files(vec![path.into()]);
    let read = |columns| read_pairs(&files, columns, false).map(|set| set.pairs);
    let pairs = read(["1", "2"]).unwrap();
    let texts: Vec<_> = pairs.iter().map(|pair| (&*pair.source, &*pair.target, pair.place.line)).collect();
    assert_eq!(texts, [("aller", "ɑ l e", 1), ("bon", "b ɔ", 3)]);
    assert_eq!(read(["2", "1"]).unwrap()[1].source, "b ɔ");
    let error = read(["1", "3"]).unwrap_err().to_string();
    assert!(error.contains("a.tsv:1: there must be a column `3`, but there are `1`, `2`\nhint: "), "{error}");
    let (_folder, path) = file("a.csv", "\"a\nb\",c\nd\n");
    let error = read_pairs(&Files(vec![path.into()]), ["1", "2"], false).unwrap_err().to_string();
    assert!(error.contains("a.csv:3: the row has 1 field, but the first row has 2"), "{error}");
    // Objects name their fields themselves.
    let (_folder, path) = file("a.jsonl", "{\"1\":\"a\",\"2\":\"b\"}\n");
    let pairs = read_pairs(&Files(vec![path.into()]), ["1", "2"], false).unwrap().pairs;
    assert_eq!((&*pairs[0].source, &*pairs[0].target), ("a", "b"));
}

#[test]
fn an_array_has_its_elements_wherever_lines_break() {
    let text = "\u{feff} [{\"source\":\"a,]}\\\"\",\n \"target\":\"b\"},\n\n{\"x\":[{}],\"source\":\"c\",\"target\":\"\"}\n]\n";
    assert_eq!(read("a.json", text).unwrap(), expect(&[("a,]}\"", "b", 1), ("c", "", 4)]));
    assert_eq!(read("a.json", "{\"source\":\"a\",\"target\":\"b\"}\n").unwrap(), expect(&[("a", "b", 1)]));
    let refused = |text: &str, message: &str| {
        let error = read("a.json", text).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    let one = "{\"source\":\"a\",\"target\":\"b\"}";
    refused("7", "a.json:1: a JSON array must have `[` at its start, but there is `7`");
    refused(
        &format!("[{one}\n,]"),
        "a.json:2: a JSON array must have an element after a comma, but there is `]`",
    );
    refused(&format!("[{one}\n{one}]"), "a.json:2: a JSON array must have `,` or `]` after an element");
    refused(&format!("[{one}]\n\nx"), "a.json:3: a JSON array must have nothing after `]`, but there is `x`");
    refused(&format!("[{one},\n{{\"source\""), "a.json:2: an array must end with `]`, but the file ends");
    refused(&format!("[{one}"), "a JSON array must have `,` or `]` after an element, but the file ends");
    refused(&format!("[{one},\n 3]"), "a.json:2: each element must be a JSON object, but it is a number");
}

#[test]
fn a_key_may_be_a_path_unless_an_object_has_it() {
    let text = "{\"t\":{\"a.b\":{\"en\":\"x\"}},\"t.de\":\"y\"}\n{\"t\":{\"de\":\"z\",\"a\":{\"b\":{\"en\":\"w\"}}}}\n";
    let (_folder, path) = file("a.jsonl", text);
    let pairs = read_pairs(&Files(vec![path.into()]), ["t.a.b.en", "t.de"], true).unwrap().pairs;
    let texts: Vec<_> = pairs.iter().map(|pair| (&*pair.source, &*pair.target)).collect();
    assert_eq!(texts, [("x", "y"), ("w", "z")]);
    let (_folder, path) = file("a.jsonl", "{\"t\":{\"en\":\"x\"}}\n");
    let error = read_pairs(&Files(vec![path.into()]), ["t.en", "t.de"], true).unwrap_err().to_string();
    assert!(error.contains("there must be a column `t.de`, but there are `t`"), "{error}");
}

#[test]
fn several_columns_of_a_source_are_joined_by_a_tab() {
    let rows = |text: &str, format| {
        let reader = Box::new(Cursor::new(text.to_owned().into_bytes()));
        let columns = Columns::new(&["a", "b"], "c");
        RowReader::read(reader, Path::new("in"), format, columns)
            .unwrap()
            .keeping_extra_fields()
            .collect::<Vec<_>>()
    };
    for (text, format) in [
        ("b,x,c,a\n1,2,3,4\n1,,3,\"4\t5\"\n", Format::Csv),
        (
            "{\"b\":\"1\",\"x\":\"2\",\"c\":\"3\",\"a\":\"4\"}\n{\"a\":\"\\t\",\"b\":\"\",\"c\":\"\"}\n",
            Format::Jsonl,
        ),
    ] {
        let rows = rows(text, format);
        let first = rows[0].as_ref().unwrap();
        assert_eq!((&*first.text, first.target.as_deref()), ("4\t1", Some("3")));
        let others: Vec<&str> = first.others.iter().map(|other| &*other.name).collect();
        assert_eq!(others, ["b", "x", "a"]);
        assert!(rows[1].as_ref().unwrap_err().message().contains("must not contain a tab"));
    }
}

#[test]
fn rows_end_with_the_first_error() {
    let rows = rows("source,target\na,b\nc\nd,e\n", Format::Csv);
    assert_eq!(rows.len(), 2);
    assert!(rows[0].is_ok());
    assert_eq!(
        rows[1].as_ref().unwrap_err().message(),
        "in:3: the row has 1 field, but the header has 2\n  c"
    );
}

#[test]
fn a_format_is_detected_by_its_extension() {
    let formats = ["a.csv", "a.b.TSV", "a.jsonl", "a.en", "csv", "-"].map(|name| Format::of(Path::new(name)));
    assert_eq!(Format::of(Path::new("a.Parquet")), Format::Parquet);
    assert_eq!(formats, [Format::Csv, Format::Tsv, Format::Jsonl, Format::Text, Format::Text, Format::Text]);
    let compressed = ["a.csv.gz", "a.JSON.zst", "a.gz"].map(|name| Format::of(Path::new(name)));
    assert_eq!(compressed, [Format::Csv, Format::Json, Format::Text]);
    let (_folder, path) = file("a.txt", "one\ntwo\n");
    let sources = RowReader::open(&path, None, Columns::new(&["source"], "target")).unwrap();
    assert_eq!(sources.place(2).to_string(), format!("{}:2", path.display()));
    assert_eq!(sources.count(), 2);
}

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_without_its_feature_is_refused_with_the_build_that_reads_it() {
    let (folder, path) = file("a.parquet", "PAR1");
    let error = read_pairs(&Files(vec![path.into()]), ["source", "target"], true).unwrap_err();
    let name = folder.path().join("a.parquet");
    let message =
        "Parquet is read only by a build with the cargo feature `parquet`, but this one is without it";
    let hint = "hint: build with it: `cargo build --release --features parquet`";
    assert_eq!(error.to_string(), format!("error: {}: {message}\n{hint}", name.display()));
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn parquet_as_a_stream_is_refused() {
    let stream = Box::new(Cursor::new(b"PAR1".to_vec()));
    let columns = Columns::new(&["source"], "target");
    let error = RowReader::read(stream, Path::new("in"), Format::Parquet, columns).err().unwrap();
    assert!(error.message().starts_with("in: Parquet must be in a file"), "{error}");
}

/// A small generator (Knuth's MMIX numbers), so that the inputs are the same on every run.
fn random_text(state: &mut u64, alphabet: &[&str], longest: u64) -> String {
    let mut below = |limit: u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % limit
    };
    let length = below(longest);
    (0..length).map(|_| alphabet[below(alphabet.len() as u64) as usize]).collect()
}

#[test]
fn what_crate_csv_writes_is_read_back() {
    let mut state = 3;
    for _ in 0..300 {
        let mut field = || random_text(&mut state, &["a", "\"", ",", "\n", "\n\n", "é", " ", "\t"], 6);
        let fields: Vec<[String; 2]> = (0..4).map(|_| [field(), field()]).collect();
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["source", "target"]).unwrap();
        fields.iter().for_each(|row| writer.write_record(row).unwrap());
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let read = rows(&text, Format::Csv).into_iter().map(|row| row.unwrap());
        let read: Vec<[String; 2]> = read.map(|row| [row.text, row.target.unwrap()]).collect();
        assert_eq!(read, fields, "{text}");
    }
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let mut state = 5;
    let alphabet =
        ["source", "target", "\"", ",", "\t", "\n", "\r", "{", "}", ":", "\0", "\u{feff}", "é", "\\u", "x"];
    for round in 0..2000 {
        let mut bytes = random_text(&mut state, &alphabet, 24).into_bytes();
        if round % 5 == 0 {
            bytes.insert(bytes.len() / 2, 0xC3);
        }
        for format in [Format::Text, Format::Csv, Format::Tsv, Format::Jsonl, Format::Json] {
            let reader = Box::new(Cursor::new(bytes.clone()));
            if let Ok(sources) =
                RowReader::read(reader, Path::new("in"), format, Columns::new(&["source"], "target"))
            {
                assert!(sources.count() <= bytes.len() + 1);
            }
        }
    }
}
