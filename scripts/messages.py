#!/usr/bin/env python3
"""Lists the text of every message and help page, with file and line, to be read in one go.

    python3 scripts/messages.py > messages.txt
    python3 scripts/messages.py --binary target/release/seqloom > messages.txt     # with the help pages

A message is a string of the source code, raw ones included, with at least two words, outside unit tests.
"""

import argparse
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Comments, raw strings, strings, characters (so that a quoted quote opens no string), and anything else.
TOKEN = re.compile(
    r'//[^\n]*|b?r(?P<hashes>#*)"(?P<raw>.*?)"(?P=hashes)|b?"(?P<text>(?:\\.|[^"\\])*)"|\'(?:\\.[^\'\n]*|[^\\\'])\'|.', re.DOTALL)
WORDS = re.compile(r"[A-Za-z`{][^\s]* [^\s]*[A-Za-z`}]")
# What only unit tests have: up to a line with the same indentation that ends an item, as rustfmt puts it.
ONLY_FOR_TESTS = re.compile(r"^( *)#\[cfg\(test\)\]\n(?:.*\n)*?\1(?:\}|[^ \n].*;)$", re.MULTILINE)


def messages(code: str) -> list[tuple[int, str]]:
    """The strings of a file that are messages, with their lines."""
    # Empty lines keep the numbers of those that follow.
    code = ONLY_FOR_TESTS.sub(lambda item: "\n" * item[0].count("\n"), code)
    found = []
    for token in TOKEN.finditer(code):
        text = token["raw"]
        if token["text"] is not None:
            # A backslash removes the line break and the indentation after it.
            text = re.sub(r"\\\n\s*", "", token["text"]).replace("\\n", "\n").replace('\\"', '"')
        if text and WORDS.search(text):
            found.append((code.count("\n", 0, token.start()) + 1, text))
    return found


def help_pages(binary: str) -> list[tuple[str, str]]:
    """The help of the command and of each of its subcommands."""
    def page(*command: str) -> str:
        return subprocess.run([binary, *command, "--help"], capture_output=True, text=True, check=True).stdout

    pages = [("seqloom", page())]
    for name in re.findall(r"^  ([a-z]+) {2,}", pages[0][1], re.MULTILINE):
        if name != "help":
            pages.append((f"seqloom {name}", page(name)))
    return pages


def sources() -> list[Path]:
    """The files of src/ in Rust, without unit tests."""
    return [path for path in sorted((ROOT / "src").rglob("*.rs"))
            if path.name != "tests.rs" and "tests" not in path.relative_to(ROOT).parts]


def main() -> None:
    """Prints the messages and help pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", help="also the help pages, by this binary")
    args = parser.parse_args()
    for path in sources():
        found = messages(path.read_text(encoding="utf-8"))
        if found:
            print(f"== {path.relative_to(ROOT)}")
        for line, text in found:
            print(f"{line}: {text}")
    for name, page in help_pages(args.binary) if args.binary else []:
        print(f"== {name} --help\n{page}")


if __name__ == "__main__":
    main()
