//! Each tokenizer as a user has it: raw text to raw text, from the model file alone.

use std::fs;
use std::path::Path;

use crate::support::run::Scene;

/// Sources with their targets; accents in two characters, an emoji, and spaces.
const PAIRS: [[&str; 2]; 4] = [
    ["ab", "the cat"],
    ["cd", "cafe\u{301} é 👩\u{200d}🚀"],
    ["ba", "我爱 北京 the"],
    ["dc", "1994 <eos> the"],
];

/// What a target is read as.
fn read(target: &str) -> String {
    target.replace("e\u{301}", "\u{e9}")
}

#[test]
fn a_model_with_each_tokenizer_decodes_raw_text_from_its_model_file_alone() {
    let scene = Scene::new(8, 2);
    let rows: String = PAIRS.iter().map(|[source, target]| format!("{source}\t{target}\n")).collect();
    scene.write("pairs.tsv", format!("source\ttarget\n{rows}"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sentencepiece");
    fs::copy(folder.join("unigram_bytes.model"), scene.path("spm.model")).unwrap();
    let kinds = [
        ["graphemes", "{}"],
        ["bytes", "{}"],
        ["bpe", "{ vocabulary = 290, byte_fallback = true, split_digits = true }"],
        ["unigram", "{ vocabulary = 300, byte_fallback = true }"],
        ["pretrained", "{ file = \"spm.model\" }"],
    ];
    for [kind, table] in kinds {
        let mut arguments = vec!["--out".to_owned(), kind.to_owned()];
        let settings = [
            "data.train=pairs.tsv",
            "data.valid=pairs.tsv",
            "training.steps=150",
            "training.validate_every=150",
            "decoding.max_length_offset=60",
        ];
        let sides = ["source", "target"].map(|side| format!("data.{side}.{kind}={table}"));
        for setting in settings.iter().map(|setting| setting.to_string()).chain(sides) {
            arguments.extend(["--set".to_owned(), setting]);
        }
        scene.train(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).succeeded();
        // A folder with nothing else.
        let alone = Scene::new(0, 0);
        for name in ["copy.toml", "train.csv", "valid.csv"] {
            fs::remove_file(alone.path(name)).unwrap();
        }
        alone.write(
            "model.safetensors",
            scene.read(scene.checkpoint(kind, "latest").join("model.safetensors")),
        );
        let sources: String = PAIRS.iter().map(|[source, _]| format!("{source}\n")).collect();
        let targets: String = PAIRS.iter().map(|[_, target]| format!("{}\n", read(target))).collect();
        let decoded = alone.fed(&["decode", "model.safetensors"], sources.as_bytes()).succeeded().stdout;
        assert_eq!(decoded, targets, "{kind}");
        for ids in [&[][..], &["--ids"]] {
            let run = |command: &str, input: &str| {
                let arguments = [&[command, "model.safetensors", "--side", "target"], ids].concat();
                alone.fed(&arguments, input.as_bytes()).succeeded().stdout
            };
            let tokens = run("tokenize", &targets);
            assert_eq!(run("detokenize", &tokens), targets, "{kind}: {tokens}");
        }
    }
}

#[test]
fn lines_are_written_as_tokens_and_back() {
    let scene = Scene::trained();
    let shown = |arguments: &[&str], input: &str| scene.fed(arguments, input.as_bytes()).succeeded().stdout;
    assert_eq!(shown(&["tokenize", "runs/copy"], "abZ\n\nh\n"), "a b <unk>\n\nh\n");
    let ids = shown(&["tokenize", "runs/copy", "--ids"], "ab\n");
    assert_eq!(shown(&["detokenize", "runs/copy", "--ids"], &ids), "ab\n");
    assert_eq!(shown(&["detokenize", "runs/copy", "--side", "target"], "a b <eos>\n\n"), "ab\n\n");
    let refused = |arguments: &[&str], input: &[u8], parts: &[&str]| {
        scene.fed(arguments, input).refused_naming(2, parts);
    };
    refused(
        &["detokenize", "runs/copy"],
        b"x\na\n",
        &["standard input:1", "a token must be one of the model's vocabulary"],
    );
    refused(&["detokenize", "runs/copy", "--ids"], b"99\n", &["an id must be a number from 0 to", "`99`"]);
    refused(&["tokenize", "runs/copy"], b"\xff\n", &["standard input:1", "must be UTF-8"]);
}
