//! The guarantees of tokenizers, on difficult scripts and spellings.
//!
//! Round trips first, then special tokens and white space, unknown symbols, training, and the JSON of a model file.

use unicode_normalization::UnicodeNormalization;

mod json;
mod properties;
mod ready;

use super::*;
use crate::data::{BytesConfig, CharactersConfig, GraphemesConfig, Normalize, PiecesConfig, WordsConfig};

/// Latin, Chinese, decomposed accents, an emoji of several code points, right-to-left text, spelled-out special tokens.
const TEXTS: [&str; 10] = [
    "the cat sat on the mat",
    "the dog sat on the log",
    "我爱北京天安门",
    "北京 大学",
    "cafe\u{301} re\u{301}sume\u{301}",
    "👩\u{200D}👩\u{200D}👧 family 👩\u{200D}🚀",
    "שלום עולם",
    "السلام عليكم",
    "a <eos> b <pad> c <unk> d <bos> e",
    "<eos><eos> x<eos>y x<eos>y <eos>",
];

fn characters() -> SideConfig {
    SideConfig { characters: Some(CharactersConfig { minimum_count: 1 }), ..SideConfig::default() }
}

fn words(minimum_count: usize) -> SideConfig {
    SideConfig { words: Some(WordsConfig { minimum_count }), ..SideConfig::default() }
}

fn bpe(vocabulary: usize) -> SideConfig {
    SideConfig { bpe: Some(PiecesConfig { vocabulary, ..PiecesConfig::default() }), ..SideConfig::default() }
}

fn unigram(vocabulary: usize) -> SideConfig {
    SideConfig {
        unigram: Some(PiecesConfig { vocabulary, ..PiecesConfig::default() }),
        ..SideConfig::default()
    }
}

fn graphemes() -> SideConfig {
    SideConfig { graphemes: Some(GraphemesConfig { minimum_count: 1 }), ..SideConfig::default() }
}

fn bytes() -> SideConfig {
    SideConfig { bytes: Some(BytesConfig {}), ..SideConfig::default() }
}

fn train(config: &SideConfig) -> Tokenizer {
    Tokenizer::train(config, TEXTS.iter().copied()).unwrap()
}

fn all() -> [Tokenizer; 6] {
    [characters(), graphemes(), words(1), bytes(), bpe(200), unigram(120)].map(|config| train(&config))
}

#[test]
fn a_text_of_known_symbols_decodes_to_its_nfc() {
    for config in [characters(), graphemes(), bytes(), bpe(90), bpe(200), unigram(90), unigram(200)] {
        let tokenizer = train(&config);
        for text in TEXTS {
            let encoded = tokenizer.encode(text);
            assert_eq!(tokenizer.count_unknown(&encoded), 0, "{text}");
            assert_eq!(tokenizer.decode(&encoded), text.nfc().collect::<String>(), "{}", tokenizer.kind());
        }
    }
    // Words cannot spell a special token, and all other texts are restored.
    let tokenizer = train(&words(1));
    for text in &TEXTS[..8] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text.nfc().collect::<String>());
    }
}

/// Any tokens, in any order.
#[test]
fn a_text_is_the_concatenation_of_its_tokens() {
    for tokenizer in all() {
        let pieces = tokenizer.pieces();
        let size = tokenizer.vocabulary_size();
        assert_eq!(pieces.len(), size);
        for first in 1..size {
            let ids: Vec<i64> = (0..6).map(|n| ((first + n * n * 7) % size) as i64).collect();
            let ids: Vec<i64> = ids.into_iter().filter(|id| ![PAD, BOS, EOS].contains(id)).collect();
            let text = ids.iter().enumerate().map(|(n, &id)| &pieces[id as usize][usize::from(n > 0)][..]);
            let text = String::from_utf8_lossy(&text.collect::<Vec<_>>().concat()).into_owned();
            assert_eq!(tokenizer.form().apply(&text), tokenizer.decode(&ids), "{} {ids:?}", tokenizer.kind());
        }
    }
}

