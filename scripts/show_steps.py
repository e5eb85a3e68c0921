#!/usr/bin/env python3
"""Prints a trace of `seqloom decode --trace` step by step: each token with its probability, <eos> last.

    python3 scripts/show_steps.py runs/mandarin_speech/steps.jsonl --source xue2xi2

docs/trace.md describes the trace. Probabilities are those of the decoder for every `decoding.method`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path


def positive(text: str) -> int:
    """A number from 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but it is {number}")
    return number


def read(path: Path) -> Iterator[dict]:
    """The objects of a file of JSON Lines."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict) or "steps" not in row:
                raise ValueError(f"{path}:{number}: a line must be an object of a trace, but it is not")
            yield row


def per_cent(log_probability: float) -> str:
    """A log-probability as a percentage."""
    return f"{100 * math.exp(log_probability):.1f} %"


def lines(row: dict, top: int) -> Iterator[str]:
    """A row of the trace: its source, a line for each step, its output."""
    yield f"{row['source']}"
    if "error" in row:
        yield f"  skipped: {row['error']}"
        return
    for number, step in enumerate(row["steps"], start=1):
        others = [other for other in step["top"] if other["id"] != step["id"]][: top - 1]
        rest = "".join(f"   {other['token']} {per_cent(other['log_probability'])}" for other in others)
        yield f"  {number}. {step['token']} {per_cent(step['log_probability'])}{rest and '   not' + rest}"
    end = "" if row["finished"] else " (unfinished)"
    yield f"  {row['output']}{end}"


def main() -> int:
    """Prints the selected rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace", type=Path, help="the file that `seqloom decode --trace` wrote")
    parser.add_argument("--source", default="", metavar="TEXT", help="only rows whose source contains this text")
    parser.add_argument("--top", type=positive, default=3, help="tokens to show for each step (default: %(default)s)")
    options = parser.parse_args()
    try:
        rows = [row for row in read(options.trace) if options.source in (row["source"] or "")]
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not rows:
        print(f"error: no source of {options.trace} contains `{options.source}`", file=sys.stderr)
        return 2
    for row in rows:
        print("\n".join(lines(row, options.top)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
