#!/usr/bin/env python3
"""Writes tests/golden/metrics.json: scores of small corpora as sacrebleu and jiwer compute them.

    pip install sacrebleu==2.6.0 jiwer==4.0.0
    python3 tests/golden/make_metrics.py

With `--categories` it prints the tables of src/metrics/bleu/categories.rs instead: the punctuation and the symbols of the
`regex` package, which sacrebleu's tokenizer `intl` uses.

The file has the versions, the signatures with one reference, and for BLEU what sacrebleu prints behind its value.
tests/metrics.rs compares seqloom's values with it, to 1e-9, and src/metrics/bleu.rs what is printed.
sacrebleu gets the texts as they are. jiwer separates words at the space U+0020 alone and strips texts before it counts
characters; here it gets the words between any white space, and the characters as they are. It knows one reference; of
several, the one with the lowest rate counts, the first of equal ones.
"""

import csv
import json
import random
import re
import sys
from importlib.metadata import version
from pathlib import Path

import jiwer
import regex
import sacrebleu
from jiwer import transforms
from sacrebleu.metrics import BLEU, CHRF, TER

METRICS = {
    "bleu": BLEU(tokenize="13a", force=True),
    "bleu_intl": BLEU(tokenize="intl", force=True),
    "bleu_char": BLEU(tokenize="char", force=True),
    "bleu_zh": BLEU(tokenize="zh", force=True),
    "bleu_none": BLEU(tokenize="none", force=True),
    "chrf": CHRF(),
    "chrf_plus_plus": CHRF(word_order=2),
    "ter": TER(),
}

# Unicode's White_Space. Python's own methods add U+001C to U+001F, as sacrebleu does.
WHITE_SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
CHARACTERS = transforms.Compose([transforms.ReduceToListOfListOfChars()])
WORDS = transforms.Compose([transforms.ReduceToListOfListOfWords()])

# Corpora of (references, output).
BY_HAND = [
    (["The cat sat on the mat."], "The cat sat on a mat."),
    (["kitten"], "sitting"),
    (["a"], "a"),
    (["ab"], "abcdefgh"),
    ([""], "something"),
    (["something"], ""),
    ([""], ""),
    (["  spaces\there \u00a0 and\u3000there\x1c"], "spaces here and there"),
    (["Größenmaßstäbe sind überflüssig"], "Grössenmassstäbe sind flüssig"),
    (["北京大学的学生"], "北大的学生们"),
    (["M C M X C I V"], "M C M X C V I"),
    (["aaaaaaaa"], "aaaa"),
    (["👩‍👩‍👧 e\u0301t\u00e9"], "👩‍👧 \u00e9te\u0301"),
    (['It costs $1,000.50 (or 3.5%), "he" said...'], "It costs $1,000.5 (or 3.5 %), &quot;he&quot; said .."),
    (["a&amp;lt;b &amp;quot; <skipped>c-\nd\ne -\n"], "a<b &quot; c d e -"),
    (["5-6, 1.-2 .5 5. ..7 a..b a...b 7,,8 -9", "x.,y .,5 5,. -"], "5-6 , 1 . - 2 .5 5. . .7 a..b"),
    (["ΟΔΥΣΣΕΥΣ İstanbul ẞ ǅ"], "οδυσσευς i̇stanbul ß ǆ"),
    (["(hi) 'tis well-known, isn't it?! ... -- ¿qué?"], "(hi 'tis well known isn't it ?! … — ¿ qué ?"),
    (["the the the the the the the", "the cat is on the mat"], "the cat the cat on the mat"),
    (["a b c d e f g h i j", "f g h i j a b c d e", "j i h g f e d c b a"], "e f g h i j a b c d"),
    (["2001\u2001\u2002.5\u20a0 ｆｕｌｌ１２３．５，６ ㈱ ㍿ ⼀ ﷼ ½ Ⅷ ١٢٫٥"], "2001 .5₠ ｆｕｌｌ１２３．５ ㈱㍿ 一 ½ Ⅷ ١٢ ٫ ٥"),
]

