#!/usr/bin/env python3
"""Makes data/mandarin_speech: recordings of Mandarin words and short phrases by espeak-ng, and their characters.

`words.csv` lists the words: characters, pinyin with tone numbers, split. Each toned syllable is written by one
character only, so the sound decides the text. espeak-ng reads pinyin with ü as ü and the neutral tone as 5; it runs
syllables together where there is no space, and applies the third-tone sandhi itself.

- A text is one to four parts, at most six characters. In train each is a word of the table or a single character.
- Each text of valid has a word that is held out for valid; each text of test has one that is held out for test, 機器學習
  among them. Train has none of these words, not even across the border of two parts; valid has none of test's.
- Half of test is by two voices that are neither in train nor in valid.
- Each clip has its own speed, pitch, word gap and level. A third of the clips are in a room, half have noise.

espeak-ng is under the GPL, which covers the program, not what it prints or speaks: the recordings have no terms of it.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from pairs import HERE, DataError, below, maker_arguments, pick, run, shuffled, write_atomically, write_set
from sound import Sound, at_level, between, in_room, read_wav, silence, to_wav, white_noise, with_noise

SIZES = {"train": 6_000, "valid": 300, "test": 600}
TABLE = HERE / "mandarin_speech" / "words.csv"
HEADER = ["source", "target", "voice"]
LONGEST = 6
VOICES = "m1 m2 m3 m5 m6 m7 f1 f3 f4 f5 klatt klatt2 klatt3 klatt4".split()
HELD_OUT_VOICES = "m4 f2".split()
ESPEAK = "espeak-ng"
HOW_TO_INSTALL = "install the package espeak-ng (Debian, Ubuntu: apt-get install espeak-ng)"
PROGRESS_EVERY = 1_000
EXAMPLES = 9


@dataclass(frozen=True)
class Word:
    """Characters, and one toned syllable for each."""

    text: str
    syllables: tuple[str, ...]


DEMO_WORD = Word("機器學習", ("ji1", "qi4", "xue2", "xi2"))


@dataclass(frozen=True)
class Clip:
    """All that decides a recording: what is said, by whom, how, and the seed of the room and the noise."""

    text: str
    pinyin: str
    voice: str
    speed: int
    pitch: int
    gap: int
    seed: int

    def path(self, version: str) -> str:
        """The recording's place below the set's folder. The name follows from the clip, so what is there is right."""
        digest = hashlib.sha256(repr((version, astuple(self))).encode()).hexdigest()[:8]
        syllables = self.pinyin.replace(" ", "_").replace("ü", "v")
        return f"clips/{syllables}-{self.voice}-{digest}.wav"


def read_table(path: Path) -> dict[str, list[Word]]:
    """The words of each split."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    table: dict[str, list[Word]] = {name: [] for name in SIZES}
    for row in rows:
        word = Word(row["text"], tuple(row["pinyin"].split()))
        if len(word.text) != len(word.syllables):
            raise DataError(f"{path}: {word.text} must have a syllable for each character, but has {row['pinyin']!r}")
        table[row["split"]].append(word)
    check_unambiguous(word for words in table.values() for word in words)
    return table


def check_unambiguous(words: Iterable[Word]) -> None:
    """Checks that no toned syllable is written by two characters."""
    writing: dict[str, str] = {}
    for word in words:
        for character, syllable in zip(word.text, word.syllables, strict=True):
            if writing.setdefault(syllable, character) != character:
                raise DataError(f"{syllable} of {word.text} is also {writing[syllable]}")


def single_characters(words: list[Word]) -> list[Word]:
    """Each character of these words as a word of its own, with each of its readings in a full tone."""
    readings = {(text, syllable) for word in words for text, syllable in zip(word.text, word.syllables, strict=True)}
    return [Word(text, (syllable,)) for text, syllable in sorted(readings) if not syllable.endswith("5")]


def draw_parts(generator: random.Random, pool: list[Word], others: list[list[Word]]) -> list[Word]:
    """One word of the pool and up to three of the others, in any order, of at most six characters together."""
    while True:
        parts = [pick(generator, pool)]
        parts += [pick(generator, pick(generator, others)) for _ in range(below(generator, 4))]
        if sum(len(part.text) for part in parts) <= LONGEST:
            return shuffled(generator, parts)


def draw_clip(generator: random.Random, parts: list[Word], voices: list[str]) -> Clip:
    """These words by one of the voices, at a random speed, pitch and gap between words."""
    pinyin = "".join(pick(generator, [" ", ""]) + "".join(part.syllables) for part in parts)
    return Clip(
        text="".join(part.text for part in parts),
        pinyin=pinyin.strip(),
        voice=pick(generator, voices),
        speed=130 + below(generator, 71),
        pitch=30 + below(generator, 41),
        gap=below(generator, 5),
        seed=below(generator, 2**32),
    )


