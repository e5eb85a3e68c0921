#!/usr/bin/env python3
"""Writes tests/golden/significance.json: p of two systems against a baseline as sacrebleu's paired tests compute it.

    pip install sacrebleu==2.6.0
    python3 tests/golden/make_significance.py

The file has the texts, 100 rows, and p by the paired bootstrap and by approximate randomization, each with 10,000 draws:
then the last digits of p depend on the draws by some 0.005. tests/evaluate.rs compares seqloom's p with it, to 0.02.
Randomization leaves out TER: many of its trials differ exactly as much as the systems, which seqloom counts and
sacrebleu does not.
"""

import json
import random
from pathlib import Path

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest

WORDS = "the cat sat on a mat and one dog ran away from it while two birds sang in that old tree by our house".split()
DRAWS = 10_000


def noisy(draw: random.Random, words: list, share: float) -> str:
    """Each word is another one with this probability."""
    return " ".join(draw.choice(WORDS) if draw.random() < share else word for word in words)


def tested(outputs: list, references: list, test: str) -> list:
    """p of each system but the first, by metric."""
    metrics = {"bleu": BLEU(references=[references]), "chrf": CHRF(references=[references])}
    if test == "bs":
        metrics["ter"] = TER(references=[references])
    systems = [(str(number), texts) for number, texts in enumerate(outputs)]
    _, scores = PairedTest(systems, metrics, None, test_type=test, n_samples=DRAWS)()
    columns = zip(metrics, [name for name in scores if name != "System"])
    columns = [(name, scores[column]) for name, column in columns]
    return [{name: found[at].p_value for name, found in columns} for at in range(1, len(outputs))]


def main() -> None:
    draw = random.Random(4)
    rows = [[draw.choice(WORDS) for _ in range(draw.randrange(5, 16))] for _ in range(100)]
    references = [" ".join(words) for words in rows]
    outputs = [[noisy(draw, words, share) for words in rows] for share in (0.3, 0.28, 0.26)]
    found = {
        "sacrebleu": sacrebleu.__version__,
        "draws": DRAWS,
        "references": references,
        "outputs": outputs,
        "bootstrap": tested(outputs, references, "bs"),
        "randomization": tested(outputs, references, "ar"),
    }
    path = Path(__file__).with_name("significance.json")
    path.write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main()
