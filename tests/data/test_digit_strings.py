"""data/make_digit_strings.py: strings of the takes of one speaker and one split."""

import csv
import contextlib
import io
import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from support import recording  # before the scripts: it finds them

import make_digit_strings as script
from pairs import DataError, to_csv
from sound import read_wav

DIGITS = ["zero", "one", "two"]
# Each take is a constant, which identifies the take of each part of a string.
LEVELS = {"train": 1_000, "valid": 4_000, "test": 7_000, "test_lucas": 10_000}


class DigitStrings(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        fsdd = self.folder / "fsdd"
        (fsdd / "wav").mkdir(parents=True)
        for split, level in LEVELS.items():
            rows = []
            for number, digit in enumerate(DIGITS):
                for speaker, sign in (("a", 1), ("b", -1)):
                    audio = f"wav/{split}_{digit}_{speaker}.wav"
                    (fsdd / audio).write_bytes(recording(sign * (level + 500 * number), 400))
                    rows.append([audio, digit, speaker])
            (fsdd / f"{split}.csv").write_bytes(to_csv(rows, script.HEADER))

    def make(self, *arguments: str) -> list[dict[str, str]]:
        """Runs the script; returns the rows of train and of test_lucas."""
        out = self.folder / "out"
        sizes = ["--train", "12", "--valid", "1", "--test", "1", "--test_lucas", "12"]
        command = ["make_digit_strings.py", "--out", str(out), "--fsdd", str(self.folder / "fsdd"), *sizes, *arguments]
        with mock.patch("sys.argv", command), contextlib.redirect_stderr(io.StringIO()):
            script.main()
        rows = []
        for name in ("train", "test_lucas"):
            with open(out / f"{name}.csv", encoding="utf-8", newline="") as file:
                rows += [{**row, "split": name} for row in csv.DictReader(file)]
        return rows

    def spoken(self, row: dict[str, str]) -> list[str]:
        """The digits whose takes are in a recording, by the levels of its loud stretches."""
        with open(self.folder / "out" / row["source"], "rb") as file:
            sound, _ = read_wav(file, row["source"])
        sign = 1 if row["speaker"] == "a" else -1
        digits, loud = [], []
        for sample in [*sound, 0.0]:
            if abs(sample) > 800:
                loud.append(sign * sample)
            elif loud:
                level = (sum(loud) / len(loud) - LEVELS[row["split"]]) / 500
                digits.append(DIGITS[round(level)] if abs(level - round(level)) < 0.2 else "unknown")
                loud = []
        return digits

    def test_a_string_has_the_takes_of_its_text_by_one_speaker_of_its_split(self):
        rows = self.make()
        self.assertEqual(len(rows), 24)
        with mock.patch.object(script, "with_noise", lambda _generator, sound, _noise, _ratio: sound):
            for row in self.make():
                self.assertEqual(self.spoken(row), row["target"].split())

    def test_a_string_has_three_to_seven_digits(self):
        lengths = {len(row["target"].split()) for row in self.make()}
        self.assertTrue(lengths <= set(range(3, 8)) and len(lengths) > 2, lengths)

    def test_the_same_seed_makes_the_same_strings_and_another_seed_others(self):
        first = self.make()
        content = [(self.folder / "out" / row["source"]).read_bytes() for row in first]
        self.assertEqual(self.make(), first)
        self.assertEqual([(self.folder / "out" / row["source"]).read_bytes() for row in first], content)
        self.assertNotEqual(self.make("--seed", "2"), first)

    def test_without_fsdd_an_error_tells_how_to_get_it(self):
        with self.assertRaisesRegex(DataError, "train.csv: not there; get it with data/get_fsdd.py"):
            self.make("--fsdd", str(self.folder / "nowhere"))

    def test_a_take_of_another_rate_is_refused(self):
        take = script.Take(self.folder / "take.wav", "one")
        take.path.write_bytes(script.to_wav([0.0] * 10, 16_000))
        with self.assertRaisesRegex(DataError, "take.wav: must have 8000 samples per second, but has 16000"):
            script.read_take(take)


if __name__ == "__main__":
    unittest.main()
