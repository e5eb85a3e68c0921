#!/usr/bin/env python3
"""Makes data/digit_strings: three to seven spoken digits in a row, joined from the single takes of data/fsdd.

All digits of a string are by one speaker, with random silences around them and low noise over all. A split has only
takes of the same split of fsdd, so no take is heard in two of them; `test_lucas` is by a speaker whom no other split
has. The recordings stay under the terms of fsdd, CC BY-SA 4.0.
"""

from __future__ import annotations

import csv
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from pairs import HERE, DataError, below, maker_arguments, pick, run, write_atomically, write_set
from recordings import HEADER
from sound import Sound, between, read_wav, silence, to_wav, white_noise, with_noise

SIZES = {"train": 3_000, "valid": 250, "test": 250, "test_lucas": 250}
RATE = 8_000
SHORTEST, LONGEST = 3, 7
PROGRESS_EVERY = 500


@dataclass(frozen=True)
class Take:
    """One digit as it was recorded."""

    path: Path
    digit: str


def read_takes(path: Path) -> dict[str, list[Take]]:
    """The takes of each speaker in a table of fsdd."""
    if not path.is_file():
        raise DataError(f"{path}: not there; get it with data/get_fsdd.py")
    takes: dict[str, list[Take]] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            takes.setdefault(row["speaker"], []).append(Take(path.parent / row["source"], row["target"]))
    return takes


def read_take(take: Take) -> Sound:
    """The samples of a take, which must have the rate of all."""
    with open(take.path, "rb") as file:
        sound, rate = read_wav(file, str(take.path))
    if rate != RATE:
        raise DataError(f"{take.path}: must have {RATE} samples per second, but has {rate}")
    return sound


def join(generator: random.Random, sounds: list[Sound], noise: Sound) -> Sound:
    """The takes with silences of 50 to 300 ms around them, and noise 20 to 40 dB below them."""
    joined = silence(between(generator, 0.05, 0.3), RATE)
    for sound in sounds:
        joined += sound + silence(between(generator, 0.05, 0.3), RATE)
    return with_noise(generator, joined, noise, between(generator, 20, 40))


def make_recording(generator: random.Random, takes: dict[str, list[Take]], noise: Sound) -> tuple[bytes, str, str]:
    """Draws a string; returns its WAV, its words and its speaker."""
    speaker = pick(generator, sorted(takes))
    digits = [pick(generator, takes[speaker]) for _ in range(SHORTEST + below(generator, LONGEST - SHORTEST + 1))]
    sound = join(generator, [read_take(take) for take in digits], noise)
    return to_wav(sound, RATE), " ".join(take.digit for take in digits), speaker


def make_split(seed: str, folder: Path, name: str, takes: dict[str, list[Take]], count: int) -> list[list[str]]:
    """Makes the recordings of a split; returns its rows."""
    generator = random.Random(seed)
    noise = white_noise(generator, 5 * RATE)
    rows = []
    for number in range(count):
        content, text, speaker = make_recording(generator, takes, noise)
        audio = f"wav/{name}_{number:04}.wav"
        write_atomically(folder / audio, content)
        rows.append([audio, text, speaker])
        if len(rows) % PROGRESS_EVERY == 0:
            print(f"{name}: {len(rows)} of {count} recordings", file=sys.stderr)
    return rows


def main() -> None:
    """Joins takes to strings, split by split, and writes the tables."""
    parser = maker_arguments(__doc__.splitlines()[0], "digit_strings", SIZES)
    parser.add_argument("--fsdd", type=Path, default=HERE / "fsdd", help="folder of fsdd (default: %(default)s)")
    options = parser.parse_args()
    takes = {name: read_takes(options.fsdd / f"{name}.csv") for name in SIZES}
    rows = {
        name: make_split(f"{options.seed} {name}", options.out, name, takes[name], getattr(options, name))
        for name in SIZES
    }
    write_set(options.out, rows, HEADER)


if __name__ == "__main__":
    run(main)
