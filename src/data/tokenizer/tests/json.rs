//! The JSON of model files: what is written is read as the same tokenizer, and anything else is refused.

use serde_json::Value;

use super::*;

#[test]
fn a_tokenizer_survives_a_round_trip_through_json() {
    for tokenizer in all() {
        let json = tokenizer.to_json();
        let back = Tokenizer::from_json(&json).unwrap();
        assert_eq!(back.to_json(), json);
        for text in TEXTS.iter().chain(&["unseen Ü words", "the cats"]) {
            assert_eq!(back.encode(text), tokenizer.encode(text));
        }
    }
    let small = Tokenizer::train(&bpe(8), ["ab ab"].into_iter()).unwrap();
    let json = r#"{"kind":"bpe","merges":["a b"],"normalize":"nfc","tokens":["<pad>","<unk>","<bos>","<eos>","a","b","▁","ab"],"whitespace":"trim"}"#;
    assert_eq!(small.to_json().to_string(), json);
}

#[test]
fn invalid_json_is_an_error_and_never_a_panic() {
    let specials = r#""<pad>","<unk>","<bos>","<eos>""#;
    let broken = [
        "null".to_string(),
        "[]".to_string(),
        "{}".to_string(),
        r#"{"kind":"characters"}"#.to_string(),
        r#"{"kind":"characters","tokens":[]}"#.to_string(),
        r#"{"kind":"characters","tokens":"abc"}"#.to_string(),
        format!(r#"{{"kind":"letters","tokens":[{specials}]}}"#),
        format!(r#"{{"kind":"characters","tokens":[{specials},1]}}"#),
        format!(r#"{{"kind":"characters","tokens":[{specials},"ab"]}}"#),
        format!(r#"{{"kind":"characters","tokens":[{specials},"a","a"]}}"#),
        format!(r#"{{"kind":"characters","tokens":[{specials},"a"],"merges":[]}}"#),
        format!(r#"{{"kind":"words","tokens":[{specials},"a b"]}}"#),
        format!(r#"{{"kind":"bpe","tokens":[{specials},"a","b"]}}"#),
        format!(r#"{{"kind":"bpe","tokens":[{specials},"a","b"],"merges":["a b"]}}"#),
        format!(r#"{{"kind":"bpe","tokens":[{specials},"a","b","ab"],"merges":["ab"]}}"#),
        format!(r#"{{"kind":"bpe","tokens":[{specials},"a","b","ab"],"merges":["a b c"]}}"#),
        format!(r#"{{"kind":"bpe","tokens":[{specials},"a","b","ab"],"merges":[" b"]}}"#),
        format!(r#"{{"kind":"bpe","tokens":[{specials},"<eo","s>"],"merges":["<eo s>"]}}"#),
        format!(r#"{{"kind":"bpe","tokens":[{specials},"a","b","ab"],"merges":[]}}"#),
        format!(r#"{{"kind":"bpe","tokens":[{specials},""],"merges":[]}}"#),
    ];
    for json in broken {
        let value: Value = serde_json::from_str(&json).unwrap();
        let error = Tokenizer::from_json(&value).unwrap_err();
        assert!(error.message().starts_with("the tokenizer is damaged: "), "{json}: {error}");
    }
}

#[test]
fn the_first_difference_of_two_tokenizers_is_found() {
    let read = |json: String| Tokenizer::from_json(&serde_json::from_str(&json).unwrap()).unwrap();
    let of = |kind: &str, tokens: &str| {
        let specials = r#""<pad>","<unk>","<bos>","<eos>""#;
        read(format!(r#"{{"kind":"{kind}","tokens":[{specials},{tokens}}}"#))
    };
    let found = |one: &Tokenizer, other: &Tokenizer| {
        let (what, [one, other]) = one.difference(other)?;
        Some(format!("{what}: {one}, {other}"))
    };
    let ab = of("characters", r#""a","b"]"#);
    assert_eq!(found(&ab, &ab.clone()), None);
    assert_eq!(found(&ab, &of("words", r#""a","b"]"#)).unwrap(), "kind: characters, words");
    assert_eq!(found(&ab, &of("characters", r#""b","a"]"#)).unwrap(), r#"token 4: "a", "b""#);
    assert_eq!(found(&ab, &of("characters", r#""a"]"#)).unwrap(), r#"token 5: "b", missing"#);
    assert_eq!(found(&of("characters", r#""a"]"#), &ab).unwrap(), r#"token 5: missing, "b""#);
    let merged = |merges: &str| of("bpe", &format!(r#""a","b","ab","ba"],"merges":[{merges}]"#));
    let one = merged(r#""a b","b a""#);
    assert_eq!(found(&one, &one.clone()), None);
    assert_eq!(found(&one, &merged(r#""b a","a b""#)).unwrap(), r#"merges 0: "a b", "b a""#);
    // In another order the same tokens are cut.
    let in_cuts = |one: &Tokenizer, other: &Tokenizer| one.difference_in_cuts(other).map(|(what, _)| what);
    assert_eq!(in_cuts(&ab, &of("characters", r#""b","a"]"#)), None);
    assert_eq!(in_cuts(&ab, &of("characters", r#""b","c"]"#)).unwrap(), "token 4");
    assert_eq!(in_cuts(&ab, &of("words", r#""b","a"]"#)).unwrap(), "kind");
    let other_order = of("bpe", r#""b","a","ab","ba"],"merges":["a b","b a"]"#);
    assert_eq!(in_cuts(&one, &other_order), None);
    assert_eq!(in_cuts(&merged(r#""b a","a b""#), &other_order).unwrap(), "merges 0");
    let unigram = |tokens: &str| of("unigram", &format!(r#"{tokens}],"scores":[-1.0,-2.0]"#));
    assert_eq!(in_cuts(&unigram(r#""a","b""#), &unigram(r#""b","a""#)).unwrap(), "token 4");
}
