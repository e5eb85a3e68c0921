"""Small SentencePiece models, and the pieces that the package cuts with them.

Made with Python 3.11 and sentencepiece 0.2.3:

    pip install sentencepiece==0.2.3
    python3 tests/golden/make_sentencepiece.py

The texts are our own. It writes tests/golden/sentencepiece/NAME.model and pieces.json: for each model the lines, the pieces, and the
text that the package makes of them.
"""

import json
import os
import pathlib
import tempfile

import sentencepiece

FOLDER = pathlib.Path(__file__).resolve().parent / "sentencepiece"

SUBJECTS = ["the cat", "a dog", "das Haus", "ein Vogel", "the small house", "一只猫", "这个房子"]
VERBS = ["sees", "sieht", "has seen", "was not", "看见", "ist 12 km von"]
OBJECTS = ["the bird.", "die Katze!", "a house in 1994?", "einen Hund,", "那只狗。", "<sep> 42"]
TEXTS = [f"{one} {two} {three}" for one in SUBJECTS for two in VERBS for three in OBJECTS]

LINES = TEXTS[::9] + [
    "",
    " ",
    "  the   cat  ",
    "thecat",
    "▁the ▁▁cat",
    "unseen: Ωmega ЖЖЖ ß",
    "a\tb\u3000c",
    "ＡＢＣ ﬁne ½ e\u0301",
    "<s> </s> <unk> <pad> <sep> <0x41>",
    "<sep><sep>a<sep>",
    "199419941994",
    "👩\u200d🚀 the cat",
    "那只猫看见那只狗",
    "Das HAUS",
]

# A rule that deletes, one that replaces two characters, and one with a space.
RULES = "61 301\tE1\n65 301\tE9\nFB01\t66 69\nA0\t20\n3000\t20\n9\t20\n200D\t\n41\t61\n"

COMMON = dict(num_threads=1, minloglevel=2, hard_vocab_limit=False, character_coverage=1.0)
CASES = {
    "unigram": dict(model_type="unigram", vocab_size=160, normalization_rule_name="identity"),
    "bpe": dict(model_type="bpe", vocab_size=160, normalization_rule_name="identity"),
    "unigram_bytes": dict(
        model_type="unigram", vocab_size=400, byte_fallback=True, split_digits=True, add_dummy_prefix=False,
        remove_extra_whitespaces=False, normalization_rule_name="identity", character_coverage=0.98,
    ),
    "bpe_bytes": dict(
        model_type="bpe", vocab_size=420, byte_fallback=True, user_defined_symbols=["<sep>", "ein"],
        normalization_rule_tsv="rules.tsv", character_coverage=0.98, pad_id=3,
    ),
    "unigram_suffix": dict(
        model_type="unigram", vocab_size=160, treat_whitespace_as_suffix=True, user_defined_symbols=["<sep>", "th"],
        normalization_rule_tsv="rules.tsv", control_symbols=["<2de>"],
    ),
    "bpe_whole": dict(
        model_type="bpe", vocab_size=200, split_by_whitespace=False, normalization_rule_tsv="rules.tsv",
        remove_extra_whitespaces=False,
    ),
}


def main():
    FOLDER.mkdir(exist_ok=True)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        # A model has the names of its files: those without a folder.
        os.chdir(folder)
        pathlib.Path("texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
        pathlib.Path("rules.tsv").write_text(RULES, encoding="utf-8")
        for name, options in CASES.items():
            options = {"input": "texts.txt", "model_prefix": name, **COMMON, **options}
            sentencepiece.SentencePieceTrainer.train(**options)
            model = FOLDER / f"{name}.model"
            model.write_bytes(pathlib.Path(f"{name}.model").read_bytes())
            processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
            pieces = [processor.encode(line, out_type=str) for line in LINES]
            texts_again = [processor.decode(processor.encode(line)) for line in LINES]
            found[name] = {"pieces": pieces, "decoded": texts_again, "unknown": processor.unk_id(),
                           "ids": [processor.encode(line) for line in LINES]}
    record = {"lines": LINES, "models": found}
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    (FOLDER / "pieces.json").write_text(text + "\n", encoding="utf-8")


main()
