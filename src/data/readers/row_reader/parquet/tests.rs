//! Files that crate `parquet` writes are read back; broken ones are refused.

use std::path::PathBuf;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use tempfile::TempDir;

use crate::data::Files;
use crate::data::readers::{Columns, FieldValue, Format, RowReader, read_pairs};

const SCHEMA: &str = "message schema {
    OPTIONAL BYTE_ARRAY source (UTF8);
    REQUIRED INT32 id;
    REQUIRED BYTE_ARRAY target (UTF8);
    REQUIRED group translation { REQUIRED BYTE_ARRAY en (UTF8); REQUIRED BYTE_ARRAY de (UTF8); }
}";

/// The rows of a group: the source, and the text that the other columns are made from.
type Group<'a> = &'a [(Option<&'a str>, &'a str)];

/// Two groups of rows.
const GROUPS: [Group; 2] = [&[(Some("a"), "b"), (Some("ä\t\"c\""), "d")], &[(Some(""), "f")]];

fn bytes(groups: &[Group], compression: Compression) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties =
        WriterProperties::builder().set_dictionary_enabled(false).set_compression(compression).build();
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).unwrap();
    for rows in groups {
        let mut group = writer.next_row_group().unwrap();
        let texts = |of: &dyn Fn(&str) -> String| -> Vec<ByteArray> {
            rows.iter().map(|(_, text)| ByteArray::from(of(text).into_bytes())).collect()
        };
        let sources: Vec<ByteArray> =
            rows.iter().filter_map(|(source, _)| source.map(ByteArray::from)).collect();
        let levels: Vec<i16> = rows.iter().map(|(source, _)| i16::from(source.is_some())).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(sources.as_slice(), Some(levels.as_slice()), None)
            .unwrap();
        column.close().unwrap();
        let ids: Vec<i32> = (0..rows.len() as i32).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int32Type>().write_batch(ids.as_slice(), None, None).unwrap();
        column.close().unwrap();
        for values in [
            texts(&|text| text.to_owned()),
            texts(&|text| format!("en {text}")),
            texts(&|text| format!("de {text}")),
        ] {
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(values.as_slice(), None, None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    file
}

fn saved(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// The pairs of these columns, each with the number of its row; or the error, without the name of the folder.
fn pairs(name: &str, bytes: &[u8], columns: [&str; 2]) -> Result<Vec<(String, String, u64)>, String> {
    let (folder, path) = saved(name, bytes);
    let folder = format!("{}/", folder.path().display());
    let set = read_pairs(&Files(vec![path.into()]), columns, true);
    let set = set.map_err(|error| error.to_string().replace(&folder, ""))?;
    Ok(set.pairs.into_iter().map(|pair| (pair.source, pair.target, pair.place.line)).collect())
}

#[test]
fn rows_of_all_groups_are_read_in_order_whatever_the_compression() {
    let zstd = Compression::ZSTD(::parquet::basic::ZstdLevel::default());
    let gzip = Compression::GZIP(::parquet::basic::GzipLevel::default());
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::LZ4_RAW, gzip, zstd] {
        let read = pairs("a.parquet", &bytes(&GROUPS, compression), ["source", "target"]).unwrap();
        let expected = [("a", "b", 1), ("ä\t\"c\"", "d", 2), ("", "f", 3)];
        assert_eq!(read, expected.map(|(source, target, row)| (source.to_owned(), target.to_owned(), row)));
    }
}

#[test]
fn a_column_may_be_in_a_struct() {
    let read = pairs("a.PARQUET", &bytes(&GROUPS, Compression::SNAPPY), ["translation.en", "translation.de"]);
    let last = ("en f".to_owned(), "de f".to_owned(), 3);
    assert_eq!(read.unwrap().pop(), Some(last));
}

#[test]
fn a_missing_column_lists_those_that_are_there() {
    let refused = |columns| pairs("a.parquet", &bytes(&GROUPS, Compression::SNAPPY), columns).unwrap_err();
    let error = refused(["sorce", "target"]);
    let start = "error: a.parquet:1: there must be a column `sorce`, but there are ";
    assert!(error.starts_with(start) && error.contains("`translation`"), "{error}");
    assert!(error.ends_with("hint: did you mean `source`? `data.source.column` names the column"), "{error}");
    assert!(refused(["source", "translation.fr"]).contains("must be a column `translation.fr`"));
}

#[test]
fn a_null_and_a_number_are_no_texts() {
    let groups: [Group; 2] = [&[(Some("a"), "b")], &[(None, "d")]];
    let refused = |columns| pairs("a.parquet", &bytes(&groups, Compression::SNAPPY), columns).unwrap_err();
    let error = refused(["source", "target"]);
    assert!(
        error
            .starts_with("error: a.parquet:2: `source` must be a string, but it is null\n  {\"source\":null"),
        "{error}"
    );
    let error = refused(["id", "target"]);
    assert!(error.starts_with("error: a.parquet:1: `id` must be a string, but it is a number"), "{error}");
}

#[test]
fn other_columns_are_kept_in_their_order() {
    let (_folder, path) = saved("table", &bytes(&GROUPS, Compression::SNAPPY));
    let opened = RowReader::open(&path, Some(Format::Parquet), Columns::new(&["source"], "target"));
    let mut rows = opened.unwrap().keeping_extra_fields();
    let names: Vec<String> = rows.extra_columns().iter().map(|name| name.to_string()).collect();
    assert_eq!(names, ["id", "translation"]);
    let row = rows.nth(1).unwrap().unwrap();
    let values: Vec<FieldValue> = row.others.into_iter().map(|other| other.value).collect();
    let expected = ["1", "{\"en\":\"en d\",\"de\":\"de d\"}"];
    assert_eq!(values, expected.map(|value| FieldValue::Json(value.to_owned())));
}

#[test]
fn what_is_no_file_is_refused() {
    for name in ["a.parquet.gz", "a.parquet.zst"] {
        let error = pairs(name, &bytes(&GROUPS, Compression::SNAPPY), ["source", "target"]).unwrap_err();
        assert!(error.contains("must be in a file that is not compressed as a whole"), "{error}");
    }
    let columns = Columns::new(&["source"], "target");
    let opened = RowReader::open(std::path::Path::new("-"), Some(Format::Parquet), columns);
    let error = opened.err().unwrap();
    assert!(
        error.exit_code() == 2 && error.message().ends_with("but the input is standard input"),
        "{error}"
    );
}

#[test]
fn a_damaged_file_is_refused_without_a_panic() {
    let whole = bytes(&GROUPS, Compression::UNCOMPRESSED);
    for length in 0..whole.len() {
        let error = pairs("a.parquet", &whole[..length], ["source", "target"]).unwrap_err();
        assert!(error.starts_with("error: a.parquet"), "{length}: {error}");
    }
    for place in 0..whole.len() {
        for bit in [0, 3, 7] {
            let mut broken = whole.clone();
            broken[place] ^= 1 << bit;
            // A changed letter is a text like any other.
            if let Err(error) = pairs("a.parquet", &broken, ["source", "target"]) {
                assert!(error.contains("a.parquet"), "byte {place}: {error}");
            }
        }
    }
}