#[test]
fn a_text_is_split_into_the_text_of_each_token_even_unknown() {
    for tokenizer in all() {
        for text in TEXTS.into_iter().chain(["the zebra sat", "ζ", "a ζ b ζζ"]) {
            let (ids, cut) = (tokenizer.encode(text), tokenizer.split(text));
            assert_eq!(ids.len(), cut.len(), "{} {text}", tokenizer.kind());
            let whole = tokenizer.decode_with(&ids, |n| &cut[n]);
            if tokenizer.kind() == "bytes" {
                assert!(cut.iter().all(|one| one.chars().count() == 1), "a byte's text is its character");
            }
            // The replacement of an unknown piece of a word has no space.
            let plain = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(plain(&whole), plain(&text.nfc().collect::<String>()), "{}", tokenizer.kind());
            assert_eq!(tokenizer.normalized(text), tokenizer.normalized(&format!(" {text}\t")));
            if !ids.contains(&UNK) {
                assert_eq!(tokenizer.normalized(text), tokenizer.decode(&ids), "{}", tokenizer.kind());
            }
        }
    }
    assert_eq!(train(&bpe(200)).split("the cat").concat(), "thecat", "no marks");
    assert_eq!(train(&characters()).decode_with(&[UNK, UNK], |n| ["x", "yz"][n]), "xyz");
    assert_eq!(
        train(&words(1)).decode_with(&[BOS, UNK, EOS], |n| ["", "ζ"][n]),
        "ζ",
        "by the place of the id"
    );
}

#[test]
fn composed_and_decomposed_text_are_encoded_alike() {
    for tokenizer in all() {
        let composed = tokenizer.encode("caf\u{e9}");
        assert_eq!(composed, tokenizer.encode("cafe\u{301}"));
        assert_eq!(tokenizer.count_unknown(&composed), 0);
    }
    assert_eq!(train(&characters()).encode("cafe\u{301}").len(), 4);
}

#[test]
fn a_special_token_that_is_spelled_out_never_becomes_special() {
    for tokenizer in all() {
        for text in ["<eos>", "a <eos> b", "x<eos>y", "<pad><bos><eos>", "<eos> <eos>"] {
            let encoded = tokenizer.encode(text);
            let special = [PAD, BOS, EOS].iter().any(|id| encoded.contains(id));
            assert!(!special, "{} on {text}: {encoded:?}", tokenizer.kind());
            if tokenizer.kind() != "words" {
                assert_eq!(
                    (tokenizer.decode(&encoded).as_str(), tokenizer.count_unknown(&encoded)),
                    (text, 0)
                );
            }
        }
    }
    let words = train(&words(1));
    assert_eq!(words.count_unknown(&words.encode("a <eos> b")), 1);
}

#[test]
fn bpe_learns_no_token_spelled_like_a_special_one() {
    // Nothing but `<eos>` to learn from: the merges run into it from every side.
    let texts = ["<eos>", "a<eos>", "b<eos>", "<eos>c", "<eos><eos>"].repeat(50);
    let tokenizer = Tokenizer::train(&bpe(100), texts.iter().copied()).unwrap();
    let named = |name: &str| tokenizer.vocabulary().tokens().iter().filter(|token| *token == name).count();
    assert_eq!(SPECIALS.map(named), [1, 1, 1, 1]);
    for text in texts {
        let encoded = tokenizer.encode(text);
        assert!(encoded.iter().all(|id| *id > EOS), "{encoded:?}");
        assert_eq!(tokenizer.decode(&encoded), text);
    }
}

#[test]
fn white_space_is_trimmed_and_line_breaks_are_spaces() {
    let (by_character, by_word, by_bpe) = (train(&characters()), train(&words(1)), train(&bpe(200)));
    assert_eq!(by_character.decode(&by_character.encode("  the  cat\n")), "the  cat");
    assert_eq!(by_bpe.decode(&by_bpe.encode("  the  cat\n")), "the  cat");
    assert_eq!(by_word.decode(&by_word.encode("  the \u{3000} cat\n")), "the cat");
}

