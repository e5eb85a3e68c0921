//! Which pairs are used, which of them build the vocabularies, and the notes about the others.

mod alternatives;

use tempfile::TempDir;

use std::path::PathBuf;

use super::*;
use crate::data::left_out::Reason;
use crate::data::readers::Format;
use crate::data::{
    Normalize, PairFile, PiecesConfig, Policy, PretrainedConfig, SideConfig, TableFile, TooLong, Whitespace,
    WordsConfig,
};

/// A folder with files, and a config over them.
struct Data {
    folder: TempDir,
    config: DataConfig,
}

impl Data {
    fn new(train: &[(&str, &str)]) -> Data {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| Files(vec![folder.path().join(name).into()]);
        let config = DataConfig {
            train: path("train.jsonl"),
            valid: path("valid.jsonl").into(),
            test: None,
            temperature: 1.0,
            format: None,
            header: true,
            shared_vocabulary: false,
            too_long: TooLong::Skip,
            empty: Policy::Error,
            max_ratio: 0.0,
            too_unequal: Policy::Error,
            invalid_utf8: Policy::Error,
            duplicate: Policy::Keep,
            copy: Policy::Keep,
            in_memory_limit: 1.0,
            learn_from: 1000,
            cache: None,
            source: SideConfig { column: "source".to_owned(), ..SideConfig::default() },
            target: SideConfig { column: "target".to_owned(), ..SideConfig::default() },
        };
        let data = Data { folder, config };
        data.write("train.jsonl", train);
        data.write("valid.jsonl", &[("ab", "ab")]);
        data
    }

    fn write(&self, name: &str, pairs: &[(&str, &str)]) {
        let row = |(source, target): &(&str, &str)| {
            format!("{}\n", serde_json::json!({ "source": source, "target": target }))
        };
        std::fs::write(self.folder.path().join(name), pairs.iter().map(row).collect::<String>()).unwrap();
    }

    fn load(&self) -> Result<DataSplits> {
        self.load_with(TokenizerSource::Learned)
    }

    fn load_with(&self, tokenizers: TokenizerSource) -> Result<DataSplits> {
        DataSplits::load(&self.config, LoadOptions::default(), tokenizers)
    }

    /// The error, without the folder's name.
    fn refused(&self) -> String {
        let folder = format!("{}/", self.folder.path().display());
        self.load().unwrap_err().to_string().replace(&folder, "")
    }

    fn notes(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let DataSplits { train, valid, .. } = self.load().unwrap();
        train.notes.iter().chain(&valid.notes).map(|note| note.replace(&folder, "")).collect()
    }
}

fn tokens(splits: &DataSplits) -> String {
    let tokens = splits.tokenizers.source.tokenizer().unwrap().vocabulary().tokens()[4..].to_vec();
    tokens.join(" ")
}

