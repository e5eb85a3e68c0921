"""Getting recordings that a home keeps by the thousand: one archive, unpacked as it comes, checked, put into tables.

A set's folder gets `wav/`, the tables, and `wav.sha256`, a list of the recordings in the form of sha256sum. The
checksums of the tables and of this list are in `public.sha256`. A set that is there and whole is left alone; what has
another checksum is never kept. This module knows nothing about the names of a home's files: each script brings its own
reader.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import re
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fetching import TIMEOUT_SECONDS, TRIES, checksums, reason, sha256
from pairs import HERE, DataError, folder_for, to_csv, write_atomically

HOME_OF_ARCHIVES = "https://github.com"
REMEDY = "try again later, name another server with --base-url, or the home's archive of this commit with --archive"
HEADER = ["source", "target", "speaker"]
LIST = "wav.sha256"
PROGRESS_EVERY = 1_000

Row = tuple[str, str, str]


@dataclass(frozen=True)
class Recordings:
    """A set of recordings: its folder here, OWNER/REPOSITORY and the commit at home, and its readers.

    `wanted` matches the paths in the repository of the files to take. `rename` gives each of these paths its name in
    `wav/`. `tables` makes the rows of each split from all these names.
    """

    folder: str
    home: str
    commit: str
    wanted: re.Pattern[str]
    rename: Callable[[list[str]], dict[str, str]]
    tables: Callable[[list[str]], dict[str, list[Row]]]


def unpack(recordings: Recordings, stream: IO[bytes], folder: Path) -> bytes:
    """Writes the archive's recordings into the folder; returns their list in the form of sha256sum."""
    sums = {}
    # tarfile's own reader of .gz takes the end of a broken one for the end of the archive.
    with gzip.open(stream) as plain, tarfile.open(fileobj=plain, mode="r|") as archive:
        for member in archive:
            # An archive has all its files in a folder that is named after the commit.
            path = member.name.partition("/")[2]
            if not member.isfile() or not recordings.wanted.fullmatch(path):
                continue
            content = archive.extractfile(member).read()
            # The names that they get may depend on all of them.
            (folder / str(len(sums))).write_bytes(content)
            sums[path] = sha256(content)
            if len(sums) % PROGRESS_EVERY == 0:
                print(f"  {len(sums)} recordings", file=sys.stderr)
    names = recordings.rename(list(sums))
    for number, path in enumerate(sums):
        (folder / str(number)).rename(folder / names[path])
    return "".join(f"{sums[path]}  wav/{names[path]}\n" for path in sorted(sums, key=names.get)).encode("utf-8")


def address(recordings: Recordings, base_url: str) -> str:
    """Where the home serves the archive of the commit."""
    return f"{base_url.rstrip('/')}/{recordings.home}/archive/{recordings.commit}.tar.gz"


def download(url: str, recordings: Recordings, folder: Path) -> bytes:
    """Gets the archive from its home and unpacks it as it comes; a connection that breaks is tried again."""
    for attempt in range(1, TRIES + 1):
        print(f"{url}: attempt {attempt} of {TRIES}", file=sys.stderr)
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
                return unpack(recordings, answer, folder)
        except urllib.error.HTTPError as error:
            raise DataError(f"the server says {error.code} {error.reason}") from error
        except (OSError, EOFError, http.client.HTTPException, tarfile.TarError, zlib.error) as error:
            if attempt == TRIES:
                raise DataError(f"it cannot be fetched: {reason(error)}") from error
        except ValueError as error:
            raise DataError(f"this is no address that can be fetched: {error}") from error
    raise AssertionError("the last try returns or raises")


def read_archive(path: Path, recordings: Recordings, folder: Path) -> bytes:
    """Unpacks an archive that somebody has already."""
    try:
        with open(path, "rb") as stream:
            return unpack(recordings, stream, folder)
    except (EOFError, gzip.BadGzipFile, tarfile.TarError, zlib.error) as error:
        raise DataError(f"it cannot be read as a .tar.gz: {error}") from error


def check(recordings: Recordings, name: str, content: bytes) -> None:
    """Checks a file of the set against its checksum in `public.sha256`."""
    path = f"{recordings.folder}/{name}"
    expected, found = checksums("public.sha256")[path], sha256(content)
    if found != expected:
        raise DataError(f"{path}: sha256 must be {expected}, but it is {found}")


def is_whole(recordings: Recordings, folder: Path) -> bool:
    """Whether the tables, the list and each recording of the list are there with the content that they must have."""
    try:
        content = (folder / LIST).read_bytes()
        check(recordings, LIST, content)
        sums = dict(reversed(line.split("  ", 1)) for line in content.decode("utf-8").splitlines())
        for table in recordings.tables([path.removeprefix("wav/") for path in sums]):
            check(recordings, f"{table}.csv", (folder / f"{table}.csv").read_bytes())
        return all(sha256((folder / path).read_bytes()) == found for path, found in sums.items())
    except (OSError, DataError):
        return False


def put(recordings: Recordings, folder: Path, unpacked: Path, listing: bytes) -> None:
    """Checks what was unpacked and makes it the set: recordings, list, tables."""
    names = [line.split("  wav/", 1)[1] for line in listing.decode("utf-8").splitlines()]
    check(recordings, LIST, listing)
    tables = {f"{name}.csv": to_csv(rows, HEADER) for name, rows in recordings.tables(names).items()}
    for name, content in tables.items():
        check(recordings, name, content)
    shutil.rmtree(folder / "wav", ignore_errors=True)
    unpacked.chmod(0o755)
    unpacked.rename(folder / "wav")
    for name, content in {**tables, LIST: listing}.items():
        write_atomically(folder / name, content)
    print(f"{folder}: {len(names)} recordings", file=sys.stderr)


def get(purpose: str, recordings: Recordings) -> None:
    """The whole of a script that gets recordings: reads its options, then gets what is not there yet."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--archive", type=Path, help="take the home's .tar.gz of the commit here, not from the network")
    parser.add_argument("--base-url", default=HOME_OF_ARCHIVES, help="where the home is served (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: %(default)s)")
    options = parser.parse_args()
    folder = options.out / recordings.folder
    if is_whole(recordings, folder):
        print(f"{folder}: there already", file=sys.stderr)
        return
    origin = options.archive or address(recordings, options.base_url)
    try:
        with folder_for(folder):
            fill(recordings, folder, origin)
    except DataError as error:
        raise DataError(f"cannot get {recordings.folder} from {origin}: {error}; {REMEDY}") from error


def fill(recordings: Recordings, folder: Path, origin: Path | str) -> None:
    """Makes the set in its folder, of an archive here or at an address."""
    unpacked = Path(tempfile.mkdtemp(dir=folder, prefix=".wav."))
    try:
        read = read_archive if isinstance(origin, Path) else download
        put(recordings, folder, unpacked, read(origin, recordings, unpacked))
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
