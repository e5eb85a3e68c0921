#!/usr/bin/env python3
"""Gets data/g2p2020/LANG and data/g2p2021/SIZE_LANG: words in their spelling, and their phones.

Homes: github.com/sigmorphon/2020 (task 1) and github.com/sigmorphon/2021-task1, the shared tasks of SIGMORPHON on
grapheme-to-phoneme conversion. The source is the word, the target its phones with spaces between them. The two years
share words of other languages' sets: do not train on one year and test on the other.
"""

from fetching import Split, get, text_lines
from pairs import DataError, Pair, run

HOME_2020 = "sigmorphon/2020/3d9bb3658b6a964ccd127e2a6781665262516bf6/task1/data"
HOME_2021 = "sigmorphon/2021-task1/821bcdece5a47820872215969f275004b0abe80c/data"
SPLITS = {"train": "train", "valid": "dev", "test": "test"}
LANGUAGES_2020 = "ady arm bul dut fre geo gre hin hun ice jpn kor lit rum vie".split()
LANGUAGES_2021 = {
    "high": "eng_us".split(),
    "medium": "arm_e bul dut fre geo hbs_latn hun jpn_hira kor vie_hanoi".split(),
    "low": "ady gre ice ita khm lav mlt_latn rum slv wel_sw".split(),
}


def read_table(contents: list[bytes]) -> list[Pair]:
    """Reads lines of a word, a tab and its phones."""
    pairs = []
    for number, line in enumerate(text_lines(contents[0]), start=1):
        columns = line.split("\t")
        if len(columns) != 2 or not all(columns):
            raise DataError(f"line {number} must be a word, a tab and phones, but it is {line!r}")
        pairs.append((columns[0], columns[1]))
    return pairs


def splits() -> list[Split]:
    """Every CSV file of both years."""
    year_2020 = [
        Split(f"g2p2020/{language}/{ours}.csv", (f"{HOME_2020}/{theirs}/{language}_{theirs}.tsv",), read_table)
        for language in LANGUAGES_2020
        for ours, theirs in SPLITS.items()
    ]
    year_2021 = [
        Split(f"g2p2021/{size}_{language}/{ours}.csv", (f"{HOME_2021}/{size}/{language}_{theirs}.tsv",), read_table)
        for size, languages in LANGUAGES_2021.items()
        for language in languages
        for ours, theirs in SPLITS.items()
    ]
    return year_2020 + year_2021


if __name__ == "__main__":
    run(lambda: get(__doc__.splitlines()[0], splits()))