SPACES = [" ", " ", " ", "  ", "\t", "\u00a0", "\u3000", "\u2028", "\u2003", "\x1c", "\x1f", "\x85", "\n", "-\n", "\r", "\u200b"]
KINDS = {
    "words": "the cat sat on a mat and The Dog ran away from it",
    "points": ". , .. ., ,. 1.5 1,000 5. .5 5.. ..5 x.5 5.x 3-4 5- -5 a-b - -- ( ) $5 5% a'b 'a [x] {y} ~ ^ _ ` \\ / : ; ? ! @ # + * = < > | \" 1. 2, 7-. .-7",
    "entities": "&quot; &amp; &lt; &gt; &amp;lt; &amp;amp;gt; &amp;quot; & &#39; <skipped> <skip a&b x&lt;y;",
    "cjk": "北京 大学 的 学生 。 ， 東京 です。 カタカナ ｶﾀ 한국어 「引用」 ㈱ ⼀ 𠀀 ﾊﾟ １２３ ．５ Ａ！ 中a 1中 .中 中.5",
    "emoji": "👩‍👩‍👧 👍🏽 🇩🇪 ❤️ ☃ ✔ 1️⃣ © ™ € ₿ √ ≤ ° ½ ² Ⅷ ١٢ ۳ ٫ ॥ ፡ ¿ … – — « » ‘x’ “y”",
    "marks": "e\u0301 \u00e9 n\u0303 a\u0308\u0323 \u0301 क्षि ที่ नमस्ते İ ı ß ẞ Σ ΣΑΣ ος ﬁ Ǆ",
    "rtl": "שלום עולם مرحبا بالعالم ، ؟ \u200f \u202eabc ۱۲ ״א״ ـ",
}


def random_text(draw: random.Random, kinds: list, length: int) -> str:
    text = ""
    for _ in range(length):
        text += draw.choice(KINDS[draw.choice(kinds)].split(" "))
        if draw.random() < 0.85:
            text += " " if draw.random() < 0.8 else draw.choice(SPACES)
    return text


def changed(draw: random.Random, text: str, words: bool) -> str:
    """Some edits away: symbols dropped, repeated, moved in blocks."""
    parts = text.split(" ") if words else list(text)
    parts = [part for part in parts if draw.random() > 0.1]
    for _ in range(draw.randrange(4)):
        if not parts:
            break
        start, size, target = draw.randrange(len(parts)), draw.randrange(1, 6), draw.randrange(len(parts))
        block = parts[start : start + size]
        if draw.random() < 0.7:
            del parts[start : start + size]
        parts[target:target] = block
    if parts and draw.random() < 0.3:
        place = draw.randrange(len(parts))
        parts[place] = parts[place].upper()
    return (" " if words else "").join(parts)


def random_row(draw: random.Random, kinds: list, references: int) -> tuple:
    first = random_text(draw, kinds, draw.choice([0, 1, 2, 4, 8, 14]))
    others = []
    for _ in range(references - 1):
        is_near = draw.random() < 0.7
        others.append(changed(draw, first, True) if is_near else random_text(draw, kinds, draw.randrange(9)))
    chance = draw.random()
    if chance < 0.1:
        output = first
    elif chance < 0.2:
        output = random_text(draw, kinds, draw.randrange(10))
    elif chance < 0.25:
        output = ""
    else:
        output = changed(draw, draw.choice([first, *others]), draw.random() < 0.8)
    return [first, *others], output


def random_corpora() -> list:
    draw = random.Random(20)
    corpora = []
    for n in range(190):
        kinds = [[kind] for kind in KINDS] + [list(KINDS), ["words", "points"], ["words"]]
        kinds = kinds[n % len(kinds)]
        references = 1 + n // 10 % 3
        varying = n % 19 == 0
        rows = []
        for _ in range(draw.choice([1, 1, 2, 3, 6])):
            rows.append(random_row(draw, kinds, draw.randrange(1, 4) if varying else references))
        corpora.append(rows)
    return corpora


def long_corpora() -> list:
    """Repeats, moved blocks, and lengths that differ by far: the limits of TER's search."""
    draw = random.Random(7)
    few = [draw.choice("abc") for _ in range(80)]
    many = [str(n) for n in range(70)]
    return [
        [([" ".join(["a"] * 90)], " ".join(["a"] * 60))],
        [([" ".join(["a b"] * 40)], " ".join(["b a"] * 40))],
        [([" ".join(few)], " ".join(few[40:] + few[:40]))],
        [([" ".join(few)], " ".join(sorted(few)))],
        [([" ".join(many)], " ".join(many[60:] + many[:60]))],
        [([" ".join(many)], " ".join(reversed(many)))],
        [([" ".join(many)], "3 69")],
        [([" ".join(map(str, range(130)))], "129 5")],
        [(["7"], " ".join(many))],
        [(["ha" * 60 + "!" * 30], "ha" * 50 + "!" * 40), (["." * 50], "." * 49)],
    ]


