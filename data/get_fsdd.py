#!/usr/bin/env python3
"""Gets data/fsdd: the Free Spoken Digit Dataset, English digits, 3,000 recordings of six speakers at 8 kHz.

Home: github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0. Each speaker has 50 takes of each digit. As at
home, takes 0 to 4 are for testing; takes 5 to 9 are valid, the others train. All of the speaker lucas is kept apart in
`test_lucas.csv`: nobody has trained on this voice.
"""

import re

from pairs import run
from recordings import Recordings, Row, get

DIGITS = "zero one two three four five six seven eight nine".split()
RECORDING = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")
UNSEEN_SPEAKER = "lucas"


def rename(paths: list[str]) -> dict[str, str]:
    """Recordings keep the names that they have at home."""
    return {path: path.rpartition("/")[2] for path in paths}


def split_of(speaker: str, take: int) -> str:
    """The split of a recording."""
    if speaker == UNSEEN_SPEAKER:
        return "test_lucas"
    return "test" if take < 5 else "valid" if take < 10 else "train"


def tables(names: list[str]) -> dict[str, list[Row]]:
    """The rows of each split, by digit, speaker and take."""
    splits: dict[str, list[Row]] = {"train": [], "valid": [], "test": [], "test_lucas": []}
    parts = [RECORDING.fullmatch(name).groups() for name in names]
    for digit, speaker, take in sorted(parts, key=lambda part: (part[0], part[1], int(part[2]))):
        row = (f"wav/{digit}_{speaker}_{take}.wav", DIGITS[int(digit)], speaker)
        splits[split_of(speaker, int(take))].append(row)
    return splits


FSDD = Recordings(
    folder="fsdd",
    home="Jakobovski/free-spoken-digit-dataset",
    commit="26eb9aaf76e81b692f806f9140c2d2777410d7a1",
    wanted=re.compile("recordings/" + RECORDING.pattern),
    rename=rename,
    tables=tables,
)

if __name__ == "__main__":
    run(lambda: get(__doc__.splitlines()[0], FSDD))
