#!/usr/bin/env python3
"""Gets data/inflection2023/LANG: lemmas, the tags of a form, and the inflected form, in 27 languages and scripts.

Home: github.com/sigmorphon/2023InflectionST, part 1 of the SIGMORPHON-UniMorph shared task of 2023. The columns are
`lemma`, `tags` and `target`: `Abmachung`, `N;DAT(PL)` and `Abmachungen`. No lemma is in two splits.
"""

from fetching import Split, get, text_lines
from pairs import DataError, run

HOME = "sigmorphon/2023InflectionST/e7f1b325b76b41e9ead998e449b17ec1cf536a9c/part1/data"
SPLITS = {"train": "trn", "valid": "dev", "test": "tst"}
LANGUAGES = (
    "afb amh arz bel dan deu eng fin fra grc heb heb_unvoc hun hye ita jap kat klr mkd nav rus san sme spa sqi swa tur"
).split()
HEADER = ("lemma", "tags", "target")


def read_table(contents: list[bytes]) -> list[list[str]]:
    """Reads lines of a lemma, tags and a form, with tabs between them."""
    rows = []
    for number, line in enumerate(text_lines(contents[0]), start=1):
        columns = line.split("\t")
        if len(columns) != len(HEADER) or not all(columns):
            raise DataError(f"line {number} must be a lemma, tags and a form, but it is {line!r}")
        rows.append(columns)
    return rows


def splits() -> list[Split]:
    """Every CSV file of the set."""
    return [
        Split(f"inflection2023/{language}/{ours}.csv", (f"{HOME}/{language}.{theirs}",), read_table, HEADER)
        for language in LANGUAGES
        for ours, theirs in SPLITS.items()
    ]


if __name__ == "__main__":
    run(lambda: get(__doc__.splitlines()[0], splits()))
