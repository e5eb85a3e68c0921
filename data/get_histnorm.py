#!/usr/bin/env python3
"""Gets data/histnorm: words of German texts from 1482 to 1652, and the same words in modern spelling.

Home: github.com/coastalcph/histnorm (Bollmann 2019), its set `german-ridges`: the words of running texts, in their
order, so frequent words are there often. They are prepared as the paper's were (the home's `preprocess.py --all`): in
NFC and lower case, without punctuation, and with 0 for each digit of what is the same on both sides. Only the spaces in
some words, which the paper writes as `÷`, stay spaces.
"""

import re
import unicodedata

from fetching import Split, get, text_lines
from pairs import Pair, run

HOME = "coastalcph/histnorm/0eac17927d3a3fa5cc4e2472d57f3acca41c6655/datasets/historical/german"
SPLITS = {"train": "train", "valid": "dev", "test": "test"}
DIGIT = re.compile("[0-9]")


def is_punctuation(text: str) -> bool:
    """Whether a text is nothing but punctuation."""
    return all(unicodedata.category(symbol).startswith("P") for symbol in text)


def prepare(text: str) -> str:
    """A text in NFC and lower case."""
    return unicodedata.normalize("NFC", text).lower()


def read_words(contents: list[bytes]) -> list[Pair]:
    """Reads lines of a word, a tab and its modern spelling. Empty lines end sentences; some words have no spelling."""
    pairs = []
    for line in text_lines(contents[0]):
        columns = line.rstrip().split("\t")
        if len(columns) < 2 or any(is_punctuation(column) for column in columns if column):
            continue
        source, target = (prepare(column) for column in columns)
        if source == target:
            source = target = DIGIT.sub("0", source)
        pairs.append((source, target))
    return pairs


def splits() -> list[Split]:
    """Every CSV file of the set."""
    return [
        Split(f"histnorm/{ours}.csv", (f"{HOME}/german-ridges.{theirs}.txt",), read_words)
        for ours, theirs in SPLITS.items()
    ]


if __name__ == "__main__":
    run(lambda: get(__doc__.splitlines()[0], splits()))
