#!/usr/bin/env python3
"""Writes tests/golden/significance.json: p of two systems against a baseline, with sacrebleu.

    pip install sacrebleu==2.6.0
    python3 tests/golden/make_significance.py

The file has the texts, 100 rows, and p by the paired bootstrap and by approximate randomization, each with 10,000 draws:
then the last digits of p depend on the draws by some 0.005. tests/evaluate.rs compares seqloom's p with it, to 0.02.

Approximate randomization is sacrebleu's. It leaves out TER: many of its trials differ exactly as much as the systems,
which seqloom counts and sacrebleu does not. Of the bootstrap sacrebleu computes the scores of resamples, and p is computed
here: sacrebleu's own (`of_sacrebleu` in the file) counts about half of the draws, since it subtracts the mean of the
absolute differences, where the difference over all rows belongs.
"""

import json
import random
from pathlib import Path

import numpy
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest

WORDS = "the cat sat on a mat and one dog ran away from it while two birds sang in that old tree by our house".split()
DRAWS = 10_000


def noisy(draw: random.Random, words: list, share: float) -> str:
    """Each word is another one with this probability."""
    return " ".join(draw.choice(WORDS) if draw.random() < share else word for word in words)


def metrics_of(references: list, names: tuple) -> dict:
    classes = {"bleu": BLEU, "chrf": CHRF, "ter": TER}
    return {name: classes[name](references=[references]) for name in names}


def tested(outputs: list, references: list, test: str, names: tuple) -> list:
    """p of each system but the first, by metric, as sacrebleu computes it."""
    metrics = metrics_of(references, names)
    systems = [(str(number), texts) for number, texts in enumerate(outputs)]
    _, scores = PairedTest(systems, metrics, None, test_type=test, n_samples=DRAWS)()
    columns = zip(metrics, [name for name in scores if name != "System"])
    columns = [(name, scores[column]) for name, column in columns]
    return [{name: found[at].p_value for name, found in columns} for at in range(1, len(outputs))]


def bootstrapped(outputs: list, references: list, names: tuple) -> list:
    """The same by the paired bootstrap: sacrebleu's scores of resamples, recentred at the difference over all rows."""
    drawn = numpy.random.default_rng(12345).integers(len(references), size=(DRAWS, len(references)))
    found = [{} for _ in outputs[1:]]
    for name, metric in metrics_of(references, names).items():
        values, resampled = [], []
        for texts in outputs:
            statistics = numpy.array(metric._extract_corpus_statistics(texts, None), dtype="float64")
            values.append(metric._compute_score_from_stats(statistics.sum(0)).score)
            sums = [statistics[rows].sum(0) for rows in drawn]
            resampled.append(numpy.array([metric._compute_score_from_stats(one).score for one in sums]))
        for at in range(1, len(outputs)):
            difference = values[at] - values[0]
            draws = abs(resampled[at] - resampled[0] - difference)
            found[at - 1][name] = (int((draws >= abs(difference)).sum()) + 1) / (DRAWS + 1)
    return found


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
        "bootstrap": bootstrapped(outputs, references, ("bleu", "chrf", "ter")),
        "of_sacrebleu": tested(outputs, references, "bs", ("bleu", "chrf", "ter")),
        "randomization": tested(outputs, references, "ar", ("bleu", "chrf")),
    }
    path = Path(__file__).with_name("significance.json")
    path.write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main()
