"""Gets public data sets from their repositories: downloads, verifies, converts to pairs, writes.

Two lists beside this file say what must come out, in the form of sha256sum. `homes.sha256` has the files as their
homes serve them, named OWNER/REPOSITORY/COMMIT/PATH; `public.sha256` has the CSV files made of them, named as in this
folder. A CSV file that is there and has its checksum is left alone. What has another checksum is never written from
the network. This module knows nothing about the format of a home's files: each script brings its own reader.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import http.client
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pairs import HEADER, HERE, DataError, read_rows, to_csv, write_atomically

HOME_OF_HOMES = "https://raw.githubusercontent.com"
REMEDY = "try again later, name another server with --base-url, or a folder that has the CSV files with --from"
TRIES = 3
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Split:
    """A CSV file to create: its path in this folder, its source files, the reader of its rows, and their header."""

    path: str
    files: tuple[str, ...]
    read: Callable[[list[bytes]], Sequence[Sequence[str]]]
    header: Sequence[str] = tuple(HEADER)


def checksums(name: str) -> dict[str, str]:
    """A list in the form of sha256sum: from each file's name to its checksum."""
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return {path: checksum for checksum, path in (line.split("  ", 1) for line in lines)}


def sha256(content: bytes) -> str:
    """The checksum in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def text_lines(content: bytes) -> list[str]:
    """The lines of a UTF-8 text. Only LF ends a line, unlike in `str.splitlines`."""
    lines = content.decode("utf-8").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def reason(error: Exception) -> object:
    """Why an address cannot be fetched, without the name of the library that says so."""
    return getattr(error, "reason", error)


def download(url: str) -> bytes:
    """The content at this address, with retries."""
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            raise DataError(f"{url}: the server says {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            if attempt == TRIES:
                raise DataError(f"{url}: cannot be fetched: {reason(error)}") from error
            time.sleep(attempt)
        except ValueError as error:
            raise DataError(f"{url}: is no address that can be fetched: {error}") from error
    raise AssertionError("the last try returns or raises")


@functools.lru_cache(maxsize=2)
def fetch(base_url: str, name: str) -> bytes:
    """Downloads a file and verifies its checksum. The last two are kept: a file may make several splits."""
    url = f"{base_url.rstrip('/')}/{urllib.parse.quote(name)}"
    content = download(url)
    expected, found = checksums("homes.sha256")[name], sha256(content)
    if found != expected:
        raise DataError(f"{url}: sha256 must be {expected}, but it is {found}, so this is another file")
    print(f"  {name}: {len(content)} bytes", file=sys.stderr)
    return content


def is_whole(path: Path, name: str) -> bool:
    """Whether the CSV file exists with the right checksum."""
    return path.is_file() and sha256(path.read_bytes()) == checksums("public.sha256")[name]


def get_from_home(split: Split, path: Path, base_url: str) -> None:
    """Downloads the source files of a CSV file and creates it."""
    print(f"{path}: from {base_url}", file=sys.stderr)
    try:
        contents = [fetch(base_url, name) for name in split.files]
    except DataError as error:
        raise DataError(f"cannot get {split.path}: {error}; {REMEDY}") from error
    content = to_csv(split.read(contents), split.header)
    expected, found = checksums("public.sha256")[split.path], sha256(content)
    if found != expected:
        what = f"cannot make {split.path}: sha256 must be {expected}, but it is {found}"
        raise DataError(f"{what}; has a script in {HERE} changed? Take the one of the release")
    write_atomically(path, content)


def copy_from_folder(split: Split, path: Path, folder: Path) -> bool:
    """Copies an existing CSV file if its rows are valid; returns whether it exists."""
    origin = folder / split.path
    if not origin.is_file():
        print(f"{origin}: not there, skipped", file=sys.stderr)
        return False
    rows = read_rows(origin, split.header)
    if not rows:
        raise DataError(f"{origin}: there must be rows, but there is only a header")
    write_atomically(path, to_csv(rows, split.header))
    kind = "the same as from its home" if is_whole(path, split.path) else "NOT the same as from its home"
    print(f"{path}: {len(rows)} rows from {folder}, {kind}", file=sys.stderr)
    return True


def choose(splits: list[Split], wanted: list[str]) -> list[Split]:
    """The splits under the wanted folders; all of them when none is named."""
    for name in wanted:
        if not any(split.path.startswith(f"{name}/") for split in splits):
            folders = sorted({split.path.rsplit("/", 1)[0] for split in splits})
            raise DataError(f"{name!r} is no set that this script gets; there are {', '.join(folders)}")
    return [split for split in splits if not wanted or any(split.path.startswith(f"{name}/") for name in wanted)]


def get(purpose: str, splits: list[Split]) -> None:
    """The main program of a script that gets public sets: reads its options, then gets the missing files."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("sets", nargs="*", metavar="SET", help="folder to get, as named below data/ (default: all)")
    parser.add_argument("--from", dest="folder", type=Path, help="take CSV files from here, not from the network")
    parser.add_argument("--base-url", default=HOME_OF_HOMES, help="where the homes are served (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: %(default)s)")
    options = parser.parse_args()
    there = 0
    for split in choose(splits, [name.strip("/") for name in options.sets]):
        path = options.out / split.path
        if is_whole(path, split.path):
            print(f"{path}: there already", file=sys.stderr)
            there += 1
        elif options.folder is None:
            get_from_home(split, path, options.base_url)
            there += 1
        else:
            there += copy_from_folder(split, path, options.folder)
    if there == 0:
        raise DataError(f"{options.folder}: none of the files is there")
