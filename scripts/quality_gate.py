#!/usr/bin/env python3
"""Checks that a trained model is good enough, from the summary of `seqloom decode --summary FILE`.

    python3 scripts/quality_gate.py runs/gate/summary.json --at-least 0.99

Prints one line and exits with 0 if the exact match reaches the limit, else with 1.
"""

import argparse
import json
import sys
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("summary", type=Path, help="the JSON file that `seqloom decode --summary` wrote")
    parser.add_argument("--at-least", type=float, default=0.99, help="the least exact match, 0 to 1 (default: 0.99)")
    arguments = parser.parse_args()

    summary = json.loads(arguments.summary.read_text())
    # An empty test split would pass any limit on errors.
    share = summary.get("exact_match", 0.0)
    good = summary["rows"] > 0 and share >= arguments.at_least
    verdict = "" if good else ": FAILED"
    print(
        f"quality gate: exact match {100 * share:.1f} % "
        f"(at least {100 * arguments.at_least:g} %){verdict}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
