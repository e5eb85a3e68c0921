#!/usr/bin/env python3
"""Gets data/cmudict: English words and their phones in ARPAbet, 106,837 words to learn from and 12,000 to test.

Home: github.com/OlivierDehaene/GPA4.0, which has the CMU Pronouncing Dictionary in the split that papers on
grapheme-to-phoneme conversion use. A word may have several pronunciations. In `train.csv` and `valid.csv` each is a
row; in `valid_multiref.csv` and `test.csv` a word is a row, with `|` between its pronunciations, any of which is right.

The home has no words for validation. Papers hold out 2,670 training words, without saying which; here they are those
with the lowest SHA-256.
"""

from fetching import Split, get, sha256, text_lines
from pairs import DataError, Pair, run

HOME = "OlivierDehaene/GPA4.0/11e39f3e43c08081b70cdf67bef8894bf75b5afb/data_old/cmudict"
TRAIN, TEST = f"{HOME}/train_dataset.csv", f"{HOME}/test_dataset.csv"
HEADER = "ORTHO;PHON"
VALID_WORDS = 2_670
BETWEEN_VARIANTS = "|"


def read_table(contents: list[bytes]) -> list[Pair]:
    """Reads a header and lines of a word, a semicolon and its phones."""
    lines = text_lines(contents[0])
    if lines[:1] != [HEADER]:
        raise DataError(f"line 1 must be {HEADER!r}, but it is {lines[:1]}")
    pairs = []
    for number, line in enumerate(lines[1:], start=2):
        columns = line.split(";")
        if len(columns) != 2 or not all(columns) or BETWEEN_VARIANTS in line:
            raise DataError(f"line {number} must be a word, a semicolon and phones, but it is {line!r}")
        pairs.append((columns[0], columns[1]))
    return pairs


def held_out(pairs: list[Pair]) -> set[str]:
    """The words that validate."""
    words = {word for word, _ in pairs}
    return set(sorted(words, key=lambda word: sha256(word.encode("utf-8")))[:VALID_WORDS])


def join_variants(pairs: list[Pair]) -> list[Pair]:
    """One row for each word, with all its pronunciations."""
    variants: dict[str, list[str]] = {}
    for word, phones in pairs:
        variants.setdefault(word, []).append(phones)
    return [(word, BETWEEN_VARIANTS.join(all_phones)) for word, all_phones in variants.items()]


def read_train(contents: list[bytes]) -> list[Pair]:
    """The rows of the words that are not held out."""
    pairs = read_table(contents)
    valid = held_out(pairs)
    return [pair for pair in pairs if pair[0] not in valid]


def read_valid(contents: list[bytes]) -> list[Pair]:
    """The rows of the words that are held out."""
    pairs = read_table(contents)
    valid = held_out(pairs)
    return [pair for pair in pairs if pair[0] in valid]


def splits() -> list[Split]:
    """Every CSV file of the set."""
    return [
        Split("cmudict/train.csv", (TRAIN,), read_train),
        Split("cmudict/valid.csv", (TRAIN,), read_valid),
        Split("cmudict/valid_multiref.csv", (TRAIN,), lambda contents: join_variants(read_valid(contents))),
        Split("cmudict/test.csv", (TEST,), lambda contents: join_variants(read_table(contents))),
    ]


if __name__ == "__main__":
    run(lambda: get(__doc__.splitlines()[0], splits()))
