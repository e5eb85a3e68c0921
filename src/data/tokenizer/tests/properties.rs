//! For any text: decoding what was encoded gives its form, and no JSON is a panic.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;

use super::*;

/// Letters of several scripts, marks, spaces of all kinds, what is spelled like a token, and any other character.
fn texts() -> impl Strategy<Value = String> {
    let parts = prop_oneof![
        4 => prop::sample::select(vec![
            "a", "B", "é", "e\u{301}", "\u{301}", "ß", "İ", "Σ", "ſ", "1", "23", "½", "京", "カ", "ー", "가", "\u{1100}\u{1161}", "ﬁ",
            " ", "  ", "\t", "\n", "\u{3000}", "\u{a0}", "<eos>", "<0x41>", "👩\u{200d}🚀", "\u{feff}", "\0", "don't",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(parts, 0..8).prop_map(|parts| parts.concat())
}

fn sides() -> impl Strategy<Value = SideConfig> {
    let pieces = |[byte_fallback, split_scripts, split_digits]: [bool; 3]| {
        let minimum_count = 1 + usize::from(byte_fallback);
        Some(PiecesConfig { vocabulary: 700, minimum_count, byte_fallback, split_scripts, split_digits })
    };
    let of_bpe = move |flags| SideConfig { bpe: pieces(flags), ..SideConfig::default() };
    let of_unigram = move |flags| SideConfig { unigram: pieces(flags), ..SideConfig::default() };
    let kinds = prop_oneof![
        Just(characters()),
        Just(graphemes()),
        Just(bytes()),
        any::<[bool; 3]>().prop_map(of_bpe),
        any::<[bool; 3]>().prop_map(of_unigram),
    ];
    let normalize =
        prop::sample::select(vec![Normalize::Nfc, Normalize::Nfd, Normalize::Nfkc, Normalize::None]);
    let whitespace = prop::sample::select(vec![Whitespace::Trim, Whitespace::Keep]);
    (kinds, normalize, whitespace, any::<bool>()).prop_map(|(kind, normalize, whitespace, lowercase)| {
        SideConfig { normalize, whitespace, lowercase, ..kind }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn a_text_decodes_to_its_form(
        config in sides(),
        seen in prop::collection::vec(texts(), 1..12),
        unseen in texts(),
    ) {
        let tokenizer = Tokenizer::train(&config, seen.iter().map(String::as_str)).unwrap();
        let has_fallback = config.bytes.is_some()
            || config.bpe.as_ref().is_some_and(|bpe| bpe.byte_fallback)
            || config.unigram.as_ref().is_some_and(|unigram| unigram.byte_fallback);
        let back = Tokenizer::from_json(&tokenizer.to_json()).unwrap();
        for text in seen.iter().chain([&unseen]) {
            let encoded = tokenizer.encode(text);
            prop_assert!(encoded.iter().all(|id| *id == UNK || *id > EOS));
            prop_assert!(!has_fallback || tokenizer.count_unknown(&encoded) == 0);
            prop_assert_eq!(&back.encode(text), &encoded);
            if tokenizer.count_unknown(&encoded) > 0 {
                continue;
            }
            let read = tokenizer.decode(&encoded);
            let of_pieces = config.pieces().is_some();
            let form = tokenizer.form();
            let in_form = form.apply(text).into_owned();
            let spelled = if of_pieces { in_form.replace('▁', " ") } else { in_form };
            prop_assert_eq!(&read, &form.apply(&spelled));
            prop_assert_eq!(&read, &tokenizer.as_output(text));
            prop_assert_eq!(read != *text, tokenizer.changes(text) != Changes::default());
        }
    }

    #[test]
    fn no_json_is_a_panic(text in "[\\[\\]{}\",:a-z<>0-9.]{0,40}", config in sides(), key in 0..9usize, value in texts()) {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let _ = Tokenizer::from_json(&value);
        }
        let tokenizer = Tokenizer::train(&config, ["ab ba ab"].into_iter()).unwrap();
        let mut json = tokenizer.to_json();
        let keys = ["kind", "tokens", "scores", "merges", "file", "byte_fallback", "normalize", "lowercase", "split_digits"];
        json[keys[key]] = if key % 2 == 0 { value.clone().into() } else { vec![value].into() };
        if let Ok(other) = Tokenizer::from_json(&json) {
            other.encode("ab");
        }
    }
}

/// Digits and scripts.
#[test]
fn pieces_do_not_cross_what_they_are_split_at() {
    let texts = ["in 1994 and 1995", "19941995 Приветhello", "1994 Приветhello", "in 1995 1995"].repeat(5);
    for byte_fallback in [false, true] {
        let learned = |split_digits, split_scripts| {
            let pieces = PiecesConfig {
                vocabulary: 400,
                split_digits,
                split_scripts,
                byte_fallback,
                minimum_count: 1,
            };
            let of_bpe = SideConfig { bpe: Some(pieces), ..SideConfig::default() };
            let of_unigram = SideConfig { unigram: Some(pieces), ..SideConfig::default() };
            [of_bpe, of_unigram].map(|config| Tokenizer::train(&config, texts.iter().copied()).unwrap())
        };
        let tokens = |tokenizer: &Tokenizer| tokenizer.split("1994 Приветhello").join(" ").trim().to_owned();
        assert_eq!(tokens(&learned(false, false)[0]), "1994 Приветhello");
        for tokenizer in learned(true, true) {
            let cut = tokens(&tokenizer);
            let is_whole = tokenizer.kind() == "bpe";
            let expected = "1 9 9 4 Привет hello";
            assert!(!is_whole || cut.split_whitespace().eq(expected.split(' ')), "{cut}");
            let crosses = |piece: &str| {
                piece.chars().count() > 1 && piece.contains(char::is_numeric)
                    || piece.contains(|one: char| one > 'z') && piece.contains(|one: char| one <= 'z')
            };
            assert!(!cut.split_whitespace().any(crosses), "{cut}");
            assert_eq!(tokenizer.decode(&tokenizer.encode("1994 Приветhello")), "1994 Приветhello");
        }
    }
}

#[test]
fn rare_characters_are_unknown_or_their_bytes() {
    for byte_fallback in [false, true] {
        let pieces =
            PiecesConfig { vocabulary: 300, byte_fallback, minimum_count: 2, ..PiecesConfig::default() };
        let of_bpe = SideConfig { bpe: Some(pieces), ..SideConfig::default() };
        let of_unigram = SideConfig { unigram: Some(pieces), ..SideConfig::default() };
        for config in [of_bpe, of_unigram] {
            let tokenizer =
                Tokenizer::train(&config, ["ab é", "ab <0xC3>", "ab <0xC3>"].into_iter()).unwrap();
            let encoded = tokenizer.encode("abé <0xC3>");
            if byte_fallback {
                let bytes: Vec<&str> = encoded.iter().map(|id| tokenizer.token(*id)).collect();
                assert_eq!(
                    bytes.iter().filter(|token| crate::data::tokenizer::bytes::is_token(token)).count(),
                    2,
                    "{bytes:?}"
                );
                assert_eq!(
                    (tokenizer.count_unknown(&encoded), tokenizer.decode(&encoded).as_str()),
                    (0, "abé <0xC3>")
                );
                // Half of a character.
                let half: Vec<i64> =
                    encoded.into_iter().filter(|id| tokenizer.token(*id) != "<0xA9>").collect();
                assert_eq!(tokenizer.decode(&half), "ab\u{fffd} <0xC3>");
            } else {
                assert_eq!(
                    (tokenizer.count_unknown(&encoded), tokenizer.decode(&encoded).as_str()),
                    (1, "ab<unk> <0xC3>")
                );
            }
        }
    }
}

#[test]
fn lower_case_is_part_of_the_form() {
    let config = SideConfig { lowercase: true, ..characters() };
    let tokenizer = Tokenizer::train(&config, ["Das ÄRZTE-Haus", "ΟΔΟΣ İ"].into_iter()).unwrap();
    assert_eq!(tokenizer.decode(&tokenizer.encode("DAS ärzte-HAUS")), "das ärzte-haus");
    assert_eq!(tokenizer.as_output("ΟΔΟΣ"), "οδος");
    assert_eq!(tokenizer.count_unknown(&tokenizer.encode("ΟΔΟΣ")), 0);
    let mut json = tokenizer.to_json();
    assert_eq!(json["lowercase"], Value::Bool(true));
    let back = Tokenizer::from_json(&json).unwrap();
    assert_eq!(back.form().to_string(), "NFC, white space trimmed, lower case");
    json.as_object_mut().unwrap().remove("lowercase");
    assert!(!Tokenizer::from_json(&json).unwrap().form().lowercase, "older files have none");
    assert!(train(&characters()).to_json().get("lowercase").is_none());
}
