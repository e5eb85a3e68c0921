#!/usr/bin/env python3
"""Prepares a parallel corpus with Hugging Face datasets and tokenizers, to compare with the first start of `seqloom train`.

    python3 scripts/big_corpus.py --pairs 2000000 --folder /tmp/big
    python3 scripts/compare_preparation.py --folder /tmp/big --processes 2

It does what `seqloom train` does before its first update: BPE of 8,000 pieces for each side, learned from the first
--learn-from pairs, then the ids of all pairs, on --processes processes, in a file that is mapped into memory. Shows the time of
each step and the largest memory of a process.

Python 3.10 with `datasets` and `tokenizers`.
"""

import argparse
import resource
import shutil
import time
from pathlib import Path

from datasets import Dataset, load_from_disk
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

SIDES = ["source", "target"]


def pairs_of(folder):
    with open(folder / "train.en") as sources, open(folder / "train.xx") as targets:
        for source, target in zip(sources, targets):
            yield {"source": source.rstrip("\n"), "target": target.rstrip("\n")}


def learn(folder, side, count):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=8000, min_frequency=2, special_tokens=["<pad>", "<unk>", "<bos>", "<eos>"], show_progress=False
    )
    lines = (pair[side] for pair, _ in zip(pairs_of(folder), range(count)))
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def encode(batch, tokenizers):
    return {side: [one.ids for one in tokenizer.encode_batch(batch[side])] for side, tokenizer in zip(SIDES, tokenizers)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--learn-from", type=int, default=500_000)
    options = parser.parse_args()
    made = options.folder / "compared"
    shutil.rmtree(made, ignore_errors=True)
    begun = last = time.time()

    def said(what):
        nonlocal last
        now = time.time()
        print(f"{what}: {now - last:.1f} s", flush=True)
        last = now

    tokenizers = [learn(options.folder, side, options.learn_from) for side in SIDES]
    said("learning the vocabularies")
    texts = Dataset.from_generator(pairs_of, gen_kwargs={"folder": options.folder}, cache_dir=str(made / "texts"))
    said("reading the pairs into Arrow")

    ids = texts.map(encode, batched=True, num_proc=options.processes, fn_kwargs={"tokenizers": tokenizers})
    ids.save_to_disk(made / "ids", num_proc=options.processes)
    said("encoding the pairs")
    pairs = len(load_from_disk(made / "ids"))
    said("opening the encoded pairs")
    seconds = last - begun
    of_all = [resource.getrusage(who) for who in [resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN]]
    cores = sum(one.ru_utime + one.ru_stime for one in of_all)
    memory = max(one.ru_maxrss for one in of_all) / 1024
    print(f"{pairs} pairs in {seconds:.1f} s, {cores:.0f} s of all cores, at most {memory:.0f} MiB in a process")
    print(f"{pairs / cores * 60:.0f} pairs per minute and core")


if __name__ == "__main__":
    main()