def tied_corpora() -> list:
    """References that are equally near in percent, and not in the last bit of the share."""
    references, same = ["aMNOPQ", "aMNOPQRSTUVWXYb"], ["the cat sat"] * 2
    orders = [references, references[::-1]]
    return [[(order, "abcdefghijkl"), (same, "the cat sat")] for order in orders]


def real_corpora() -> list:
    """Outputs of models that have hardly begun to learn (english_ipa after 614 updates, dates after 150), as they wrote them."""
    with open(Path(__file__).with_name("outputs.csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    configs = dict.fromkeys(row["config"] for row in rows)
    return [[([row["reference"]], row["output"]) for row in rows if row["config"] == config] for config in configs]


def sacrebleu_scores(corpus: list) -> dict:
    return {name: sacrebleu_score(corpus, metric).score for name, metric in METRICS.items()}


def sacrebleu_score(corpus: list, metric):
    most = max(len(references) for references, _ in corpus)
    columns = [[references[n] if n < len(references) else None for references, _ in corpus] for n in range(most)]
    return metric.corpus_score([output for _, output in corpus], columns)


def bleu_in_words(corpus: list) -> str:
    """Precisions, brevity penalty and lengths."""
    shown = sacrebleu_score(corpus, METRICS["bleu"]).format(signature="version:none", is_json=True)
    return json.loads(shown)["verbose_score"]


def words(text: str) -> str:
    return " ".join(word for word in WHITE_SPACE.split(text) if word)


def words_counted(reference: str, output: str):
    return jiwer.process_words(words(reference), words(output), WORDS, WORDS)


def characters_counted(reference: str, output: str):
    return jiwer.process_characters(reference, output, CHARACTERS, CHARACTERS)


def error_rate(corpus: list, counted) -> float:
    errors = length = 0
    for references, output in corpus:
        rows = []
        for reference in references:
            found = counted(reference, output)
            wrong = found.substitutions + found.deletions + found.insertions
            rows.append((wrong, found.substitutions + found.deletions + found.hits))
        wrong, wanted = min(rows, key=lambda row: row[0] / max(row[1], 1))
        errors, length = errors + wrong, length + wanted
    return 100 * errors / max(length, 1)


def scored(corpus: list) -> dict:
    scores = sacrebleu_scores(corpus)
    scores["word_error_rate"] = error_rate(corpus, words_counted)
    scores["character_error_rate"] = error_rate(corpus, characters_counted)
    return {"rows": corpus, "scores": scores, "bleu": bleu_in_words(corpus)}


def signatures() -> dict:
    sacrebleu_scores([(["a"], "a")])
    return {name: str(metric.get_signature()) for name, metric in METRICS.items()}


def print_categories() -> None:
    """Where the ranges of both categories begin and where they are over."""
    for name, pattern in [("PUNCTUATION", r"\p{P}"), ("SYMBOLS", r"\p{S}")]:
        is_one, edges = regex.compile(pattern).match, []
        for point in range(0x110001):
            inside = point < 0x110000 and not 0xD800 <= point < 0xE000 and is_one(chr(point)) is not None
            if inside != (len(edges) % 2 == 1):
                edges.append(f"0x{point:X}")
        print(f"pub(super) const {name}: [u32; {len(edges)}] = [{', '.join(edges)}];")


def main() -> None:
    if sys.argv[1:] == ["--categories"]:
        return print_categories()
    corpora = [[row] for row in BY_HAND] + [BY_HAND] + long_corpora() + random_corpora()
    corpora += tied_corpora() + real_corpora()
    head = {"sacrebleu": sacrebleu.__version__, "jiwer": version("jiwer"), "signatures": signatures()}
    lines = ",\n".join(json.dumps(scored(corpus), ensure_ascii=True) for corpus in corpora)
    path = Path(__file__).with_name("metrics.json")
    path.write_text(f'{json.dumps(head)[:-1]}, "corpora": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
