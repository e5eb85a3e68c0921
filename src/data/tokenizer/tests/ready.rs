//! Ready tokenizers: the pieces of the sentencepiece package (`tests/golden/make_sentencepiece.py`), a `tokenizer.json`, and files
//! that are neither.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::data::PretrainedConfig;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sentencepiece").join(name)
}

/// As in its file: nothing before its own normalizer.
fn ready(file: impl Into<PathBuf>) -> Result<Tokenizer> {
    let config = SideConfig {
        pretrained: Some(PretrainedConfig { file: file.into() }),
        normalize: Normalize::None,
        whitespace: Whitespace::Keep,
        ..SideConfig::default()
    };
    Tokenizer::train(&config, std::iter::empty())
}

const MODELS: [&str; 6] = ["unigram", "bpe", "unigram_bytes", "bpe_bytes", "unigram_suffix", "bpe_whole"];

/// Runs of unknown characters are one piece.
#[test]
fn a_sentencepiece_model_gives_the_pieces_of_the_package() {
    let record: Value = serde_json::from_str(&fs::read_to_string(golden("pieces.json")).unwrap()).unwrap();
    for name in MODELS {
        let tokenizer = ready(golden(&format!("{name}.model"))).unwrap();
        let of_package = &record["models"][name];
        let texts = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap() };
        for (n, line) in texts(&record["lines"]).iter().enumerate() {
            let mut pieces = Vec::new();
            tokenizer.scheme.cut(line, &mut |id, text| {
                pieces.push(if id == UNK { text.to_owned() } else { tokenizer.token(id).to_owned() });
            });
            assert_eq!(pieces, texts(&of_package["pieces"][n]), "{name}: {line}");
            let ids = tokenizer.encode(line);
            assert!(ids.iter().all(|id| *id == UNK || *id > EOS), "{name}: {line}");
            if !ids.contains(&UNK) {
                let decoded = of_package["decoded"][n].as_str().unwrap();
                // The package also drops the spaces of the first pieces.
                assert_eq!(tokenizer.decode(&ids).trim(), decoded.trim(), "{name}: {line}");
                assert_eq!(tokenizer.decode(&ids), tokenizer.normalized(line), "{name}: {line}");
            }
        }
        let back = Tokenizer::from_json(&tokenizer.to_json()).unwrap();
        assert_eq!(back.to_json(), tokenizer.to_json());
        assert_eq!(back.encode("the cat sieht 42"), tokenizer.encode("the cat sieht 42"));
    }
}

/// GPT-2's kind of bytes, words with marks for spaces, and word pieces.
fn tokenizer_jsons() -> [Value; 3] {
    let added = |id: u32, content: &str, special: bool| {
        json!({ "id": id, "content": content, "special": special, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false })
    };
    let file = |added: Value, parts: Value| {
        let mut file = json!({ "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
                               "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null });
        parts.as_object().unwrap().iter().for_each(|(key, value)| file[key] = value.clone());
        file
    };
    let letters = ["h", "e", "l", "o", "\u{120}", "\u{c3}", "\u{a9}", "he", "<", "s", ">"];
    let vocab: serde_json::Map<String, Value> =
        letters.iter().zip(0..).map(|(letter, id)| (letter.to_string(), json!(id))).collect();
    let byte_level =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let gpt = json!({ "pre_tokenizer": byte_level, "decoder": byte_level, "model": {
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": ["h e"] } });
    let metaspace =
        json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true });
    let unigram = json!({ "pre_tokenizer": metaspace, "decoder": metaspace, "model": {
        "type": "Unigram", "unk_id": 1, "byte_fallback": false, "vocab": [["<s>", 0.0], ["<unk>", 0.0], ["▁", -2.0],
        ["h", -3.0], ["e", -3.0], ["l", -3.0], ["o", -3.0], ["▁he", -2.5], ["llo", -3.5], ["é", -4.0]] } });
    let word_piece = json!({ "pre_tokenizer": { "type": "BertPreTokenizer" },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": false },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100,
                   "vocab": { "[UNK]": 0, "[CLS]": 1, "he": 2, "##llo": 3, "hello": 4, "é": 5 } } });
    [
        file(json!([added(11, "<s>", true)]), gpt),
        file(json!([added(0, "<s>", true), added(1, "<unk>", true)]), unigram),
        file(json!([added(0, "[UNK]", true), added(1, "[CLS]", true)]), word_piece),
    ]
}

#[test]
fn a_tokenizer_json_is_applied_as_its_crate_does_it_with_our_ids() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    for (json, own) in tokenizer_jsons().into_iter().zip([11, 8, 4]) {
        fs::write(&path, json.to_string()).unwrap();
        let tokenizer = ready(&path).unwrap();
        assert_eq!(tokenizer.vocabulary_size(), SPECIALS.len() + own);
        for text in ["hello hello", "hello é", "hello"] {
            let encoded = tokenizer.encode(text);
            assert_eq!(
                (tokenizer.count_unknown(&encoded), tokenizer.decode(&encoded).trim_start()),
                (0, text),
                "{json}"
            );
        }
        let special = tokenizer.encode("hello <s> [CLS] <eos> x");
        assert!(special.iter().all(|id| *id == UNK || *id > EOS), "{special:?}");
        let back = Tokenizer::from_json(&tokenizer.to_json()).unwrap();
        assert_eq!(back.encode("hello é zebra"), tokenizer.encode("hello é zebra"));
    }
}

#[test]
fn a_file_that_is_no_tokenizer_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.model");
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = ready(&path).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(
            text.contains("x.model") && text.contains("must be a SentencePiece .model or a tokenizer.json"),
            "{text}"
        );
        text
    };
    assert!(refused(b"").contains("must have one unknown piece, but it has 0"));
    refused(b"{}");
    refused(b"{\"model\": 1");
    refused(b"\n\x05abc");
    refused(b"\x0f");
    // TrainerSpec.model_type: word.
    assert!(refused(b"\x12\x02\x18\x03").contains("its type must be unigram or bpe, but it is word"));
    assert!(ready("").unwrap_err().message().contains("but it is empty"));
    assert!(ready(folder.path().join("missing")).unwrap_err().message().contains("missing"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes, and any change of a model's.
    #[test]
    fn no_bytes_are_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        name in prop::sample::select(MODELS.to_vec()),
        place in any::<prop::sample::Index>(),
        text in any::<String>(),
    ) {
        let _ = pretrained::tokenizer_of(ready_file::ReadyFile::new(&bytes));
        let mut model = fs::read(golden(&format!("{name}.model"))).unwrap();
        let place = place.index(model.len());
        let end = model.len().min(place + bytes.len() % 8);
        model.splice(place..end, bytes.iter().copied().take(4));
        if let Ok(scheme) = pretrained::tokenizer_of(ready_file::ReadyFile::new(&model)) {
            let mut covered = 0;
            scheme.cut(&text, &mut |id, part| covered += part.len() + id as usize);
            scheme.spelled(&text);
        }
    }

    /// Decoding restores what the model's normalizer makes of any text.
    #[test]
    fn a_text_decodes_to_its_normal_form(text in any::<String>(), name in prop::sample::select(MODELS.to_vec())) {
        let tokenizer = ready(golden(&format!("{name}.model"))).unwrap();
        let encoded = tokenizer.encode(&text);
        if tokenizer.count_unknown(&encoded) == 0 {
            prop_assert_eq!(tokenizer.decode(&encoded), tokenizer.normalized(&text));
        }
        prop_assert!(name.ends_with("_bytes") <= (tokenizer.count_unknown(&encoded) == 0));
    }
}
