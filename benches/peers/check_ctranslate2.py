"""Checks that seqloom and CTranslate2 decode the same: one model, one file, greedy and beam 5, texts and scores.

    pip install ctranslate2==4.8.5 safetensors tokenizers numpy
    cargo build --release
    python check_ctranslate2.py --model runs/m30k/average/model.safetensors --input data/multi30k/test_2016.csv

Fails if less than 99.5 % of the texts are identical, or if scores of identical ones differ by more than 0.001.

Two rules of the searches differ, visible only with a barely trained model: at the limit CTranslate2 ranks unfinished
outputs among finished ones, while seqloom prefers finished ones; and seqloom forbids <pad> and <bos>.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

LEAST_IDENTICAL, LARGEST_DIFFERENCE = 0.995, 1e-3
# Settings that a model file may change, as this comparison needs them.
SEARCH = ["stop=patience", "patience=1.0", "length_penalty=length", "length_penalty_alpha=1.0", "n_best=1", "weights=f32",
          "max_length_factor=2.0", "max_length_offset=50"]  # fmt: skip


def seqloom(args: argparse.Namespace, beam: int, folder: Path) -> list[tuple[str, float]]:
    output = folder / f"seqloom-{beam}.jsonl"
    command = [args.seqloom, "decode", args.model, "--input", args.input, "--output", output, "--beam", beam]
    for key in SEARCH:
        command += ["--set", f"decoding.{key}"]
    subprocess.run(list(map(str, command)), check=True)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").split("\n") if line]
    return [(row["output"].replace("\n", " ").replace("\r", " "), row["score"]) for row in rows]


def ctranslate2(args: argparse.Namespace, beam: int, folder: Path) -> list[tuple[str, float]]:
    output, scores = folder / f"ctranslate2-{beam}.txt", folder / f"ctranslate2-{beam}.scores"
    script = Path(__file__).with_name("ctranslate2_reference.py")
    command = [sys.executable, script, "--model", args.model, "--input", args.input, "--beam", beam, "--output", output,
               "--scores", scores, "--converted", folder / "ctranslate2"]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    texts = output.read_text(encoding="utf-8").split("\n")[:-1]
    return list(zip(texts, map(float, scores.read_text().split())))


def agree(beam: int, ours: list[tuple[str, float]], theirs: list[tuple[str, float]], shown: int) -> bool:
    """Prints how far they agree, and returns whether that is enough."""
    name = "greedy" if beam == 1 else f"beam {beam}"
    if len(ours) != len(theirs):
        sys.exit(f"{name}: seqloom gave {len(ours)} rows, CTranslate2 {len(theirs)}")
    pairs = [(row, mine, other) for row, (mine, other) in enumerate(zip(ours, theirs), 1)]
    different = [pair for pair in pairs if pair[1][0] != pair[2][0]]
    apart = max((abs(mine[1] - other[1]) for _, mine, other in pairs if mine[0] == other[0]), default=0.0)
    share = 1 - len(different) / len(pairs)
    print(f"{name}: {100 * share:.2f} % of {len(pairs)} texts are identical, their scores at most {apart:.1e} apart")
    for row, mine, other in different[:shown]:
        print(f"  row {row}:")
        print(f"    seqloom     {mine[1]:10.5f}  {mine[0]}")
        print(f"    CTranslate2 {other[1]:10.5f}  {other[0]}")
    if different:
        # The sums of equal texts agree, so a difference beyond rounding is due to the search, not to the model.
        print("  the sum of log-probabilities is before each text; if both are nearly the same, rounding broke a tie")
    return share >= LEAST_IDENTICAL and apart <= LARGEST_DIFFERENCE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a seqloom model.safetensors")
    parser.add_argument("--input", type=Path, required=True, help="a CSV file with the model's source column")
    parser.add_argument("--seqloom", default="target/release/seqloom", help="the seqloom binary")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--show", type=int, default=5, metavar="N", help="prints N rows that differ")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        verdicts = [
            agree(beam, seqloom(args, beam, Path(folder)), ctranslate2(args, beam, Path(folder)), args.show) for beam in args.beams
        ]
    sys.exit(0 if all(verdicts) else 1)


if __name__ == "__main__":
    main()
