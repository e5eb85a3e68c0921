#!/usr/bin/env python3
"""Gets data/multi30k and data/multi30k_tokenized_lowercase: captions of photographs, English to German.

Home: github.com/multi30k/dataset, task 1. The first set is the raw text; the second is the home's own lower-cased,
normalised and tokenised text, which is what most published BLEU scores are measured on. The test part is that of 2016.
"""

import gzip

from fetching import Split, get, text_lines
from pairs import DataError, Pair, run

HOME = "multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1"
SPLITS = {"train": "train", "valid": "val", "test_2016": "test_2016_flickr"}


def read_text(contents: list[bytes]) -> list[Pair]:
    """Pairs line n of the English text with line n of the German one."""
    english, german = (text_lines(content) for content in contents)
    if len(english) != len(german):
        raise DataError(f"the texts must have the same number of lines, but they have {len(english)} and {len(german)}")
    return [(source.strip(), target.strip()) for source, target in zip(english, german, strict=True)]


def read_compressed(contents: list[bytes]) -> list[Pair]:
    """The same for texts that the home keeps as .gz."""
    return read_text([gzip.decompress(content) for content in contents])


def splits() -> list[Split]:
    """Every CSV file of the two sets."""
    raw = [
        Split(f"multi30k/{ours}.csv", (f"{HOME}/raw/{theirs}.en.gz", f"{HOME}/raw/{theirs}.de.gz"), read_compressed)
        for ours, theirs in SPLITS.items()
    ]
    tokenized = [
        Split(
            f"multi30k_tokenized_lowercase/{ours}.csv",
            (f"{HOME}/tok/{theirs}.lc.norm.tok.en", f"{HOME}/tok/{theirs}.lc.norm.tok.de"),
            read_text,
        )
        for ours, theirs in SPLITS.items()
    ]
    return raw + tokenized


if __name__ == "__main__":
    run(lambda: get(__doc__.splitlines()[0], splits()))
