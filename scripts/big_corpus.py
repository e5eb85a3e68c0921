#!/usr/bin/env python3
"""Writes a large synthetic parallel corpus, and trains on it to measure time and memory.

    python3 scripts/big_corpus.py --pairs 20000000 --folder /tmp/big               the corpus alone, 2 GB
    python3 scripts/big_corpus.py --pairs 2000000 --folder /tmp/big --train        and two runs over it

A source has 3 to 13 words of invented syllables, whose frequencies follow Zipf's law. Its target has for each of them the
word of the same rank in another language, in reverse order. All of it follows from --seed.

With --train `seqloom train` runs twice with a BPE vocabulary of 8,000 on each side, for --steps updates of a small model: the
first run encodes the corpus into a folder, the second one finds it there. Of both the time until training starts, the largest
memory, and the time spent waiting for batches are shown. --baseline adds a run over the first 1,000 pairs, in memory: what
the model and the program take by themselves.

The folder is not removed. Linux, Python 3.8, nothing else.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from itertools import accumulate
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "seqloom"
WORDS = 200_000
AT_ONCE = 20_000
CONFIG = """name = "big"
[data]
train = { source = "train.en", target = "train.xx" }
valid = { source = "valid.en", target = "valid.xx" }
cache = "cache"
[data.source.bpe]
vocabulary = 8000
[data.target.bpe]
vocabulary = 8000
[model.transformer]
width = 128
heads = 4
feed_forward = 256
encoder_layers = 1
decoder_layers = 1
[training]
tokens_per_batch = 2048
log_every = 20
validate_every = 100000
checkpoint_every = 100000
decode_rows = 20
[training.adamw]
learning_rate = 1e-3
"""


def words_of(chance, onsets, vowels):
    """Different words of one to four syllables, short ones first."""
    found = dict()
    while len(found) < WORDS:
        syllables = 1 + sum(len(found) >= most for most in [100, 5_000, 60_000])
        found["".join(chance.choice(onsets) + chance.choice(vowels) for _ in range(syllables))] = None
    return list(found)


def write(folder, name, pairs, seed):
    """A corpus of this many pairs."""
    chance = random.Random(1)
    onsets = "b c d f g h j k l m n p r s t v w z ch sh th tr st pl br kr".split()
    source = words_of(chance, onsets, "a e i o u ai ea ou".split())
    target = words_of(chance, onsets, "ä e i ö ü ie ei au".split())
    weights = list(accumulate(1 / (rank + 2.7) for rank in range(WORDS)))
    chance, numbers = random.Random(seed), range(WORDS)
    with open(folder / f"{name}.en", "w") as sources, open(folder / f"{name}.xx", "w") as targets:
        for start in range(0, pairs, AT_ONCE):
            count = min(AT_ONCE, pairs - start)
            lengths = [chance.randint(3, 13) for _ in range(count)]
            drawn = chance.choices(numbers, cum_weights=weights, k=sum(lengths))
            at, lines, others = 0, [], []
            for length in lengths:
                ranks = drawn[at : at + length]
                at += length
                lines.append(" ".join([source[rank] for rank in ranks]) + "\n")
                others.append(" ".join([target[rank] for rank in reversed(ranks)]) + "\n")
            sources.writelines(lines)
            targets.writelines(others)


def train(folder, run, steps, *settings):
    """Runs a training; shows when it started, its largest memory, and its last line of the log with the pace."""
    command = [BINARY, "train", "big.toml", "--out", run, "--verbose", "--set", f"training.steps={steps}"]
    for setting in settings:
        command += ["--set", setting]
    begun, started, last = time.time(), None, ""
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        print(f"  {time.time() - begun:7.1f} s  {line}", end="", flush=True)
        if " parameters" in line and started is None:
            started = time.time() - begun
        last = line if "waiting" in line else last
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{run}: status {status}")
    print(f"{run}: training starts after {started:.1f} s, at most {usage.ru_maxrss / 1024:.0f} MiB, {usage.ru_utime:.0f} s of all cores")
    print(f"{run}: {last.strip()}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--baseline", action="store_true")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "train.xx").exists():
        write(folder, "train", options.pairs, options.seed)
        write(folder, "valid", 200, options.seed + 1)
    (folder / "big.toml").write_text(CONFIG)
    if options.baseline:
        for side in ["en", "xx"]:
            with open(folder / f"train.{side}") as whole, open(folder / f"small.{side}", "w") as part:
                part.writelines(line for line, _ in zip(whole, range(1000)))
        train(folder, "run-baseline", options.steps, 'data.train={ source = "small.en", target = "small.xx" }')
    if options.train:
        for run in ["run-first", "run-second"]:
            train(folder, run, options.steps, "data.in_memory_limit=0")


main()
