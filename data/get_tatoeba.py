#!/usr/bin/env python3
"""Makes data/tatoeba_en_cmn: English sentences and their Chinese translations, of a file that you have downloaded.

Home: tatoeba.org, CC BY 2.0 FR. The file is `cmn-eng.zip` of www.manythings.org/anki, or the `cmn.txt` in it: on each
line an English sentence, a Chinese one, and who wrote them. The page changes its files as Tatoeba grows and keeps no
older ones, so this set alone has no checksum, and scores are comparable only between models of the same file.

About 1,000 pairs each become `test.csv` and `valid.csv`: those of the English sentences with the lowest SHA-256, so a
sentence rarely changes its split when the file grows. No sentence, English or Chinese, is in two splits. The column
`attribution` is what the licence asks to keep.
"""

import argparse
import sys
import zipfile
import zlib
from pathlib import Path

from fetching import sha256, text_lines
from pairs import HERE, DataError, run, write_set

FOLDER = "tatoeba_en_cmn"
HEADER = ["source", "target", "attribution"]
MEMBER = "cmn.txt"
PAGE = "https://www.manythings.org/anki/"
HELD_OUT = 1_000

Row = tuple[str, str, str]


def read_file(path: Path) -> list[Row]:
    """Reads the .zip or the text in it."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                content = archive.read(MEMBER)
        else:
            content = path.read_bytes()
        lines = text_lines(content)
    except (EOFError, KeyError, RuntimeError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: must be cmn-eng.zip or the {MEMBER} in it: {error}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        columns = line.rstrip("\r").split("\t")
        if len(columns) != len(HEADER) or not all(columns):
            wanted = "an English sentence, a Chinese one and an attribution, with tabs between them"
            raise DataError(f"{path}:{number}: must be {wanted}, but it is {line!r}")
        rows.append((columns[0], columns[1], columns[2]))
    return rows


def without(rows: list[Row], held_out: list[Row]) -> list[Row]:
    """The rows whose sentences, on either side, are not in those held out."""
    sources, targets = ({row[side] for row in held_out} for side in (0, 1))
    return [row for row in rows if row[0] not in sources and row[1] not in targets]


def split(rows: list[Row], size: int) -> dict[str, list[Row]]:
    """Cuts the rows into splits, of which test and valid have this many rows, or a few less: no sentence is in two."""
    if len(rows) < 3 * size:
        raise DataError(f"{3 * size} pairs are needed at least, but there are {len(rows)}")
    order = sorted(rows, key=lambda row: sha256(row[0].encode("utf-8")))
    test = order[:size]
    valid = without(order[size : 2 * size], test)
    return {"train": without(order[2 * size :], test + valid), "valid": valid, "test": test}


def main() -> None:
    """Reads the options, and makes the set unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help=f"cmn-eng.zip, or the {MEMBER} in it")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: %(default)s)")
    options = parser.parse_args()
    folder = options.out / FOLDER
    if options.file is not None:
        write_set(folder, split(read_file(options.file), HELD_OUT), HEADER)
    elif all((folder / f"{name}.csv").is_file() for name in ("train", "valid", "test")):
        print(f"{folder}: there already", file=sys.stderr)
    else:
        raise DataError(f"{folder}: not there; download cmn-eng.zip from {PAGE} and name it: data/get_tatoeba.py FILE")


if __name__ == "__main__":
    run(main)
