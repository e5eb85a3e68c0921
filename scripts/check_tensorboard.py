#!/usr/bin/env python3
"""Compares what TensorBoard reads of a run with the run's metrics.csv.

    python3 -m venv /tmp/tensorboard && /tmp/tensorboard/bin/pip install tensorboard
    /tmp/tensorboard/bin/python scripts/check_tensorboard.py runs/dates

TensorBoard's own reader opens RUN/tensorboard. It must have each number of metrics.csv, at its step and under its kind
and column (train/nll), and no other number. The metrics required of validations are the columns of metrics.csv. A curve
that only TensorBoard has, such as train/tokens_per_second, is counted. Prints a line for each curve; exits with 0 if all
agree, else with 1.
"""

import argparse
import csv
import struct
import sys
from pathlib import Path

# The required curves, beside those of the run's metrics. Other curves that both have are compared as well.
TRAINING = ("loss", "nll", "perplexity", "gradient_norm", "learning_rate")
VALIDATION = ("nll", "perplexity", "token_accuracy")


def required(columns):
    """The tags that must be there: `training.metrics` are the columns between `token_accuracy` and `unfinished`."""
    metrics = columns[columns.index("token_accuracy") + 1 : columns.index("unfinished")]
    valid = [*VALIDATION, *metrics]
    return {f"train/{name}" for name in TRAINING} | {f"valid/{name}" for name in valid}


def single(number):
    """A number rounded to f32."""
    try:
        return struct.unpack("f", struct.pack("f", number))[0]
    except OverflowError:
        return float("inf")


def equal(ours, theirs):
    # metrics.csv has seven digits of the learning rate, six decimals of the padding, and all digits of the rest.
    return ours == theirs or abs(ours - theirs) <= max(1e-6 * abs(ours), 6e-7)


def read_metrics(path):
    """{tag: {step: number}}, and the required tags"""
    with open(path, newline="") as file:
        rows = csv.DictReader(file)
        tags = required(rows.fieldnames)
        curves = {tag: {} for tag in tags}
        for row in rows:
            for column, cell in row.items():
                if column not in ("step", "kind") and cell:
                    curve = curves.setdefault(f"{row['kind']}/{column}", {})
                    curve[int(row["step"])] = single(float(cell))
    return curves, tags


def read_events(folder):
    """{tag: {step: number}}, the first steps of the run's sessions, tags with a step twice, and the number of files."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    accumulator = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
    accumulator.Reload()
    curves, twice = {}, []
    for tag in accumulator.Tags()["scalars"]:
        events = accumulator.Scalars(tag)
        curves[tag] = {event.step: event.value for event in events}
        if len(curves[tag]) < len(events):
            twice.append(tag)
    files = sorted(folder.glob("events.out.tfevents.*"))
    events = (event for path in files for event in LegacyEventFileLoader(str(path)).Load())
    return curves, {event.step for event in events if event.HasField("session_log")}, twice, len(files)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run's directory")
    run = parser.parse_args().run

    found, first_steps, twice, files = read_events(run / "tensorboard")
    metrics, tags = read_metrics(run / "metrics.csv")
    expected = {tag: curve for tag, curve in metrics.items() if tag in tags | found.keys()}
    print(f"{run}: {files} event files, sessions from steps {sorted(first_steps)}")
    good = not twice
    for tag in sorted(twice):
        print(f"{tag}: a step is duplicated")
    for tag in sorted(expected.keys() | found.keys()):
        if tag not in expected:
            print(f"{tag}: {len(found[tag])} numbers, only in TensorBoard")
            continue
        ours, theirs = expected[tag], found.get(tag, {})
        wrong = [step for step in ours if step not in theirs or not equal(ours[step], theirs[step])]
        # A run that ends is validated at its last step. If it is extended, this row is removed from metrics.csv.
        more = [step for step in theirs if step not in ours]
        ends = [step for step in more if tag.startswith("valid/") and step + 1 in first_steps]
        wrong += [step for step in more if step not in ends]
        verdict = f"DIFFERENT at steps {sorted(wrong)[:5]}" if wrong else "the same"
        note = f", and {len(ends)} of sessions that ended" if ends else ""
        print(f"{tag}: {len(ours)} numbers, {verdict}{note}")
        good = good and not wrong
    # Without any numbers the check fails.
    good = good and any(expected.values())
    print("all agree" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