/// Any text, in any form, by characters and by pieces: decoding restores the text in that form, including every space.
#[test]
fn a_normalized_text_survives_encoding_and_decoding() {
    let alphabet =
        ["a", "b", "é", "e\u{301}", " ", "  ", "\t", "\n", "\r\n", "가", "\u{1100}\u{1161}", "ﬁ", "\u{3000}"];
    let mut state: u64 = 11;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let texts: Vec<String> = (0..300)
        .map(|_| (0..random(9)).map(|_| alphabet[random(alphabet.len())]).collect())
        .chain(["", " ", "    if x:\n\t\treturn  y\n\n", " \n", "\n"].map(str::to_owned))
        .collect();
    for normalize in [Normalize::Nfc, Normalize::Nfd, Normalize::Nfkc, Normalize::None] {
        for whitespace in [Whitespace::Trim, Whitespace::Keep] {
            for kind in [characters(), graphemes(), bytes(), bpe(80), unigram(60)] {
                let config = SideConfig { normalize, whitespace, ..kind };
                let tokenizer = Tokenizer::train(&config, texts.iter().map(String::as_str)).unwrap();
                for text in &texts {
                    let encoded = tokenizer.encode(text);
                    let (read, form) = (tokenizer.decode(&encoded), tokenizer.form());
                    assert_eq!(read, form.apply(text), "{text:?} {form} {}", tokenizer.kind());
                    assert_eq!(tokenizer.known_parts(&encoded), [read.as_str()]);
                    assert_eq!(tokenizer.encode(&read), encoded, "{text:?}");
                    // All changes are reported, and nothing else.
                    assert_eq!(
                        read != *text,
                        tokenizer.changes(text) != Changes::default(),
                        "{text:?} {form}"
                    );
                    let unchanged = normalize == Normalize::None && whitespace == Whitespace::Keep;
                    assert!(!unchanged || read == *text, "{text:?}");
                }
            }
            if whitespace == Whitespace::Trim {
                let config = SideConfig { normalize, ..words(1) };
                let tokenizer = Tokenizer::train(&config, texts.iter().map(String::as_str)).unwrap();
                for text in &texts {
                    let read = tokenizer.decode(&tokenizer.encode(text));
                    assert_eq!(read != *text, tokenizer.changes(text) != Changes::default(), "{text:?}");
                }
            }
        }
    }
}

#[test]
fn the_text_form_is_part_of_a_tokenizer_and_older_models_have_the_first() {
    let config = SideConfig { normalize: Normalize::Nfd, whitespace: Whitespace::Keep, ..characters() };
    let tokenizer = Tokenizer::train(&config, ["가 "].into_iter()).unwrap();
    assert_eq!(tokenizer.vocabulary().tokens()[4..], [" ", "\u{1100}", "\u{1161}"]);
    let mut json = tokenizer.to_json();
    let back = Tokenizer::from_json(&json).unwrap();
    assert_eq!((back.form(), back.difference(&tokenizer)), (tokenizer.form(), None));
    json.as_object_mut().unwrap().retain(|key, _| ["kind", "tokens"].contains(&key.as_str()));
    let older = Tokenizer::from_json(&json).unwrap();
    assert_eq!(older.form(), TextForm::default());
    let (what, both) = older.difference(&tokenizer).unwrap();
    assert_eq!(what, "form");
    assert_eq!(both, ["NFC, white space trimmed", "NFD, white space kept"]);
}

#[test]
fn outputs_are_in_the_normal_form_even_across_tokens() {
    let tokenizer = Tokenizer::train(&characters(), ["e", "x\u{301}"].into_iter()).unwrap();
    let ids: Vec<i64> = ["e", "\u{301}"].iter().map(|token| tokenizer.id(token).unwrap()).collect();
    assert_eq!(tokenizer.decode(&ids), "\u{e9}");
}