#[test]
fn empty_sides_are_refused_together_or_skipped_or_kept() {
    let mut data = Data::new(&[("ab", "ab"), ("", "d"), ("a", " \t"), (" ", ""), ("b", "b")]);
    assert_eq!(
        data.refused(),
        "error: train.jsonl:2: the source of a pair must not be empty, but it is\n  target: d\n3 pairs have an empty side (2 \
         empty sources and 2 empty targets): train.jsonl:2, train.jsonl:3, train.jsonl:4\nhint: fill it in, or skip such \
         pairs with `data.empty = \"skip\"`, or train on them with \"keep\""
    );
    data.config.empty = Policy::Skip;
    let train = data.load().unwrap().train;
    assert_eq!(train.corpus.pairs().iter().map(|pair| pair.place.line).collect::<Vec<_>>(), [1, 5]);
    let empty = train.left_out.of(Reason::Empty);
    assert_eq!(empty.first.iter().map(|place| place.line).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(empty.count, 3);
    data.config.empty = Policy::Keep;
    let train = data.load().unwrap().train;
    assert_eq!((train.corpus.len(), train.left_out.count(Reason::Empty)), (5, 0));
    assert_eq!(train.corpus.lengths()[1], (1, 2));
    assert_eq!(train.corpus.lengths()[3], (1, 1));
}

#[test]
fn one_empty_side_and_only_empty_sides_are_reported() {
    let mut data = Data::new(&[("ab", "ab"), ("a", "")]);
    assert!(
        data.refused().starts_with(
            "error: train.jsonl:2: the target of a pair must not be empty, but it is\n  source: a\nhint: "
        ),
        "{}",
        data.refused()
    );
    data.write("train.jsonl", &[("", "a")]);
    data.config.empty = Policy::Skip;
    assert_eq!(data.refused(), "error: no pair is left: all 1 have an empty side");
    // If white space is kept, it is text.
    data.write("train.jsonl", &[(" ", "a")]);
    data.config.empty = Policy::Error;
    data.config.source.whitespace = Whitespace::Keep;
    assert_eq!(tokens(&data.load().unwrap()), " ");
}

#[test]
fn a_skipped_pair_does_not_contribute_to_the_vocabulary() {
    let junk = "xyz".repeat(20);
    for words in [false, true] {
        let long = if words { "xyz ".repeat(20) } else { junk.clone() };
        let mut data = Data::new(&[("a b", "c"), (&long, "d"), ("b a", "c")]);
        data.config.source.max_length = 10;
        data.config.source.words = words.then(WordsConfig::default);
        let splits = data.load().unwrap();
        assert_eq!((splits.train.corpus.len(), splits.train.left_out.count(Reason::TooLong)), (2, 1));
        assert!(!tokens(&splits).contains('x'), "{}", tokens(&splits));
        assert_eq!(splits.tokenizers.target.vocabulary().tokens()[4..], ["c"]);
    }
}

/// For junk of any length: much too long, slightly too long, or only after its own merges are gone.
#[test]
fn a_skipped_pair_does_not_contribute_to_bpe_either() {
    let clean: Vec<String> = (0..60).map(|n| format!("{} {}", n * 7919 % 1000, n * 104_729 % 1000)).collect();
    for times in [2, 3, 4, 5, 6, 8, 12, 20, 50, 400] {
        let junk = "qwzxvy kj".repeat(times);
        let mut rows: Vec<(&str, &str)> = clean.iter().map(|text| (text.as_str(), "a")).collect();
        rows.insert(30, (&junk, "Z"));
        let mut data = Data::new(&rows);
        data.config.source.max_length = 9;
        data.config.source.bpe = Some(PiecesConfig { vocabulary: 60, ..PiecesConfig::default() });
        let splits = data.load().unwrap();
        let skipped = splits.train.left_out.count(Reason::TooLong);
        let foreign = tokens(&splits).chars().filter(|c| c.is_ascii_alphabetic()).count();
        assert_eq!(skipped == 0, foreign > 0, "{times}: {skipped} left out, and {}", tokens(&splits));
        // The used pairs depend on the tokenizers alone, which a resumed run has.
        let again = data.load_with(TokenizerSource::Given(&splits.tokenizers)).unwrap();
        assert_eq!(again.train.corpus.fingerprint(), splits.train.corpus.fingerprint());
        assert_eq!(again.train.left_out, splits.train.left_out);
    }
}

#[test]
fn a_pair_with_more_characters_than_the_vocabulary_size_can_be_skipped() {
    let junk: String = ('\u{4e00}'..'\u{4e80}').collect();
    let mut data = Data::new(&[("ab", "c"), (&junk, "d"), ("ba", "c")]);
    data.config.source.max_length = 10;
    data.config.source.bpe = Some(PiecesConfig { vocabulary: 20, ..PiecesConfig::default() });
    assert_eq!(tokens(&data.load().unwrap()), "a b ▁");
}

#[test]
fn changes_by_reading_are_reported_for_each_file_and_side() {
    let mut data = Data::new(&[(" e\u{301}", "a\tb"), ("ab", "a"), ("ab\n", "a")]);
    data.write("valid.jsonl", &[("ab", "a\u{301} ")]);
    assert_eq!(
        data.notes(),
        [
            "train.jsonl: reading changed 2 of 3 sources: 1 normalized to NFC (`data.source.normalize`), 2 with white space \
             removed at the ends (`data.source.whitespace`)",
            "train.jsonl: reading changed 1 of 3 targets: 1 with line breaks or tabs replaced by spaces \
             (`data.target.whitespace`)",
            "valid.jsonl: reading changed 1 of 1 targets: 1 normalized to NFC (`data.target.normalize`), 1 with white space \
             removed at the ends (`data.target.whitespace`)",
        ]
    );
    for side in [&mut data.config.source, &mut data.config.target] {
        (side.normalize, side.whitespace) = (Normalize::None, Whitespace::Keep);
    }
    assert!(data.notes().is_empty());
}

#[test]
fn sources_that_are_all_names_of_sound_files_are_refused() {
    let data = Data::new(&[("a/1.wav", "one"), ("a/2.FLAC ", "two")]);
    assert_eq!(
        data.refused(),
        "error: sources must be texts, but all of them are names of audio files, such as `a/1.wav`\n\
         hint: add [data.source.audio] to read them as recordings"
    );
    data.write("train.jsonl", &[("a/1.wav", "one"), ("what is a .wav file", "two")]);
    assert!(data.load().is_ok());
    data.write("train.jsonl", &[("a/1.wav", "one")]);
    assert!(data.load().is_ok());
}

/// What a set is, apart from where it is.
#[derive(Debug, PartialEq)]
struct Content {
    fingerprint: String,
    lengths: Vec<(u32, u32)>,
    rows: Vec<[Vec<i64>; 2]>,
    unknown: [usize; 2],
    notes: Vec<String>,
}

fn content(set: &Dataset) -> Content {
    Content {
        fingerprint: set.corpus.fingerprint().to_owned(),
        lengths: set.corpus.lengths().to_vec(),
        rows: (0..set.corpus.len()).map(|row| set.corpus.tokens(row).unwrap()).collect(),
        unknown: set.unknown,
        notes: set.notes.clone(),
    }
}

/// Rows of many lengths, some of them too long, empty or in another normal form.
fn many() -> Vec<(String, String)> {
    let row = |n: usize| match n % 50 {
        7 => ("x".to_owned(), "y".repeat(30)),
        11 => (" ".to_owned(), "z".to_owned()),
        n if n % 2 == 0 => (format!("e\u{301} {}", n * 7919 % 1000), "b".repeat(n % 9)),
        n => (format!("{}", n * 104_729 % 10_000), format!("{n} {n}")),
    };
    (0..700).map(row).collect()
}

fn of_many() -> Data {
    let rows = many();
    let rows: Vec<(&str, &str)> = rows.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
    let mut data = Data::new(&rows);
    data.config.empty = Policy::Skip;
    data.config.target.max_length = 12;
    data.config.source.bpe = Some(PiecesConfig { vocabulary: 40, ..PiecesConfig::default() });
    data
}

/// The files of a folder, apart from the hashes of the inputs.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| !path.ends_with("inputs.json"));
    found.sort();
    found
}

