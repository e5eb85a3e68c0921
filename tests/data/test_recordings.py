"""data/recordings.py, get_fsdd.py, get_dspspeech.py: archives of homes become sets, or nothing at all."""

import contextlib
import functools
import http.server
import io
import shutil
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from support import archive, recording  # before the scripts: it finds them

import get_dspspeech
import get_fsdd
import recordings
from fetching import sha256
from pairs import DataError, to_csv

FSDD = get_fsdd.FSDD
FILES = {
    "README.md": b"",
    "recordings/0_george_4.wav": recording(1),
    "recordings/1_george_12.wav": recording(2),
    "recordings/1_george_9.wav": recording(3),
    "recordings/1_lucas_30.wav": recording(4),
    "utils/0_george_0.wav": recording(5),
}
NAMES = [path.partition("/")[2] for path in FILES if path.startswith("recordings")]


def known_sums() -> dict[str, str]:
    """What `public.sha256` would have if these files were the home's."""
    sums = {f"fsdd/{name}.csv": sha256(to_csv(rows, recordings.HEADER)) for name, rows in FSDD.tables(NAMES).items()}
    listing = "".join(f"{sha256(FILES[f'recordings/{name}'])}  wav/{name}\n" for name in sorted(NAMES))
    return {**sums, "fsdd/wav.sha256": sha256(listing.encode())}


class Tables(unittest.TestCase):
    def test_takes_0_to_4_are_test_5_to_9_valid_and_lucas_is_apart(self):
        splits = get_fsdd.tables(["2_theo_4.wav", "2_theo_5.wav", "2_theo_9.wav", "2_theo_10.wav", "2_lucas_10.wav"])
        takes = {name: [audio for audio, _, _ in rows] for name, rows in splits.items()}
        self.assertEqual(takes["test"], ["wav/2_theo_4.wav"])
        self.assertEqual(takes["valid"], ["wav/2_theo_5.wav", "wav/2_theo_9.wav"])
        self.assertEqual(takes["train"], ["wav/2_theo_10.wav"])
        self.assertEqual(splits["test_lucas"], [("wav/2_lucas_10.wav", "two", "lucas")])

    def test_takes_are_in_the_order_of_their_numbers(self):
        rows = get_fsdd.tables(["0_theo_11.wav", "0_theo_100.wav", "0_theo_12.wav"])["train"]
        self.assertEqual([audio for audio, _, _ in rows], [f"wav/0_theo_{take}.wav" for take in (11, 12, 100)])

    def test_speakers_get_numbers_and_english_words_are_left_out(self):
        paths = ["speech_data/20/20-11-01.wav", "speech_data/3/3-00-19.wav", "speech_data/20/20-12-01.wav"]
        wanted = [path for path in paths if get_dspspeech.DSPSPEECH.wanted.fullmatch(path)]
        self.assertEqual(wanted, paths[:2])
        self.assertEqual(list(get_dspspeech.rename(wanted).values()), ["s01_11_01.wav", "s02_00_19.wav"])

    def test_no_speaker_of_dspspeech_is_in_two_splits(self):
        names = [f"s{number:02}_06_01.wav" for number in range(1, 35)]
        splits = get_dspspeech.tables(names)
        speakers = {name: {speaker for _, _, speaker in rows} for name, rows in splits.items()}
        self.assertEqual({name: len(part) for name, part in speakers.items()}, {"train": 24, "valid": 4, "test": 6})
        self.assertEqual(len(set().union(*speakers.values())), 34)
        self.assertEqual(splits["test"][0], ("wav/s03_06_01.wav", "北京", "s03"))


class Getting(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        patched = mock.patch.object(recordings, "checksums", lambda _: known_sums())
        patched.start()
        self.addCleanup(patched.stop)

    def get(self, *arguments: str) -> str:
        """Runs the script; returns what it prints."""
        printed = io.StringIO()
        command = ["get_fsdd.py", "--out", str(self.folder), *arguments]
        with mock.patch("sys.argv", command), contextlib.redirect_stderr(printed):
            recordings.get("purpose", FSDD)
        return printed.getvalue()

    def archive(self, files: dict[str, bytes]) -> str:
        """The path of an archive with these files."""
        path = self.folder / "home.tar.gz"
        path.write_bytes(archive("home-commit", files))
        return str(path)

    def files(self) -> list[str]:
        """What is in the set's folder."""
        root = self.folder / "fsdd"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def test_a_set_has_recordings_a_list_and_tables_and_nothing_else(self):
        self.get("--archive", self.archive(FILES))
        tables = ["test.csv", "test_lucas.csv", "train.csv", "valid.csv", "wav.sha256"]
        self.assertEqual(self.files(), tables + [f"wav/{name}" for name in sorted(NAMES)])
        table = (self.folder / "fsdd" / "train.csv").read_text(encoding="utf-8")
        self.assertEqual(table, "source,target,speaker\nwav/1_george_12.wav,one,george\n")
        for name in NAMES:
            self.assertEqual((self.folder / "fsdd" / "wav" / name).read_bytes(), FILES[f"recordings/{name}"])

    def test_a_whole_set_is_left_alone_and_a_damaged_one_is_made_again(self):
        path = self.archive(FILES)
        self.get("--archive", path)
        self.assertIn("there already", self.get("--archive", path))
        damaged = self.folder / "fsdd" / "wav" / NAMES[0]
        damaged.write_bytes(b"")
        self.assertNotIn("there already", self.get("--archive", path))
        self.assertEqual(damaged.read_bytes(), FILES[f"recordings/{NAMES[0]}"])

    def test_other_recordings_are_refused_and_leave_nothing(self):
        path = self.archive({**FILES, "recordings/0_george_4.wav": recording(9)})
        message = f"cannot get fsdd from {path}: fsdd/wav.sha256: sha256 must be .*--base-url"
        with self.assertRaisesRegex(DataError, message):
            self.get("--archive", path)
        self.assertFalse((self.folder / "fsdd").exists())

    def test_a_broken_archive_is_refused_and_leaves_nothing(self):
        path = Path(self.archive(FILES))
        whole = path.read_bytes()
        for content in (whole[:200], whole[: len(whole) // 2], whole[:100] + b"else" + whole[104:], b"no archive"):
            path.write_bytes(content)
            with self.assertRaisesRegex(DataError, "cannot be read as a .tar.gz"):
                self.get("--archive", str(path))
            self.assertFalse((self.folder / "fsdd").exists())
        (self.folder / "fsdd").mkdir()
        with self.assertRaises(DataError):
            self.get("--archive", str(path))
        self.assertTrue((self.folder / "fsdd").exists(), "it was there before")

    def test_the_archive_comes_from_the_home_at_its_commit(self):
        served = self.folder / "served" / FSDD.home / "archive" / f"{FSDD.commit}.tar.gz"
        served.parent.mkdir(parents=True)
        served.write_bytes(archive("home-commit", FILES))
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(self.folder / "served"))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_port}"
            printed = self.get("--base-url", url)
            elsewhere = ["--base-url", f"{url}/elsewhere", "--out", str(self.folder / "other" / "deep")]
            message = f"cannot get fsdd from {url}/elsewhere/{FSDD.home}/archive/.*: the server says 404 .*--archive"
            with self.assertRaisesRegex(DataError, message):
                self.get(*elsewhere)
            server.shutdown()
        with self.assertRaisesRegex(DataError, "it cannot be fetched: .* refused; try again"):
            self.get(*elsewhere)
        self.assertFalse((self.folder / "other").exists())
        self.assertIn("4 recordings", printed)


if __name__ == "__main__":
    unittest.main()
