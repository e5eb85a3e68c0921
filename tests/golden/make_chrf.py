#!/usr/bin/env python3
"""Writes tests/golden/chrf.json: chrF2 of small corpora as sacrebleu computes it.

    pip install sacrebleu==2.6.0
    python3 tests/golden/make_chrf.py

The file has the version and the signature. tests/metrics.rs compares seqloom's values with it, to 1e-9.
"""

import json
import random
from pathlib import Path

import sacrebleu
from sacrebleu.metrics import CHRF

BY_HAND = [
    ("The cat sat on the mat.", "The cat sat on a mat."),
    ("kitten", "sitting"),
    ("a", "a"),
    ("ab", "abcdefgh"),
    ("", "something"),
    ("something", ""),
    ("", ""),
    ("  spaces\there \u00a0 and\u3000there\x1c", "spaces here and there"),
    ("Größenmaßstäbe sind überflüssig", "Grössenmassstäbe sind flüssig"),
    ("北京大学的学生", "北大的学生们"),
    ("M C M X C I V", "M C M X C V I"),
    ("aaaaaaaa", "aaaa"),
    ("👩‍👩‍👧 e\u0301t\u00e9", "👩‍👧 \u00e9te\u0301"),
]


def random_pairs(seed: int, count: int) -> list:
    """References of few different symbols, and outputs that are some edits away."""
    draw = random.Random(seed)
    pairs = []
    for _ in range(count):
        reference = [draw.choice("abcde ") for _ in range(draw.randrange(30))]
        output = [symbol for symbol in reference if draw.random() > 0.1]
        for _ in range(draw.randrange(4)):
            output.insert(draw.randrange(len(output) + 1), draw.choice("abcdef "))
        pairs.append(("".join(reference), "".join(output)))
    return pairs


def main() -> None:
    chrf = CHRF()
    corpora = [[pair] for pair in BY_HAND] + [BY_HAND, random_pairs(1, 40), random_pairs(2, 5)]
    scores = []
    for pairs in corpora:
        score = chrf.corpus_score([output for _, output in pairs], [[reference for reference, _ in pairs]])
        scores.append({"pairs": pairs, "score": score.score})
    golden = {"sacrebleu": sacrebleu.__version__, "signature": str(chrf.get_signature()), "corpora": scores}
    lines = ",\n".join(json.dumps(corpus, ensure_ascii=True) for corpus in golden.pop("corpora"))
    head = json.dumps(golden)[:-1]
    Path(__file__).with_name("chrf.json").write_text(f'{head}, "corpora": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