/// Text without spaces is one word; neither training nor encoding may take quadratic time. The lengths are such that
/// quadratic time would be minutes.
#[test]
fn learning_and_tokenizing_a_line_of_any_length_take_linear_time() {
    let mut state: u64 = 1;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ['A', 'C', 'G', 'T'][(state >> 62) as usize]
    };
    let line: String = (0..300_000).map(|_| letter()).collect();
    // The trainer of Unigram models takes linear time, too, but much of it.
    let cases = [(bpe(60), line.len(), 60, line.len() / 2), (unigram(60), 10_000, 5, line.len())];
    for (config, learned, fewest, most) in cases {
        let tokenizer = Tokenizer::train(&config, [&line[..learned]].into_iter()).unwrap();
        assert!((fewest..=60).contains(&tokenizer.vocabulary_size()));
        let encoded = tokenizer.encode(&line);
        assert!(encoded.len() < most, "{}", tokenizer.kind());
        assert_eq!(tokenizer.decode(&encoded), line);
    }
}

#[test]
fn an_empty_text_has_no_tokens() {
    for tokenizer in all() {
        for text in ["", " ", "\n\t \u{3000}"] {
            assert!(tokenizer.encode(text).is_empty());
        }
        assert_eq!(tokenizer.decode(&[]), "");
        assert_eq!(tokenizer.decode(&[BOS, EOS, PAD]), "");
    }
}

#[test]
fn unknown_symbols_are_counted_and_can_be_listed() {
    let tokenizer = train(&characters());
    let by_character = tokenizer.encode("catÜÜ");
    assert_eq!((tokenizer.count_unknown(&by_character), by_character.len()), (2, 5));
    assert_eq!(train(&characters()).unknown_symbols("catU\u{308}Ü"), ["Ü", "Ü"]);
    let tokenizer = train(&words(2));
    assert_eq!(tokenizer.count_unknown(&tokenizer.encode("the zebra sat on a mat")), 3);
    assert_eq!(train(&words(2)).unknown_symbols("the zebra sat on a mat"), ["zebra", "a", "mat"]);
    // Three unknown characters in a row are three tokens, and the rest of the word is encoded as before.
    let tokenizer = train(&bpe(200));
    let by_bpe = tokenizer.encode("the ÜÜÜ cat");
    assert_eq!(tokenizer.count_unknown(&by_bpe), 3);
    assert_eq!(tokenizer.unknown_symbols("the ÜÖÜ cat"), ["Ü", "Ö", "Ü"]);
    assert_eq!(tokenizer.decode(&by_bpe), "the <unk><unk><unk> cat");
}

#[test]
fn nul_and_other_control_characters_are_characters() {
    for config in [characters(), graphemes(), bytes(), words(1), bpe(20), unigram(20)] {
        let tokenizer = Tokenizer::train(&config, ["a\0b \u{1b}[1m"].into_iter()).unwrap();
        let encoded = tokenizer.encode("a\0b \u{1b}[1m");
        assert_eq!(
            (tokenizer.count_unknown(&encoded), tokenizer.decode(&encoded).as_str()),
            (0, "a\0b \u{1b}[1m")
        );
    }
}

#[test]
fn decode_omits_special_tokens_and_shows_unknown_ones() {
    for tokenizer in all() {
        let ids = tokenizer.encode("the cat");
        let framed: Vec<i64> = [PAD, BOS].into_iter().chain(ids).chain([EOS, PAD]).collect();
        assert_eq!(tokenizer.decode(&framed), "the cat");
        assert_eq!(tokenizer.decode(&[UNK]), "<unk>");
        assert_eq!(tokenizer.decode(&[-1]), "<unk>");
        assert_eq!(tokenizer.token(i64::MAX), "<unk>");
        assert_eq!([PAD, UNK, BOS, EOS].map(|id| tokenizer.token(id)), SPECIALS);
    }
}

#[test]
fn a_bpe_space_mark_in_a_text_is_a_space() {
    let tokenizer = Tokenizer::train(&bpe(50), ["a▁b", "▁a"].into_iter()).unwrap();
    assert_eq!(tokenizer.decode(&tokenizer.encode("a▁b")), "a b");
}

