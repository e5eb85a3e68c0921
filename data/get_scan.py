#!/usr/bin/env python3
"""Gets data/scan/SPLIT: commands in simple English, and the actions that they ask for.

Home: github.com/brendenlake/SCAN (Lake and Baroni 2018). `jump twice` becomes `I_JUMP I_JUMP`. Three of its splits into
train and test: `simple` at random; `length`, where the actions of test are longer than all of train; `addprim_jump`,
where train has `jump` only alone. The home has no rows for validation.
"""

import re

from fetching import Split, get, text_lines
from pairs import DataError, Pair, run

HOME = "brendenlake/SCAN/c4b756cbc010d75c912f16c42c8f15dc6b7e6c8f"
FOLDERS = {"simple": "simple_split", "length": "length_split", "addprim_jump": "add_prim_split"}
ROW = re.compile("IN: (.+) OUT: (.+)")


def read_commands(contents: list[bytes]) -> list[Pair]:
    """Reads lines of `IN: `, a command, ` OUT: ` and its actions."""
    pairs = []
    for number, line in enumerate(text_lines(contents[0]), start=1):
        row = ROW.fullmatch(line)
        if row is None:
            raise DataError(f"line {number} must be `IN: `, a command, ` OUT: ` and actions, but it is {line!r}")
        pairs.append((row[1].strip(), row[2].strip()))
    return pairs


def splits() -> list[Split]:
    """Every CSV file of the three splits."""
    return [
        Split(f"scan/{name}/{part}.csv", (f"{HOME}/{folder}/tasks_{part}_{name}.txt",), read_commands)
        for name, folder in FOLDERS.items()
        for part in ("train", "test")
    ]


if __name__ == "__main__":
    run(lambda: get(__doc__.splitlines()[0], splits()))
