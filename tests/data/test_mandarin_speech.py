"""data/make_mandarin_speech.py: the table of words, what is held out, and the recordings where espeak-ng is there."""

import collections
import contextlib
import csv
import dataclasses
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest
import wave
from pathlib import Path

from support import DATA  # before the scripts: it finds them

import make_mandarin_speech as script
from pairs import DataError

TABLE = script.read_table(script.TABLE)


def draw(name: str, count: int = 400) -> list[script.Clip]:
    """Clips of a split."""
    return script.draw_split(random.Random(7), TABLE, name, count)


class Words(unittest.TestCase):
    def test_no_word_is_there_twice(self):
        texts = [word.text for words in TABLE.values() for word in words]
        self.assertEqual(len(texts), len(set(texts)))

    def test_two_characters_for_one_syllable_are_refused(self):
        words = [script.Word("學", ("xue2",)), script.Word("雪學", ("xue2", "xue2"))]
        with self.assertRaisesRegex(DataError, "xue2 of 雪學 is also 學"):
            script.check_unambiguous(words)

    def test_the_third_tone_before_another_never_sounds_like_another_character(self):
        syllables = {syllable for words in TABLE.values() for word in words for syllable in word.syllables}
        bases = {syllable[:-1] for syllable in syllables}
        self.assertEqual([base for base in bases if {f"{base}2", f"{base}3"} <= syllables], [])

    def test_every_character_of_a_word_that_is_held_out_is_in_words_of_train(self):
        seen = collections.Counter(character for word in TABLE["train"] for character in set(word.text))
        rare = {c for name in ("valid", "test") for word in TABLE[name] for c in word.text if seen[c] < 3}
        self.assertEqual(rare, set())

    def test_the_demos_word_is_held_out_and_its_characters_are_in_many_words_of_train(self):
        self.assertIn(script.DEMO_WORD, TABLE["test"])
        for character, syllable in zip(script.DEMO_WORD.text, script.DEMO_WORD.syllables, strict=True):
            words = [word for word in TABLE["train"] if (character, syllable) in zip(word.text, word.syllables)]
            self.assertGreaterEqual(len(words), 15, character)


class Splits(unittest.TestCase):
    def test_no_text_has_a_word_that_is_held_out_for_a_later_split(self):
        for name, later in (("train", ("valid", "test")), ("valid", ("test",))):
            held_out = [word.text for split in later for word in TABLE[split]]
            self.assertEqual([c.text for c in draw(name) if any(text in c.text for text in held_out)], [])

    def test_each_text_of_valid_and_test_has_a_word_of_its_split(self):
        for name in ("valid", "test"):
            words = [word.text for word in TABLE[name]]
            self.assertTrue(all(any(text in clip.text for text in words) for clip in draw(name)))

    def test_every_voice_says_the_demos_word_in_test(self):
        voices = {clip.voice for clip in draw("test") if clip.text == script.DEMO_WORD.text}
        self.assertEqual(voices, set(script.VOICES + script.HELD_OUT_VOICES))

    def test_voices_of_test_are_partly_unknown_to_train_and_valid(self):
        for name in ("train", "valid"):
            self.assertTrue({clip.voice for clip in draw(name)} <= set(script.VOICES))
        share = sum(clip.voice in script.HELD_OUT_VOICES for clip in draw("test")) / 400
        self.assertTrue(0.4 < share < 0.6, share)

    def test_a_text_has_a_syllable_for_each_character_and_six_at_most(self):
        for clip in draw("train"):
            self.assertEqual(sum(symbol.isdigit() for symbol in clip.pinyin), len(clip.text))
            self.assertLessEqual(len(clip.text), script.LONGEST)

    def test_a_split_is_as_long_as_asked_for_and_the_same_each_time(self):
        for name in script.SIZES:
            self.assertEqual(len(draw(name, 3)), 3)
            self.assertEqual(draw(name, 30), draw(name, 30))

    def test_the_name_of_a_recording_changes_with_all_that_changes_its_sound(self):
        clip = draw("train", 1)[0]
        changes = {"pinyin": "ma1", "voice": "m1x", "speed": 0, "pitch": 0, "gap": 9, "seed": 0}
        changed = [dataclasses.replace(clip, **{key: value}).path("1") for key, value in changes.items()]
        self.assertEqual(len({clip.path("1"), clip.path("2"), *changed}), 2 + len(changes))


class Recordings(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def run_script(self, **environment: str) -> subprocess.CompletedProcess:
        sizes = ["--train", "3", "--valid", "2", "--test", "2", "--processes", "1"]
        command = [sys.executable, str(DATA / "make_mandarin_speech.py"), "--out", str(self.folder), *sizes]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})

    def test_without_espeak_an_error_tells_how_to_get_it(self):
        done = self.run_script(PATH=str(self.folder))
        self.assertEqual(done.returncode, 1)
        self.assertIn("espeak-ng is not there; install the package espeak-ng (Debian", done.stderr)
        self.assertIn("apt-get install espeak-ng", done.stderr)

    @unittest.skipUnless(shutil.which("espeak-ng"), "espeak-ng is not there")
    def test_recordings_are_speech_and_are_not_made_twice(self):
        done = self.run_script()
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.folder / "train.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual((len(rows), list(rows[0])), (3, script.HEADER))
        paths = [self.folder / row["source"] for row in rows]
        for path in paths:
            with wave.open(str(path)) as file:
                self.assertEqual(file.getparams()[:3], (1, 2, 22_050))
                self.assertTrue(0.3 < file.getnframes() / 22_050 < 4.0)
        made = [path.stat().st_mtime_ns for path in paths]
        paths.pop().unlink()
        self.assertEqual(self.run_script().returncode, 0)
        self.assertEqual([path.stat().st_mtime_ns for path in paths], made[:-1])

    @unittest.skipUnless(shutil.which("espeak-ng"), "espeak-ng is not there")
    def test_a_clip_is_the_same_to_the_last_bit_each_time(self):
        for clip in draw("test", 4):
            self.assertEqual(script.record(clip), script.record(clip))

    def test_the_examples_are_by_voices_that_train_lacks_and_begin_with_the_demos_word(self):
        rows = []
        for number, (text, voice) in enumerate([("機器學習", "m4"), ("機器學習", "m1"), ("大海", "f2")]):
            (self.folder / f"a_b-{voice}-{number}.wav").write_bytes(b"")
            rows.append([f"a_b-{voice}-{number}.wav", text, voice])
        with contextlib.redirect_stderr(io.StringIO()):
            script.copy_examples(self.folder, rows)
        table = (self.folder / "examples" / "examples.csv").read_text(encoding="utf-8")
        self.assertEqual(table, "source,target,voice\na_b-m4.wav,機器學習,m4\na_b-f2.wav,大海,f2\n")


if __name__ == "__main__":
    unittest.main()