#[test]
fn a_set_in_a_file_is_the_set_in_memory_and_is_opened_again() {
    let mut data = of_many();
    let in_memory = data.load().unwrap();
    assert!(in_memory.train.left_out.count(Reason::TooLong) > 10, "{:?}", in_memory.train.left_out);
    let cache = data.folder.path().join("cache");
    data.config.cache = Some(cache.clone());
    data.config.in_memory_limit = 0.0;
    let made = data.load().unwrap();
    let written = files(&cache);
    assert_eq!(written.len(), 2, "the set and its tokenizers: {written:?}");
    let stamps = |files: &[PathBuf]| -> Vec<_> {
        files.iter().map(|path| path.metadata().unwrap().modified().unwrap()).collect()
    };
    let before = stamps(&written);
    let opened = data.load().unwrap();
    let given = data.load_with(TokenizerSource::Given(&in_memory.tokenizers)).unwrap();
    assert_eq!((files(&cache), stamps(&written)), (written.clone(), before));
    for other in [&made, &opened, &given] {
        assert_eq!(content(&other.train), content(&in_memory.train));
        assert_eq!(other.train.left_out, in_memory.train.left_out);
        let difference = other.tokenizers.source.difference(&in_memory.tokenizers.source);
        assert!(difference.is_none(), "{difference:?}");
        assert!(other.train.corpus.pairs().is_empty(), "its texts are in their files alone");
        let rows = [600, 3, 3, 0];
        assert_eq!(other.train.corpus.pairs_of(&rows), in_memory.train.corpus.pairs_of(&rows));
        assert_eq!(other.train.corpus.place(5), in_memory.train.corpus.place(5));
    }
}

