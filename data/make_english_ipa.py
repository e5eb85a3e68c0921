#!/usr/bin/env python3
"""Makes data/english_ipa: English words, and how espeak-ng says them in the International Phonetic Alphabet.

Words are drawn from the list of Debian's package wamerican, lower-case, 3 to 12 letters from a to z. The target is
the line that `espeak-ng -q --ipa -v en-us WORD` prints, with its stress marks, in Unicode's form NFC. The splits share
no word, but they do share stems: `walk` may be in train and `walked` in test.
"""

import random
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

from pairs import DataError, Pair, check_apart, maker_arguments, run, shuffled, split_rows, write_set

SIZES = {"train": 28_000, "valid": 1_000, "test": 1_000}
WORDS = Path("/usr/share/dict/american-english")
SUITABLE = re.compile(r"[a-z]{3,12}")
ESPEAK = ["espeak-ng", "-q", "--ipa", "-v", "en-us"]
HOW_TO_INSTALL = "install the packages espeak-ng and wamerican (Debian: apt-get install espeak-ng wamerican)"
# Letters, marks that belong to a letter, and modifier letters (stress, length). What else espeak-ng can print says
# something about the text rather than the sound: `(en)` for a change of language, `_` or a space between letters that
# it spells out, a zero-width joiner inside an affricate.
SOUND = {"Ll", "Lo", "Lm", "Mn", "Sk"}
PROGRESS_EVERY = 2_000


def suitable_words(path: Path) -> list[str]:
    """The suitable words of the list, sorted, so that the order of the file does not matter."""
    if not path.is_file():
        raise DataError(f"{path}: no word list there; {HOW_TO_INSTALL}")
    words = {word for word in path.read_text(encoding="utf-8").split("\n") if SUITABLE.fullmatch(word)}
    return sorted(words)


def pronounce(word: str) -> str:
    """The pronunciation of a single word by espeak-ng; in running text it would join words and reduce vowels."""
    done = subprocess.run([*ESPEAK, word], capture_output=True, check=False)
    if done.returncode != 0:
        raise DataError(f"espeak-ng failed on {word!r}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return unicodedata.normalize("NFC", done.stdout.decode("utf-8").strip())


def is_sound(phones: str) -> bool:
    """Whether this is one line of phonetic symbols and nothing else."""
    return phones != "" and all(unicodedata.category(symbol) in SOUND for symbol in phones)


def pronounce_words(words: list[str], count: int) -> list[Pair]:
    """The first `count` words that have a clean pronunciation, with it; says which words have none."""
    pairs: list[Pair] = []
    for word in words:
        if len(pairs) == count:
            break
        phones = pronounce(word)
        if not is_sound(phones):
            print(f"left out: {word}, because espeak-ng says {phones!r}", file=sys.stderr)
            continue
        pairs.append((word, phones))
        if len(pairs) % PROGRESS_EVERY == 0:
            print(f"{len(pairs)} of {count} words", file=sys.stderr)
    return pairs


def main() -> None:
    """Draws the words, asks espeak-ng for each, cuts them into splits, writes them."""
    parser = maker_arguments(__doc__.splitlines()[0], "english_ipa", SIZES)
    parser.add_argument("--words", type=Path, default=WORDS, help="list of words, one a line (default: %(default)s)")
    options = parser.parse_args()
    if shutil.which(ESPEAK[0]) is None:
        raise DataError(f"espeak-ng is not there; {HOW_TO_INSTALL}")
    sizes = {name: getattr(options, name) for name in SIZES}
    words = shuffled(random.Random(options.seed), suitable_words(options.words))
    # Checked before espeak-ng is asked as well as after: the asking takes minutes.
    split_rows(words, sizes)
    pairs = split_rows(pronounce_words(words, sum(sizes.values())), sizes)
    check_apart(pairs)
    write_set(options.out, pairs)


if __name__ == "__main__":
    run(main)
