"""data/fetching.py and the getters of texts: what homes serve becomes CSV files, or nothing at all."""

import contextlib
import csv
import functools
import http.server
import io
import shutil
import tempfile
import threading
import unittest
import zipfile
from pathlib import Path
from unittest import mock

import support  # noqa: F401 (it finds the scripts)
import fetching
import get_cmudict
import get_histnorm
import get_inflection
import get_scan
import get_sigmorphon
import get_tatoeba
from fetching import sha256
from pairs import DataError, run, to_csv

SCRIPTS = [get_cmudict, get_histnorm, get_inflection, get_scan, get_sigmorphon]


class Lists(unittest.TestCase):
    def test_every_file_that_is_fetched_or_made_has_a_checksum(self):
        for script in SCRIPTS:
            for split in script.splits():
                self.assertIn(split.path, fetching.checksums("public.sha256"))
                for file in split.files:
                    self.assertIn(file, fetching.checksums("homes.sha256"))


class CmuDict(unittest.TestCase):
    def table(self, *rows: str) -> list[bytes]:
        return ["\n".join(["ORTHO;PHON", *rows, ""]).encode()]

    def test_a_word_is_held_out_with_all_its_variants(self):
        table = self.table("A;AH", "A;EY", "BE;B IY", "OF;AH V", "A;AA")
        with mock.patch.object(get_cmudict, "VALID_WORDS", 1):
            (word,) = get_cmudict.held_out(get_cmudict.read_table(table))
            train, valid = get_cmudict.read_train(table), get_cmudict.read_valid(table)
        self.assertEqual(word, min(("A", "BE", "OF"), key=lambda word: sha256(word.encode())))
        self.assertEqual({word for word, _ in valid}, {word})
        self.assertEqual(sorted(train + valid), sorted(get_cmudict.read_table(table)))

    def test_a_row_for_a_word_has_all_its_variants_in_their_order(self):
        pairs = [("A", "AH"), ("BE", "B IY"), ("A", "EY")]
        self.assertEqual(get_cmudict.join_variants(pairs), [("A", "AH|EY"), ("BE", "B IY")])

    def test_a_table_of_another_form_is_refused_with_its_line(self):
        for rows, message in [(["A;AH;EY"], "line 2"), (["A;AH", "BE;"], "line 3"), (["A;AH|EY"], "line 2")]:
            with self.assertRaisesRegex(DataError, f"{message} must be a word, a semicolon and phones"):
                get_cmudict.read_table(self.table(*rows))
        with self.assertRaisesRegex(DataError, "line 1 must be 'ORTHO;PHON'"):
            get_cmudict.read_table([b"A;AH\n"])


class Scan(unittest.TestCase):
    def test_a_command_and_its_actions(self):
        pairs = get_scan.read_commands([b"IN: jump twice OUT: I_JUMP I_JUMP\nIN: run OUT: I_RUN\n"])
        self.assertEqual(pairs, [("jump twice", "I_JUMP I_JUMP"), ("run", "I_RUN")])

    def test_another_line_is_refused_with_its_number(self):
        with self.assertRaisesRegex(DataError, "line 2 must be `IN: `"):
            get_scan.read_commands([b"IN: run OUT: I_RUN\nIN: run\n"])


class HistNorm(unittest.TestCase):
    def read(self, text: str) -> list[tuple[str, str]]:
        return get_histnorm.read_words([text.encode()])

    def test_words_are_in_lower_case_and_composed(self):
        self.assertEqual(self.read("AN\tAn\nfu\u0308nfften\tfünften\n"), [("an", "an"), ("fünfften", "fünften")])

    def test_borders_words_without_a_spelling_and_punctuation_are_left_out(self):
        self.assertEqual(self.read("an\tan\n\n/\t,\n⸗\tvnd\nx\t\nvnd\tund\n"), [("an", "an"), ("vnd", "und")])

    def test_digits_are_zeros_where_both_sides_are_the_same(self):
        self.assertEqual(self.read("1566.\t1566.\n16.\t16\n"), [("0000.", "0000."), ("16.", "16")])

    def test_a_space_in_a_word_stays(self):
        self.assertEqual(self.read("dar zů\tdazu\n"), [("dar zů", "dazu")])


class Inflection(unittest.TestCase):
    def test_the_columns_are_lemma_tags_and_form(self):
        rows = get_inflection.read_table(["Abu Dabili\tN;ABL(PL)\tAbu Dabililerden\n".encode()])
        self.assertEqual(rows, [["Abu Dabili", "N;ABL(PL)", "Abu Dabililerden"]])
        with self.assertRaisesRegex(DataError, "line 1 must be a lemma, tags and a form"):
            get_inflection.read_table([b"a\tb\n"])


