"""The JoeyNMT side of seqloom's training benchmark: JoeyNMT 2.3.0 on the same model and the same pairs.

    pip install torch==2.11.0 joeynmt==2.3.0 importlib_metadata sentencepiece==0.2.0
    python joeynmt_reference.py --data data/multi30k --work /tmp/joeynmt --updates 30

It turns the CSV files into plain text once, with a joint SentencePiece BPE of 8,000 pieces, and has JoeyNMT train. JoeyNMT
reports target tokens per second; divided by the tokens of a sentence this is pairs per second.
"""
import argparse
import csv
import json
import os
import re
import resource
import statistics
import subprocess
import sys
from pathlib import Path

SPLITS = {"train": "train", "valid": "val"}


def prepare(data: Path, work: Path) -> None:
    """Plain text, BPE model and vocabulary, once."""
    import sentencepiece

    if (work / "vocab.txt").exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    for ours, theirs in SPLITS.items():
        with open(data / f"{ours}.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for column, language in (("source", "en"), ("target", "de")):
            text = "".join(row[column].strip() + "\n" for row in rows)
            (work / f"{theirs}.{language}").write_text(text, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=f"{work}/train.en,{work}/train.de", model_prefix=f"{work}/sp", vocab_size=8000, character_coverage=1.0,
        model_type="bpe", unk_id=0, pad_id=1, bos_id=2, eos_id=3, minloglevel=2,
        unk_piece="<unk>", pad_piece="<pad>", bos_piece="<s>", eos_piece="</s>")  # fmt: skip
    lines = (work / "sp.vocab").read_text(encoding="utf-8").splitlines()
    (work / "vocab.txt").write_text("".join(line.split("\t")[0] + "\n" for line in lines), encoding="utf-8")


def tokens_per_sentence(work: Path) -> float:
    """Target tokens of a sentence, including EOS, as JoeyNMT counts them."""
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(work / "sp.model"))
    lines = (work / "train.de").read_text(encoding="utf-8").splitlines()
    return statistics.mean(len(ids) + 1 for ids in pieces.encode(lines))


def config(args: argparse.Namespace) -> str:
    """joeynmt_multi30k.yaml with this machine's paths and the given sizes."""
    text = (Path(__file__).parent / "joeynmt_multi30k.yaml").read_text(encoding="utf-8")
    changes = {
        '"work/': f'"{args.work}/', '"joeynmt_run"': f'"{args.work}/run"', "updates: 60": f"updates: {args.warmup + args.updates}",
        "logging_freq: 10": f"logging_freq: {args.warmup}",
        "validation_freq: 100000": f"validation_freq: {args.warmup * 100_000}", "num_layers: 3": f"num_layers: {args.layers}",
        "num_heads: 4": f"num_heads: {args.heads}", "embedding_dim: 256": f"embedding_dim: {args.width}",
        "hidden_size: 256": f"hidden_size: {args.width}", "ff_size: 1024": f"ff_size: {args.ff}",
    }  # fmt: skip
    for old, new in changes.items():
        assert old in text, f"joeynmt_multi30k.yaml lacks {old}"
        text = text.replace(old, new)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--ff", type=int, default=1024)
    parser.add_argument("--heads", type=int, default=4)
    args = parser.parse_args()
    args.work = args.work.absolute()
    prepare(args.data, args.work)
    (args.work / "config.yaml").write_text(config(args), encoding="utf-8")
    command = [sys.executable, "-m", "joeynmt", "train", str(args.work / "config.yaml"), "--skip-test"]
    threads = {"OMP_NUM_THREADS": str(args.threads), "MKL_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads}, cwd=args.work)
    speeds = [float(speed) for speed in re.findall(r"Tokens per Sec:\s*([\d.]+)", done.stdout + done.stderr)]
    if done.returncode != 0 or len(speeds) < 2:
        sys.exit(f"JoeyNMT failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    # The first value is that of the warm-up.
    tokens = statistics.mean(speeds[1:])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(json.dumps({
        "side": "joeynmt", "pairs_per_s": round(tokens / tokens_per_sentence(args.work), 2),
        "target_tokens_per_s": round(tokens, 1), "peak_gib": round(peak, 2),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