#[test]
fn training_twice_gives_the_same_bytes() {
    // Many pairs of equal count: the order must not come from a hash map.
    let texts: Vec<String> =
        (0..400).map(|i: u64| format!("w{} v{}x u{}", i % 97, i * i % 89, i * 7 % 83)).collect();
    for config in [characters(), graphemes(), bytes(), words(1), bpe(300), unigram(300)] {
        let once = Tokenizer::train(&config, texts.iter().map(String::as_str)).unwrap();
        let again = Tokenizer::train(&config, texts.iter().map(String::as_str)).unwrap();
        assert_eq!(once.to_json().to_string(), again.to_json().to_string());
    }
}

#[test]
fn bpe_merges_frequent_pairs_up_to_its_size() {
    let tokenizer = Tokenizer::train(&bpe(15), ["low low low lower lowest"].into_iter()).unwrap();
    assert_eq!(tokenizer.vocabulary_size(), 15);
    let ids = tokenizer.encode("lower low");
    let tokens: Vec<&str> = ids.iter().map(|id| tokenizer.token(*id)).collect();
    assert_eq!(tokens, ["▁low", "e", "r", "▁low"]);
    // No pair occurs twice: the vocabulary stays smaller than requested, and its size is reported.
    let tokenizer = Tokenizer::train(&bpe(1000), ["low low low lower lowest"].into_iter()).unwrap();
    assert_eq!(tokenizer.vocabulary_size(), 4 + 8 + 4);
}

#[test]
fn a_vocabulary_smaller_than_the_alphabet_is_refused_with_its_size() {
    let error = Tokenizer::train(&bpe(10), ["abcdefgh"].into_iter()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    assert!(
        text.contains("9 here with the mark for a space, and 4 special tokens, but `vocabulary` is 10"),
        "{text}"
    );
    assert!(text.contains("set `vocabulary` to at least 13"), "{text}");
    assert_eq!(Tokenizer::train(&bpe(13), ["abcdefgh"].into_iter()).unwrap().vocabulary_size(), 13);
}

#[test]
fn a_tokenizer_can_be_learned_from_no_text() {
    for config in [characters(), graphemes(), words(1), bpe(8000), unigram(8000)] {
        let tokenizer = Tokenizer::train(&config, std::iter::empty()).unwrap();
        assert_eq!(tokenizer.vocabulary_size(), 4);
        assert!(tokenizer.count_unknown(&tokenizer.encode("ab")) > 0);
    }
}

#[test]
fn many_texts_are_encoded_as_each_alone() {
    for tokenizer in all() {
        let one_by_one: Vec<Vec<i64>> = TEXTS.iter().map(|text| tokenizer.encode(text)).collect();
        assert_eq!(tokenizer.encode_all(&TEXTS), one_by_one);
    }
}

#[test]
fn the_known_parts_of_an_output_are_its_text_without_unknown_tokens() {
    for tokenizer in all() {
        let size = tokenizer.vocabulary_size();
        for first in 1..size {
            let ids: Vec<i64> = (0..6).map(|n| ((first + n * n * 7) % size) as i64).collect();
            let parts = tokenizer.known_parts(&ids);
            assert_eq!(parts.join("<unk>"), tokenizer.decode(&ids), "{} {ids:?}", tokenizer.kind());
            assert_eq!(parts.len(), 1 + ids.iter().filter(|&&id| id == UNK).count());
        }
        assert_eq!(tokenizer.known_parts(&[]), [""]);
        assert_eq!(tokenizer.known_parts(&[-1, EOS]), ["", ""]);
    }
    let words = train(&words(1));
    let ids = [&words.encode("the cat")[..], &[UNK], &words.encode("sat")].concat();
    assert_eq!(words.known_parts(&ids), ["the cat ", " sat"]);
    let of_characters = train(&characters());
    let [space, a] = [" ", "a"].map(|text| of_characters.id(text).unwrap());
    assert_eq!(
        of_characters.decode(&[space, a, space, a, space]),
        "a a",
        "an output has no outer spaces either"
    );
    assert_eq!(of_characters.known_parts(&[space, a, space, UNK, space, a, space]), ["a ", " a"]);
    assert_eq!(of_characters.as_output(" cafe\u{301}\t"), "caf\u{e9}");
}
