//! Which pairs are used, which of them build the vocabularies, and the notes about the others.

use tempfile::TempDir;

use super::*;
use crate::data::{BpeConfig, Normalize, SideConfig, Whitespace, WordsConfig};

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
            valid: path("valid.jsonl"),
            format: None,
            header: true,
            shared_vocabulary: false,
            too_long: TooLong::Skip,
            empty: Empty::Error,
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
        DataSplits::load(&self.config, None, |pairs| Tokenizers::train(&self.config, pairs))
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
    data.config.empty = Empty::Skip;
    let train = data.load().unwrap().train;
    assert_eq!(train.corpus.pairs().map(|pair| pair.place.line).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(train.empty.iter().map(|place| place.line).collect::<Vec<_>>(), [2, 3, 4]);
    data.config.empty = Empty::Keep;
    let train = data.load().unwrap().train;
    assert_eq!((train.corpus.len(), train.empty.len()), (5, 0));
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
    data.config.empty = Empty::Skip;
    assert_eq!(data.refused(), "error: no pair is left: all 1 have an empty side");
    // If white space is kept, it is text.
    data.write("train.jsonl", &[(" ", "a")]);
    data.config.empty = Empty::Error;
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
        assert_eq!((splits.train.corpus.len(), splits.train.skipped.len()), (2, 1));
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
        data.config.source.bpe = Some(BpeConfig { vocabulary: 60, ..BpeConfig::default() });
        let splits = data.load().unwrap();
        let skipped = splits.train.skipped.len();
        let foreign = tokens(&splits).chars().filter(|c| c.is_ascii_alphabetic()).count();
        assert_eq!(skipped == 0, foreign > 0, "{times}: {skipped} left out, and {}", tokens(&splits));
        // The used pairs depend on the tokenizers alone, which a resumed run has.
        let again = DataSplits::load(&data.config, None, |_| Ok(splits.tokenizers.clone())).unwrap();
        assert_eq!(again.train.corpus.fingerprint(), splits.train.corpus.fingerprint());
        assert_eq!(again.train.skipped, splits.train.skipped);
    }
}

#[test]
fn a_pair_with_more_characters_than_the_vocabulary_size_can_be_skipped() {
    let junk: String = ('\u{4e00}'..'\u{4e80}').collect();
    let mut data = Data::new(&[("ab", "c"), (&junk, "d"), ("ba", "c")]);
    data.config.source.max_length = 10;
    data.config.source.bpe = Some(BpeConfig { vocabulary: 20, ..BpeConfig::default() });
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