#[test]
fn another_byte_tokenizer_or_setting_makes_another_file() {
    let mut data = of_many();
    let cache = data.folder.path().join("cache");
    (data.config.cache, data.config.in_memory_limit) = (Some(cache.clone()), 0.0);
    let sets = |data: &Data| {
        data.load().unwrap();
        files(&cache).iter().filter(|path| path.extension().unwrap() == "tokens").count()
    };
    assert_eq!(sets(&data), 1);
    data.config.source.max_length = 13;
    assert_eq!(sets(&data), 2, "a setting");
    data.config.source.bpe = Some(PiecesConfig { vocabulary: 41, ..PiecesConfig::default() });
    assert_eq!(sets(&data), 3, "a tokenizer");
    let path = data.folder.path().join("train.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    // As long as before, and only one byte is another.
    std::fs::write(&path, text.replacen("\"b", "\"c", 1)).unwrap();
    assert_eq!(sets(&data), 4, "a byte");
    // What does not matter: where the file is, and the limits.
    std::fs::rename(&path, data.folder.path().join("moved.jsonl")).unwrap();
    data.config.train = Files(vec![data.folder.path().join("moved.jsonl").into()]);
    data.config.learn_from = 10_000;
    assert_eq!(sets(&data), 4, "the same again");
}

#[test]
fn another_ready_tokenizer_and_another_way_to_read_a_table_make_another_file() {
    let mut data = Data::new(&[("ein Haus", "a"), ("zwei Häuser", "b")]);
    let (cache, ready) = (data.folder.path().join("cache"), data.folder.path().join("ready.model"));
    (data.config.cache, data.config.in_memory_limit) = (Some(cache.clone()), 0.0);
    data.config.source.pretrained = Some(PretrainedConfig { file: ready.clone() });
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sentencepiece");
    let kinds = ["bpe.model", "unigram.model"].map(|name| {
        std::fs::copy(golden.join(name), &ready).unwrap();
        data.load().unwrap().tokenizers.source.tokenizer().unwrap().vocabulary().tokens().to_vec()
    });
    assert_ne!(kinds[0], kinds[1], "the file has another content under the same name");
    let sets = |data: &Data| {
        data.load().unwrap();
        files(&cache).iter().filter(|path| path.extension().unwrap() == "tokens").count()
    };
    assert_eq!(sets(&data), 2);
    let path = data.folder.path().join("train.jsonl");
    let table = |format, header| {
        Files(vec![PairFile::Table(TableFile { path: path.clone(), format, header, weight: None })])
    };
    data.config.train = table(Some(Format::Json), None);
    assert_eq!(sets(&data), 3, "a format");
    data.config.train = table(None, Some(false));
    assert_eq!(sets(&data), 4, "a header");
}

/// Messages show no text rather than another row's.
#[test]
fn elements_on_one_line_are_known_by_their_place_alone() {
    let mut data = Data::new(&[]);
    let path = data.folder.path().join("train.json");
    let [a, b, c] = ["a", "b", "c"].map(|text| format!("{{\"source\":\"{text}\",\"target\":\"x\"}}"));
    std::fs::write(&path, format!("[{a},{b},\n{c}]")).unwrap();
    data.config.train = Files(vec![path.into()]);
    (data.config.cache, data.config.in_memory_limit) = (Some(data.folder.path().join("cache")), 0.0);
    let train = data.load().unwrap().train;
    let pairs = train.corpus.pairs_of(&[0, 1, 2]);
    let shown: Vec<_> = pairs.iter().map(|pair| (pair.source.as_str(), pair.place.line)).collect();
    assert_eq!(shown, [("", 1), ("", 1), ("c", 2)]);
}

#[test]
fn a_damaged_file_is_made_anew_with_a_note() {
    let mut data = of_many();
    let cache = data.folder.path().join("cache");
    (data.config.cache, data.config.in_memory_limit) = (Some(cache.clone()), 0.0);
    let made = content(&data.load().unwrap().train);
    let path = files(&cache).into_iter().find(|path| path.extension().unwrap() == "tokens").unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[100] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let again = data.load().unwrap();
    let note = format!("{}: it was damaged, so it was made anew", path.display());
    assert_eq!(again.train.notes.last(), Some(&note));
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(content(&data.load().unwrap().train), made, "half of a file is none");
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

#[test]
fn pairs_that_are_probably_mistakes_are_refused_or_skipped_or_kept() {
    let rows = [("ab", "xy"), ("ab", "xy"), ("cd", "cd "), ("e", "efghijklm"), ("g", "h")];
    let mut data = Data::new(&rows);
    data.write("valid.jsonl", &[("ab", "xy")]);
    let train = data.load().unwrap().train;
    assert_eq!(train.corpus.len(), 5, "by default they are used");
    (data.config.duplicate, data.config.copy, data.config.max_ratio) = (Policy::Error, Policy::Skip, 4.0);
    assert_eq!(
        data.refused(),
        "error: train.jsonl:2: a pair must occur once, but the same one came before\n  ab\n  xy\nhint: correct the file, or \
         skip such pairs with `data.duplicate = \"skip\"`"
    );
    data.config.duplicate = Policy::Skip;
    assert_eq!(
        data.refused(),
        "error: train.jsonl:4: one side of a pair may have at most 4 times the characters of the other one \
         (`data.max_ratio`), but this pair's have 1 and 9\nhint: correct the file, or skip such pairs with \
         `data.too_unequal = \"skip\"`"
    );
    data.config.too_unequal = Policy::Skip;
    let train = data.load().unwrap().train;
    assert_eq!(train.corpus.pairs().iter().map(|pair| pair.place.line).collect::<Vec<_>>(), [1, 5]);
    let counts = [Reason::Duplicate, Reason::Copy, Reason::TooUnequal].map(|why| train.left_out.count(why));
    assert_eq!(counts, [1, 1, 1]);
    assert_eq!(train.left_out.of(Reason::Copy).first[0].line, 3);
}

#[test]
fn bytes_that_are_not_utf8_are_refused_or_skipped_or_replaced() {
    let mut data = Data::new(&[]);
    let write = |name: &str, bytes: &[u8]| std::fs::write(data.folder.path().join(name), bytes).unwrap();
    write("a.en", b"ab\na\xFFb\nc\nd\n");
    write("a.de", b"xy\nx\nz\xE4\nw\n");
    let path = |name: &str| data.folder.path().join(name);
    data.config.train =
        Files(vec![PairFile::Parallel { source: path("a.en"), target: path("a.de"), weight: None }]);
    assert!(data.refused().starts_with("error: a.en:2: the text must be UTF-8"), "{}", data.refused());
    data.config.invalid_utf8 = Policy::Skip;
    let train = data.load().unwrap().train;
    assert_eq!(train.corpus.pairs().iter().map(|pair| pair.place.line).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(train.left_out.count(Reason::InvalidUtf8), 2);
    data.config.invalid_utf8 = Policy::Keep;
    let train = data.load().unwrap().train;
    assert_eq!(train.corpus.pairs()[1].source, "a\u{fffd}b");
    assert_eq!(train.notes, ["rows with bytes that are not UTF-8, read as U+FFFD: 2"]);
}
