#!/usr/bin/env python3
"""Gets data/dspspeech: DSPSpeech-20, real Mandarin, 12 words by 34 speakers at 16 kHz, 8,159 recordings.

Home: github.com/zhongyuchen/DSPSpeech-20, MIT. The set has 20 takes of each word and speaker (19 of one word by one
speaker), each of about two seconds. Its eight English words are left out. The words are near-pairs such as 北京 and
背景, so the set tests voices that were never heard, not words that were never seen: no speaker is in two splits.

The home names speakers by their student numbers; here they are s01 to s34, in the order of these numbers. Speaker s06
gave three different takes of each word, which the home repeats up to 20.
"""

import re

from pairs import run
from recordings import Recordings, Row, get

WORDS = "数字 语音 语言 识别 中国 总工 北京 背景 上海 商行 复旦 饭店".split()
VALID = {"s05", "s13", "s22", "s30"}
TEST = {"s03", "s09", "s15", "s21", "s27", "s33"}
CHINESE = re.compile(r"speech_data/(\d+)/\1-(0\d|1[01])-(\d\d)\.wav")


def rename(paths: list[str]) -> dict[str, str]:
    """Each recording as SPEAKER_WORD_TAKE.wav, the speakers numbered in the order of their names at home."""
    parts = {path: CHINESE.fullmatch(path).groups() for path in paths}
    students = sorted({student for student, _, _ in parts.values()})
    speakers = {student: f"s{number:02}" for number, student in enumerate(students, start=1)}
    return {path: f"{speakers[student]}_{word}_{take}.wav" for path, (student, word, take) in parts.items()}


def tables(names: list[str]) -> dict[str, list[Row]]:
    """The rows of each split, by speaker, word and take."""
    splits: dict[str, list[Row]] = {"train": [], "valid": [], "test": []}
    for name in sorted(names):
        speaker, word, _ = name.split("_")
        split = "valid" if speaker in VALID else "test" if speaker in TEST else "train"
        splits[split].append((f"wav/{name}", WORDS[int(word)], speaker))
    return splits


DSPSPEECH = Recordings(
    folder="dspspeech",
    home="zhongyuchen/DSPSpeech-20",
    commit="8165959c2567190524898e8187021c8ffb19b262",
    wanted=CHINESE,
    rename=rename,
    tables=tables,
)

if __name__ == "__main__":
    run(lambda: get(__doc__.splitlines()[0], DSPSPEECH))