class Tatoeba(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        # Each English sentence has two translations, and the fifth of ten shares one with the sixth.
        lines = [f"e{n}\tz{5 if n % 10 == 6 and k == 0 else n}.{k}\tby {n}" for n in range(200) for k in (0, 1)]
        self.text = self.folder / "cmn.txt"
        self.text.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def make(self, *arguments: str) -> str:
        """Runs the script; returns what it prints."""
        printed = io.StringIO()
        command = ["get_tatoeba.py", "--out", str(self.folder), *arguments]
        with mock.patch("sys.argv", command), mock.patch.object(get_tatoeba, "HELD_OUT", 50):
            with contextlib.redirect_stderr(printed):
                get_tatoeba.main()
        return printed.getvalue()

    def rows(self, name: str) -> list[list[str]]:
        with open(self.folder / "tatoeba_en_cmn" / f"{name}.csv", encoding="utf-8", newline="") as file:
            return list(csv.reader(file))

    def test_no_sentence_is_in_two_splits(self):
        self.make(str(self.text))
        splits = {name: self.rows(name) for name in ("train", "valid", "test")}
        for side in (0, 1):
            sentences = [{row[side] for row in rows[1:]} for rows in splits.values()]
            self.assertEqual(sum(map(len, sentences)), len(set().union(*sentences)))
        self.assertEqual(len(splits["test"]), 51)
        self.assertTrue(40 < len(splits["valid"]) <= 51)
        self.assertEqual(splits["train"][0], ["source", "target", "attribution"])

    def test_the_zip_makes_the_same_set_as_its_text(self):
        self.make(str(self.text))
        before = self.rows("train")
        with zipfile.ZipFile(self.folder / "cmn-eng.zip", "w") as archive:
            archive.write(self.text, "cmn.txt")
        self.make(str(self.folder / "cmn-eng.zip"))
        self.assertEqual(self.rows("train"), before)

    def test_without_a_file_the_set_is_left_alone_or_an_error_says_where_to_get_it(self):
        with self.assertRaisesRegex(DataError, "download cmn-eng.zip from https://www.manythings.org/anki/"):
            self.make()
        self.make(str(self.text))
        self.assertIn("there already", self.make())

    def test_another_file_is_refused_with_its_line(self):
        for content, message in [
            (b"a\tb\n", r"cmn.txt:1: must be an English sentence"),
            (b"\xff", "must be cmn-eng.zip or the cmn.txt in it"),
            (b"a\tb\tc\n", "150 pairs are needed at least, but there are 1"),
        ]:
            self.text.write_bytes(content)
            with self.assertRaisesRegex(DataError, message):
                self.make(str(self.text))
        self.assertFalse((self.folder / "tatoeba_en_cmn").exists())


class Getting(unittest.TestCase):
    """A set of two files, from a server of this test's own."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        home = self.folder / "served" / "owner" / "home" / "1"
        home.mkdir(parents=True)
        self.files = {"a.txt": b"one", "b.txt": b"two"}
        for name, content in self.files.items():
            (home / name).write_bytes(content)
        paths = tuple(f"owner/home/1/{name}" for name in self.files)
        self.split = fetching.Split("made/train.csv", paths, lambda files: [[text.decode() for text in files]], ("x", "y"))
        self.table = to_csv([["one", "two"]], ("x", "y"))
        sums = map(sha256, self.files.values())
        self.sums = {**dict(zip(paths, sums)), self.split.path: sha256(self.table)}
        fetching.fetch.cache_clear()
        self.addCleanup(fetching.fetch.cache_clear)
        handler = functools.partial(Quiet, directory=str(self.folder / "served"))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def get(self, *arguments: str) -> str:
        """Runs the script; returns what it prints."""
        printed = io.StringIO()
        url = f"http://127.0.0.1:{self.server.server_port}"
        command = ["get.py", "--out", str(self.folder / "out"), "--base-url", url, *arguments]
        with mock.patch("sys.argv", command), mock.patch.object(fetching, "checksums", lambda _: self.sums):
            with contextlib.redirect_stderr(printed):
                fetching.get("purpose", [self.split])
        return printed.getvalue()

    def made(self) -> Path:
        return self.folder / "out" / "made" / "train.csv"

    def test_a_file_is_made_once_with_the_header_of_its_set(self):
        self.get()
        self.assertEqual(self.made().read_bytes(), self.table)
        self.assertIn("there already", self.get())

    def test_what_has_another_checksum_is_not_written(self):
        for path in (*self.split.files, self.split.path):
            with mock.patch.dict(self.sums, {path: "0" * 64}):
                with self.assertRaisesRegex(DataError, f"{path}: sha256 must be 0000"):
                    self.get()
            fetching.fetch.cache_clear()
            self.assertFalse(self.made().exists())

    def failure(self) -> str:
        """Runs the script to its error, which is a line; nothing is left of the folders."""
        printed = io.StringIO()
        with contextlib.redirect_stderr(printed), mock.patch("time.sleep"):
            with self.assertRaises(SystemExit) as ended:
                run(self.get)
        self.assertEqual(ended.exception.code, 1)
        self.assertFalse((self.folder / "out").exists())
        (line,) = printed.getvalue().splitlines()
        return line

    def test_an_error_says_what_and_where_and_what_to_do(self):
        place = f"http://127.0.0.1:{self.server.server_port}/owner/home/1/b.txt"
        begin, end = f"error: cannot get made/train.csv: {place}: ", f"; {fetching.REMEDY}"
        with mock.patch.dict(self.sums, {self.split.files[1]: "0" * 64}):
            self.assertRegex(self.failure(), f"^{begin}sha256 must be 0+, but it is .*, so this is another file{end}$")
        (self.folder / "served" / "owner" / "home" / "1" / "b.txt").unlink()
        self.assertRegex(self.failure(), f"^{begin}the server says 404 File not found{end}$")
        self.server.shutdown()
        self.server.server_close()
        fetching.fetch.cache_clear()
        begin = begin.replace("b.txt", "a.txt")
        self.assertRegex(self.failure(), f"^{begin}cannot be fetched: .*Connection refused{end}$")

    def test_a_folder_of_another_header_is_refused(self):
        other = self.folder / "other" / "made"
        other.mkdir(parents=True)
        (other / "train.csv").write_text("source,target\na,b\n")
        with self.assertRaisesRegex(DataError, "the header must be `x,y`"):
            self.get("--from", str(other.parent))
        (other / "train.csv").write_bytes(self.table)
        self.assertIn("1 rows from", self.get("--from", str(other.parent)))
        self.assertEqual(self.made().read_bytes(), self.table)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server that logs nothing."""

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    unittest.main()
