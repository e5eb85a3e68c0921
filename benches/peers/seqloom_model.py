"""Reads a seqloom model file for the other sides of the benchmarks, by docs/checkpoint.md and without seqloom.

    pip install safetensors tokenizers numpy

Weights as numpy arrays, the experiment, and the tokenizers; besides, what all sides of the decoding benchmark share.
"""
import csv
import json
import math
import statistics
import sys
import time
import unicodedata
from pathlib import Path

PAD, UNK, BOS, EOS = 0, 1, 2, 3

# Unicode's White_Space; str.strip() would take four control characters more.
WHITE_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
BREAKS = str.maketrans(dict.fromkeys("\t\n\x0b\x0c\r\x85\u2028\u2029", " "))


class Tokenizer:
    """A side's tokenizer: text to ids without EOS, and back."""

    def __init__(self, described: dict) -> None:
        self.kind, self.tokens = described["kind"], described["tokens"]
        # A special token has an id and no text.
        self.ids = {token: id for id, token in enumerate(self.tokens) if id > EOS}
        if self.kind == "bpe":
            from tokenizers.models import BPE

            merges = [tuple(merge.split(" ")) for merge in described["merges"]]
            self.bpe = BPE(vocab={token: id for id, token in enumerate(self.tokens)}, merges=merges, unk_token="<unk>")

    def encode(self, text: str) -> list[int]:
        text = unicodedata.normalize("NFC", text.strip(WHITE_SPACE)).translate(BREAKS)
        if self.kind == "characters":
            return [self.ids.get(character, UNK) for character in text]
        if self.kind == "words":
            words = "".join(" " if character in WHITE_SPACE else character for character in text).split(" ")
            return [self.ids.get(word, UNK) for word in words if word]
        if not text:
            return []
        # Each space of the text is a mark at the start of its word, including the first word.
        words = ("▁" + text.replace(" ", "▁")).split("▁")[1:]
        return [token.id for word in words for token in self.bpe.tokenize("▁" + word)]

    def decode(self, ids: list[int]) -> str:
        tokens = [self.tokens[id] for id in ids if id not in (PAD, BOS, EOS)]
        if self.kind == "words":
            return " ".join(tokens)
        text = "".join(tokens)
        return text.removeprefix("▁").replace("▁", " ") if self.kind == "bpe" else text


class Recordings:
    """The features of a model that reads recordings: Kaldi's filter banks, normalized over the corpus."""

    USUAL = dict(low_hz=20.0, high_hz=0.0, window_ms=25.0, shift_ms=10.0, preemphasis=0.97, window="povey", snip_edges=True,
                 remove_dc=True)

    def __init__(self, described: dict) -> None:
        fbank = dict(described["fbank"])
        self.rate, self.bins = fbank.pop("sample_rate"), fbank.pop("bins")
        if fbank != self.USUAL or "stats" not in described:
            sys.exit("the references compute features by Kaldi's defaults, normalized over the corpus, but this model has others")
        self.mean, self.deviation = described["stats"]["mean"], described["stats"]["std"]


class SeqloomModel:
    """The content of a model file."""

    def __init__(self, path: Path) -> None:
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            header = json.loads(file.metadata()["seqloom"])
            self.weights = {name: file.get_tensor(name) for name in file.keys()}
        self.data = header["config"]["data"]
        self.transformer = header["config"]["model"]["transformer"]
        source = header["tokenizers"]["source"]
        self.source = Recordings(source["audio"]) if "audio" in source else Tokenizer(source)
        self.target = Tokenizer(header["tokenizers"]["target"])

    def embeddings(self) -> tuple:
        """The matrices (V, D) of the source embedding, the target embedding and the output layer."""
        w, tied = self.weights, self.transformer["tied_embeddings"]
        if tied == "all":
            return (w["shared_embedding.weight"],) * 3
        source, target = w["source_embedding.weight"], w["target_embedding.weight"]
        return source, target, target if tied == "target_output" else w["output.weight"]

    def require(self, who: str, **values: object) -> None:
        """Ends the program if `who` does not support this kind of model."""
        for key, allowed in values.items():
            allowed = allowed if isinstance(allowed, tuple) else (allowed,)
            if self.transformer[key] not in allowed:
                can = " or ".join(map(repr, allowed))
                sys.exit(f"{who} takes models with `{key}` {can}, but this one has {self.transformer[key]!r}")


def position_table(rows: int, width: int):
    """Sine in the even columns, cosine in the odd ones: (rows, width) f32"""
    import numpy as np

    angles = np.arange(rows)[:, None] * np.exp(np.arange(0, width, 2) * (-math.log(10000.0) / width))
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(rows, width).astype(np.float32)


def read_column(path: Path, column: str) -> list[str]:
    with open(path, encoding="utf-8", newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


def read_sources(model: SeqloomModel, path: Path) -> list[list[int]]:
    """The token ids of a table's sources, without EOS."""
    rows = [model.source.encode(text) for text in read_column(path, model.data["source"]["column"])]
    if empty := [number for number, row in enumerate(rows, 1) if not row]:
        sys.exit(f"{path}: the source of row {empty[0]} is empty")
    return rows


def length_limit(source: list[int]) -> int:
    """The most tokens of an output, including EOS: seqloom's default."""
    return 2 * len(source) + 50


def write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(line.replace("\n", " ").replace("\r", " ") + "\n" for line in lines), encoding="utf-8")


def median_latency_ms(decode_one, sources: list[list[int]], count: int) -> float:
    """The median time of one sentence, one at a time, over `count` of them spread over the set."""
    chosen = sources[:: max(1, len(sources) // max(1, count))][:count]
    decode_one(chosen[0])
    times = []
    for source in chosen:
        start = time.perf_counter()
        decode_one(source)
        times.append(time.perf_counter() - start)
    return round(1e3 * statistics.median(times), 2)


def peak_gib() -> float:
    """The most memory that this process has taken. The resource module would count that of the process that started it, too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 2**20, 3)
