#!/usr/bin/env python3
"""Trains configs/sigmorphon_g2p.toml on every language of SIGMORPHON 2020 and prints the table of RESULTS.md.

    python3 data/get_sigmorphon.py            # once: the data
    python3 scripts/g2p_table.py --seeds 1 2 3 --jobs 2

Each run has one thread, with `--jobs` runs at a time. A complete run is not trained again, so the script may
be stopped and restarted. Metrics: word error rate (share of words with any wrong phone) and phone error rate on
the validation words, in %, mean and standard deviation over the seeds.
"""

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LANGUAGES = ["arm", "bul", "dut", "fre", "gre", "hin", "hun", "ice", "jpn"]
CONFIG = "configs/sigmorphon_g2p.toml"


def train_and_decode(args: argparse.Namespace, language: str, seed: int) -> dict:
    """Trains and decodes one language and seed; returns the summary."""
    folder = args.runs / f"{language}-{seed}"
    settings = {
        "name": f"g2p_{language}_{seed}",
        "seed": seed,
        "runtime.threads": 1,
        "data.train": args.data / language / "train.csv",
        "data.valid": args.data / language / "valid.csv",
    }
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    run([args.binary, "train", CONFIG, "--out", str(folder), "--resume", *overrides])
    summary = folder / f"{args.split}.json"
    run([args.binary, "decode", str(folder), "--input", str(args.data / language / f"{args.split}.csv"),
         "--output", str(folder / f"{args.split}.csv"), "--summary", str(summary)])
    return json.loads(summary.read_text(encoding="utf-8"))


def run(command: list[str]) -> None:
    """Runs a command; its messages are shown only if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")


def spread(values: list[float]) -> str:
    """Mean and standard deviation of shares, in %."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.2f} ± {100 * deviation:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/seqloom")
    parser.add_argument("--data", type=Path, default=Path("data/g2p2020"))
    parser.add_argument("--runs", type=Path, default=Path("runs/g2p"))
    parser.add_argument("--split", default="valid")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--languages", nargs="+", default=LANGUAGES)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    # Seed by seed, so that a script stopped early has results for every language.
    work = [(language, seed) for seed in args.seeds for language in args.languages]
    with ThreadPoolExecutor(args.jobs) as pool:
        found = list(pool.map(lambda job: train_and_decode(args, *job), work))
    print("| language | word error rate % | phone error rate % | each seed's word error rate |")
    print("|---|---|---|---|")
    for language in args.languages:
        rows = [summary for (name, _), summary in zip(work, found) if name == language]
        words = [1 - row["exact_match"] for row in rows]
        phones = [row["word_error_rate"] for row in rows]
        each = ", ".join(f"{100 * value:.2f}" for value in words)
        print(f"| {language} | {spread(words)} | {spread(phones)} | {each} |")
    words = [1 - row["exact_match"] for row in found]
    phones = [row["word_error_rate"] for row in found]
    print(f"| mean | {100 * statistics.mean(words):.2f} | {100 * statistics.mean(phones):.2f} | |")


if __name__ == "__main__":
    main()
