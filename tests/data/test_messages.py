"""scripts/messages.py: which strings of the source code it lists."""

import subprocess
import sys
import unittest

from support import DATA

ROOT = DATA.parent
sys.path.insert(0, str(ROOT / "scripts"))

from messages import messages  # noqa: E402 (the line above finds it)

# Each kind of string, comment and test-only item, and a message behind each of these.
CODE = r'''#[cfg(test)]
mod tests;

/// Not "a message of" the program.
fn f<'a>() -> [&'a str; 6] {
    let quotes = ['"', '\'', '\u{22}']; // nor "is this one" in a comment
    ["oneword", "two words", "a \"quoted\" word", "a line\n \
      and its continuation", r#"a raw "string" with {} quotes"#, r"C:\new files"]
}

impl D {
    #[cfg(test)]
    #[must_use]
    fn only_for_tests() -> &'static str {
        "that only tests have"
    }

    fn g() -> &'static str {
        "behind a method of tests"
    }
}

#[cfg(test)]
mod more {
    const H: &str = "in a module of tests";
}

const LAST: &str = "at the end";
'''


class Messages(unittest.TestCase):
    """The list of all messages."""

    def test_strings_of_several_words_are_listed_with_their_lines(self):
        self.assertEqual(messages(CODE), [
            (7, "two words"), (7, 'a "quoted" word'), (7, "a line\n and its continuation"),
            (8, 'a raw "string" with {} quotes'), (8, r"C:\new files"),
            (19, "behind a method of tests"), (28, "at the end"),
        ])

    def test_the_script_lists_a_file_with_test_items_at_its_beginning_to_the_end(self):
        run = [sys.executable, str(ROOT / "scripts/messages.py")]
        listed = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout
        files = dict(part.split("\n", 1) for part in listed.removeprefix("== ").split("\n== "))
        recording = files["src/data/audio/recording.rs"]
        self.assertIn("a recording must have samples, but it has none", recording)
        self.assertNotIn("src/data/audio/recording/tests.rs", files)


if __name__ == "__main__":
    unittest.main()
