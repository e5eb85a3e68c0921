"""ARCHITECTURE.md and CONTRIBUTING.md: the files, the names and the numbers that they list are those of the code."""

import re
import unittest

from support import DATA

ROOT = DATA.parent
CODE = {path.relative_to(ROOT / "src").as_posix(): path.read_text(encoding="utf-8")
        for path in (ROOT / "src").rglob("*.rs")}
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "eighteen": 18}


def section(page: str, title: str) -> str:
    """The text under a heading of a page, up to the next one."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def named(text: str) -> list:
    """What stands between backquotes."""
    return re.findall(r"`([^`]+)`", text)


def code_of(module: str) -> str:
    """The code of `data/readers`, which is readers.rs or readers/mod.rs; an error if there is none."""
    return CODE.get(f"{module}.rs") or CODE[f"{module}/mod.rs"]


def defines(code: str, name: str) -> bool:
    """Whether code defines a type, trait or constant."""
    return re.search(rf"\b(?:struct|enum|trait|type|const) {name}\b", code) is not None


class Pages(unittest.TestCase):
    """What a newcomer reads about the code."""

    def test_lives_list_as_many_files_and_forms_as_they_say_and_the_code_has_all_of_them(self):
        for life in ["The life of a pair", "The life of a line"]:
            paragraphs = section("ARCHITECTURE.md", life).split("\n\n")
            number, files = next(re.match(r"\*\*(\d+) files\*\*.*?:(.*)", text, re.DOTALL).groups()
                                 for text in paragraphs if re.match(r"\*\*\d+ files", text))
            files = named(files)
            self.assertEqual((len(files), len(set(files))), (int(number), int(number)), life)
            code = "\n".join(code_of(name) for name in files)
            number, forms = next(re.match(r"\*\*(\d+) forms\*\*[^:]*:(.*?)\.(?:\s|$)", text, re.DOTALL).groups()
                                 for text in paragraphs if re.match(r"\*\*\d+ forms", text))
            forms = named(forms)
            self.assertEqual((len(forms), len(set(forms))), (int(number), int(number)), life)
            for form in forms:
                self.assertTrue(defines(code, form), f"{life}: none of its files defines {form}")

    def test_the_names_of_the_glossary_are_in_the_code(self):
        code, words = "\n".join(CODE.values()), named(section("ARCHITECTURE.md", "Glossary"))
        for word in words:
            if re.fullmatch(r"[A-Z][a-z]\w+", word):
                self.assertTrue(defines(code, word), f"src/ does not define {word}")
            elif word.endswith(".rs"):
                self.assertIn(word.removeprefix("src/"), CODE)

    def test_additions_change_as_many_files_as_they_say_and_these_exist(self):
        parts = section("CONTRIBUTING.md", "What a newcomer changes").split("\n**")[1:]
        seen = 0
        for part in parts:
            rows = [named(row.split("|")[1]) for row in part.splitlines() if row.startswith("| `")]
            if not rows:
                continue
            files = [file for row in rows for file in row if "NAME" not in file]
            for file in files:
                self.assertTrue((ROOT / file).is_file(), f"there is no {file}")
            title, said = re.match(r"([^*]+)\*\*.*?: (\w+) files?\b", part, re.DOTALL).groups()
            self.assertEqual(sum(file.startswith("src/") for file in files), NUMBERS[said], title)
            seen += 1
        self.assertEqual(seen, 5)


if __name__ == "__main__":
    unittest.main()
