#!/usr/bin/env python3
"""Makes data/reverse: lists of numbers, and the same lists backwards.

This is the task of JoeyNMT's tutorial: symbols 0 to 49 with spaces between them, 1 to 25 of them, and the target is
the source in reverse order. A model that has attention learns it to the last symbol; one with a broken mask, broken
positions or a broken decoder does not.
"""

import random

from pairs import Pair, below, check_apart, maker_arguments, run, shuffled, split_rows, write_set

SYMBOLS = 50
LONGEST = 25
SIZES = {"train": 24_000, "valid": 1_000, "test": 1_000}


def random_sources(generator: random.Random, count: int) -> list[str]:
    """Different lists of random symbols; a repeated one is drawn again, so the shortest lists are rare."""
    sources: dict[str, None] = {}
    while len(sources) < count:
        length = 1 + below(generator, LONGEST)
        sources[" ".join(str(below(generator, SYMBOLS)) for _ in range(length))] = None
    return list(sources)


def reverse(source: str) -> Pair:
    """The source with its target."""
    return source, " ".join(reversed(source.split()))


def main() -> None:
    """Draws the lists, cuts them into splits, writes them."""
    options = maker_arguments(__doc__.splitlines()[0], "reverse", SIZES).parse_args()
    sizes = {name: getattr(options, name) for name in SIZES}
    generator = random.Random(options.seed)
    # The shortest lists are drawn early, so without this valid and test would have none.
    sources = shuffled(generator, random_sources(generator, sum(sizes.values())))
    splits = split_rows(sources, sizes)
    pairs = {name: [reverse(source) for source in part] for name, part in splits.items()}
    check_apart(pairs)
    write_set(options.out, pairs)


if __name__ == "__main__":
    run(main)
