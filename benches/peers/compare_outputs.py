"""BLEU of several decodes of one file, and how many of their texts equal those of the first.

    pip install sacrebleu
    python compare_outputs.py --input data/multi30k/test_2016.csv ours.txt theirs.txt
"""
import argparse
import json
from pathlib import Path

import sacrebleu

from seqloom_model import read_column


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="a CSV file with the references")
    parser.add_argument("--column", default="target")
    parser.add_argument("outputs", type=Path, nargs="+", help="a text a line")
    args = parser.parse_args()
    texts = [path.read_text(encoding="utf-8").split("\n")[:-1] for path in args.outputs]
    references = read_column(args.input, args.column)
    print(json.dumps([
        {
            "bleu": round(sacrebleu.corpus_bleu(lines, [references[: len(lines)]]).score, 2),
            "as_the_first": round(sum(map(str.__eq__, lines, texts[0])) / len(lines), 4),
        }
        for lines in texts
    ]))  # fmt: skip


if __name__ == "__main__":
    main()
