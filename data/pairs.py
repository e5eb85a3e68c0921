"""Pairs of sequences as CSV files, shared by all scripts in this folder.

A set is a folder with `train.csv`, `valid.csv` and `test.csv`: UTF-8, the header `source,target`, RFC 4180 quotes,
LF line ends. This module knows nothing about where pairs come from.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

HERE = Path(__file__).resolve().parent
HEADER = ["source", "target"]

Pair = tuple[str, str]
Item = TypeVar("Item")


class DataError(Exception):
    """An error for the user, as one line."""


def below(generator: random.Random, limit: int) -> int:
    """A whole number from 0 to `limit - 1`.

    Python promises the same numbers in every version for `random()` alone, not for `choice`, `sample` or `shuffle`,
    so everything random in this folder is made from it.
    """
    return int(generator.random() * limit)


def pick(generator: random.Random, items: list[Item]) -> Item:
    """One of the items, each as likely as the others."""
    return items[below(generator, len(items))]


def shuffled(generator: random.Random, items: Iterable[Item]) -> list[Item]:
    """The items in random order (Fisher and Yates)."""
    order = list(items)
    for last in range(len(order) - 1, 0, -1):
        other = below(generator, last + 1)
        order[last], order[other] = order[other], order[last]
    return order


def split_rows(rows: list[Item], sizes: dict[str, int]) -> dict[str, list[Item]]:
    """Cuts rows into consecutive parts of the given sizes; there must be enough of them."""
    if len(rows) < sum(sizes.values()):
        raise DataError(f"{sum(sizes.values())} rows are wanted, but there are {len(rows)}")
    splits, start = {}, 0
    for name, size in sizes.items():
        splits[name] = rows[start : start + size]
        start += size
    return splits


@contextlib.contextmanager
def folder_for(folder: Path) -> Iterator[None]:
    """Makes a folder, and those above it. If what is done in it fails, those that it leaves empty are gone again."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for one in made:
                one.rmdir()
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file completely or not at all."""
    with folder_for(path.parent):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            # mkstemp creates files that only the owner can read.
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def to_csv(rows: Iterable[Sequence[str]], header: Sequence[str] = HEADER) -> bytes:
    """The content of a CSV file with these rows, which are pairs unless there is another header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def read_rows(path: Path, header: Sequence[str] = HEADER) -> list[list[str]]:
    """Reads a CSV file and checks it: the header, as many fields in each row, none of them empty."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV in UTF-8: {error}") from error
    if not rows or rows[0] != list(header):
        raise DataError(f"{path}: the header must be `{','.join(header)}`, but it is {rows[:1]}")
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header) or not all(field.strip() for field in row):
            raise DataError(f"{path}: row {number} must have {', '.join(header)}, but it is {row}")
    return rows[1:]


def check_apart(splits: dict[str, list[Pair]]) -> None:
    """Checks that each source occurs only once in all splits."""
    home: dict[str, str] = {}
    for name, pairs in splits.items():
        for source, _ in pairs:
            if source in home:
                raise DataError(f"the source {source!r} of {name} is in {home[source]} already")
            home[source] = name


def write_set(
    folder: Path, splits: Mapping[str, Sequence[Sequence[str]]], header: Sequence[str] = HEADER
) -> None:
    """Writes one CSV file per split and says so on stderr."""
    for name, rows in splits.items():
        path = folder / f"{name}.csv"
        content = to_csv(rows, header)
        write_atomically(path, content)
        print(f"{path}: {len(rows)} rows, {len(content)} bytes", file=sys.stderr)


def maker_arguments(purpose: str, folder: str, sizes: dict[str, int]) -> argparse.ArgumentParser:
    """The options of every script that makes a set: output folder, seed, and rows per split."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--out", type=Path, default=HERE / folder, help="folder to write to (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of everything random (default: %(default)s)")
    for name, size in sizes.items():
        meaning = f"rows in {name}.csv (default: %(default)s)"
        parser.add_argument(f"--{name}", type=row_count, default=size, help=meaning)
    return parser


def row_count(text: str) -> int:
    """Reads an option that counts rows."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, but is {text!r}")
    return int(text)


def run(main: Callable[[], None]) -> None:
    """Runs a script; a DataError becomes one line on stderr and exit code 1."""
    try:
        main()
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