def draw_split(generator: random.Random, table: dict[str, list[Word]], name: str, count: int) -> list[Clip]:
    """The clips of a split. A text that has a word held out for a later split is drawn again."""
    held_out = {"train": table["valid"] + table["test"], "valid": table["test"], "test": []}[name]
    # Single characters make sequences that no word has: the model must listen, and cannot guess by the words it knows.
    others = [table["train"], single_characters(table["train"])] if name == "train" else [table["train"]]
    clips = [draw_clip(generator, [DEMO_WORD], [voice]) for voice in HELD_OUT_VOICES + VOICES if name == "test"]
    while len(clips) < count:
        parts = draw_parts(generator, table[name], others)
        unseen = name == "test" and len(clips) % 2 == 0
        clip = draw_clip(generator, parts, HELD_OUT_VOICES if unseen else VOICES)
        if not any(word.text in clip.text for word in held_out):
            clips.append(clip)
    return clips[:count]


def espeak(*arguments: str) -> bytes:
    """What espeak-ng writes to its standard output."""
    done = subprocess.run([ESPEAK, *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        raise DataError(f"espeak-ng failed on {arguments}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout


def espeak_version() -> str:
    """espeak-ng's name and version; another version makes other recordings."""
    if shutil.which(ESPEAK) is None:
        raise DataError(f"espeak-ng is not there; {HOW_TO_INSTALL}")
    return espeak("--version").decode().split("  ")[0].strip()


@functools.cache
def noise_pool() -> Sound:
    """Noise for all clips: each takes a stretch from a random place."""
    return white_noise(random.Random(1), 60_000)


def record(clip: Clip) -> bytes:
    """The WAV of a clip: espeak-ng's speech with a little silence around it, a room, a level and noise."""
    manner = ["-s", str(clip.speed), "-p", str(clip.pitch), "-g", str(clip.gap), "-z"]
    content = espeak("-v", f"cmn-latn-pinyin+{clip.voice}", *manner, "--stdout", clip.pinyin)
    sound, rate = read_wav(io.BytesIO(content), f"what espeak-ng says for {clip.pinyin!r}")
    generator = random.Random(clip.seed)
    before, after = between(generator, 0.03, 0.15), between(generator, 0.03, 0.15)
    sound = silence(before, rate) + sound + silence(after, rate)
    if generator.random() < 1 / 3:
        sound = in_room(generator, sound, rate, between(generator, 0.05, 0.25))
    sound = at_level(sound, between(generator, -32, -18))
    if generator.random() < 1 / 2:
        sound = with_noise(generator, sound, noise_pool(), between(generator, 20, 40))
    return to_wav(sound, rate)


def make_clip(task: tuple[Path, Clip]) -> None:
    """Makes a recording, unless it is there."""
    path, clip = task
    if not path.is_file():
        write_atomically(path, record(clip))


def make_clips(tasks: list[tuple[Path, Clip]], processes: int) -> None:
    """Makes the recordings in several processes."""
    with multiprocessing.Pool(processes) as pool:
        for number, _ in enumerate(pool.imap_unordered(make_clip, tasks, chunksize=20), start=1):
            if number % PROGRESS_EVERY == 0 or number == len(tasks):
                print(f"{number} of {len(tasks)} recordings", file=sys.stderr)


def copy_examples(folder: Path, rows: list[list[str]]) -> None:
    """Copies the demo's word and a few other clips of test, by voices that are not in train, to `examples/`."""
    unseen = [row for row in rows if row[2] in HELD_OUT_VOICES]
    others = [row for row in unseen if row[1] != DEMO_WORD.text]
    examples = []
    for audio, text, voice in unseen[:1] + others[: EXAMPLES - 1]:
        name = audio.rpartition("/")[2].rpartition("-")[0] + ".wav"
        write_atomically(folder / "examples" / name, (folder / audio).read_bytes())
        examples.append([name, text, voice])
    write_set(folder / "examples", {"examples": examples}, HEADER)


def main() -> None:
    """Draws the clips, makes the recordings that are not there, writes the tables."""
    parser = maker_arguments(__doc__.splitlines()[0], "mandarin_speech", SIZES)
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    parser.add_argument("--examples", action="store_true", help="also copy a few clips of test to examples/")
    options = parser.parse_args()
    version = espeak_version()
    print(version, file=sys.stderr)
    table = read_table(TABLE)
    splits = {}
    for name in SIZES:
        generator = random.Random(f"{options.seed} {name}")
        splits[name] = draw_split(generator, table, name, getattr(options, name))
    tasks = [(options.out / clip.path(version), clip) for clips in splits.values() for clip in clips]
    make_clips(tasks, options.processes)
    rows = {name: [[clip.path(version), clip.text, clip.voice] for clip in clips] for name, clips in splits.items()}
    write_set(options.out, rows, HEADER)
    if options.examples:
        copy_examples(options.out, rows["test"])


if __name__ == "__main__":
    run(main)
