"""The JoeyNMT side of seqloom's decoding benchmark: a seqloom model's weights in JoeyNMT 2.3.0, decoded by JoeyNMT.

    pip install torch==2.11.0 joeynmt==2.3.0 importlib_metadata sentencepiece==0.2.0 safetensors tokenizers
    python joeynmt_decode.py --model runs/m30k/average/model.safetensors --input data/multi30k/test_2016.csv --beam 5

The network is made by JoeyNMT's `build_model` and decodes by its `predict`, in batches of the file's order, as JoeyNMT does.
JoeyNMT reads tokenized text: a token's name is its id, and texts are detokenized by seqloom's tokenizer.
Its vocabularies begin with unk and pad, so these two are swapped, and its norms get seqloom's epsilon. Loading and
warming up are not timed.

Its beam search has only the length penalty ((5 + length) / 6)^alpha, so that its outputs differ slightly from seqloom's; those of
greedy search do not.
"""
import argparse
import itertools
import json
import logging
import tempfile
import time
from pathlib import Path

import torch

from seqloom_model import BOS, EOS, PAD, UNK, SeqloomModel, length_limit, median_latency_ms, peak_gib, read_sources, write_lines

SPECIALS = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_id": 0, "pad_id": 1, "bos_id": 2, "eos_id": 3}

NAMES = {PAD: "<pad>", UNK: "<unk>", BOS: "<bos>", EOS: "<eos>"}
IDS = {name: id for id, name in NAMES.items()}


def name_of(id: int) -> str:
    return NAMES.get(id, f"t{id}")


def their_order(count: int) -> list[int]:
    """seqloom's ids in the order of JoeyNMT's."""
    return [UNK, PAD, *range(BOS, count)]


def config(model: SeqloomModel, work: Path, args: argparse.Namespace, longest: int) -> dict:
    """JoeyNMT's configuration of the same network and of this decode."""
    of = model.transformer

    def side(tokenizer, lang: str) -> dict:
        vocabulary = work / f"vocabulary.{lang}"
        vocabulary.write_text("".join(name_of(id) + "\n" for id in their_order(len(tokenizer.tokens))), encoding="utf-8")
        return {"lang": lang, "level": "word", "lowercase": False, "normalize": False, "max_length": -1, "voc_file": str(vocabulary)}

    def stack(layers: int) -> dict:
        return {
            "type": "transformer", "num_layers": layers, "num_heads": of["heads"], "hidden_size": of["width"],
            "ff_size": of["feed_forward"], "dropout": 0.0, "layer_norm": of["norm_place"], "activation": "relu",
            "embeddings": {"embedding_dim": of["width"], "scale": True, "dropout": 0.0},
        }  # fmt: skip

    return {
        "name": "seqloom", "joeynmt_version": "2.3.0", "model_dir": str(work), "use_cuda": False, "fp16": False, "random_seed": 1,
        "data": {
            "train": "", "dev": "", "test": str(work / "test"), "dataset_type": "plain", "special_symbols": dict(SPECIALS),
            "src": side(model.source, "source"), "trg": side(model.target, "target"),
        },
        "testing": {
            "n_best": 1, "beam_size": args.beam, "beam_alpha": args.alpha, "batch_size": args.rows, "batch_type": "sentence",
            "max_output_length": longest, "eval_metrics": [],
        },
        "training": {"loss": "crossentropy", "normalization": "tokens", "optimizer": "adamw", "batch_size": 1, "epochs": 1},
        "model": {
            "tied_embeddings": of["tied_embeddings"] == "all", "tied_softmax": of["tied_embeddings"] != "none",
            "encoder": stack(of["encoder_layers"]), "decoder": stack(of["decoder_layers"]),
        },
    }  # fmt: skip


def state(model: SeqloomModel) -> dict:
    """The weights under JoeyNMT's names."""
    attention = {"query": "q_layer", "key": "k_layer", "value": "v_layer", "output": "output_layer"}
    norms = {
        "encoder": {"self_attention_norm": "layer_norm", "feed_forward_norm": "feed_forward.layer_norm"},
        "decoder": {"self_attention_norm": "x_layer_norm", "cross_attention_norm": "dec_layer_norm", "feed_forward_norm": "feed_forward.layer_norm"},
    }  # fmt: skip
    parts = {"feed_forward.inner": "feed_forward.pwff_layer.0", "feed_forward.outer": "feed_forward.pwff_layer.3"}
    own = {"encoder": {"self_attention": "src_src_att"}, "decoder": {"self_attention": "trg_trg_att", "cross_attention": "src_trg_att"}}
    out = {}
    for name, weight in model.weights.items():
        stack, _, rest = name.partition(".")
        if stack not in norms:
            continue
        path, _, kind = rest.rpartition(".")
        if path == "norm":
            out[f"{stack}.layer_norm.{kind}"] = weight
            continue
        _, number, part = path.split(".", 2)
        to = (norms[stack] | parts).get(part)
        if to is None:
            which, piece = part.split(".")
            to = f"{own[stack][which]}.{attention[piece]}"
        out[f"{stack}.layers.{number}.{to}.{kind}"] = weight
    source, target, output = (torch.from_numpy(matrix[their_order(len(matrix))]) for matrix in model.embeddings())
    out |= {"src_embed.lut.weight": source, "trg_embed.lut.weight": target, "decoder.output_layer.weight": output}
    return {name: torch.as_tensor(weight) for name, weight in out.items()}


def build(model: SeqloomModel, args):
    """JoeyNMT's network with the weights, and its test set."""
    from joeynmt.data import load_data
    from joeynmt.model import build_model

    source, target, _, _, data = load_data(cfg=args.data, datasets=["test"])
    network = build_model(args.model, src_vocab=source, trg_vocab=target)
    weights = state(model)
    # The position table is no weight, but JoeyNMT's checkpoints contain it.
    weights |= {name: tensor for name, tensor in network.state_dict().items() if name.endswith("pe.pe")}
    network.load_state_dict(weights)
    for module in network.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5
    return network.eval(), data


def decode(args: argparse.Namespace, work: Path) -> dict:
    from joeynmt.config import parse_global_args
    from joeynmt.prediction import predict
    from joeynmt.search import search

    model = SeqloomModel(args.model)
    model.require("JoeyNMT", positions="sinusoidal", norm="layer_norm", activation="relu", bias=True)
    sources = read_sources(model, args.input)[: args.sentences]
    (work / "test.source").write_text("".join(" ".join(map(name_of, row)) + "\n" for row in sources), encoding="utf-8")
    longest = max(map(length_limit, sources))
    settings = parse_global_args(config(model, work, args, longest), rank=0, mode="test")
    network, data = build(model, settings)
    model.weights.clear()

    def decode_one(batch):
        limit = 2 * (int(batch.src_length[0]) - 1) + 50
        return search(network, batch, max_output_length=limit, beam_size=args.beam, beam_alpha=args.alpha)

    iterator = data.make_iter(batch_size=1, eos_index=network.eos_index, pad_index=network.pad_index)
    batches = list(itertools.islice(iterator, max(4, args.latency)))
    for batch in batches[:4]:
        decode_one(batch)
    start = time.perf_counter()
    tokens = predict(network, data, settings.device, n_gpu=0, args=settings.test, autocast=settings.autocast)[3]
    seconds = time.perf_counter() - start
    measured = dict(
        side="joeynmt", beam=args.beam, rows=args.rows, sentences=len(tokens), sentences_per_s=round(len(tokens) / seconds, 2),
        output_tokens_per_s=round(sum(map(len, tokens)) / seconds, 1), peak_gib=peak_gib())  # fmt: skip
    if args.output:
        ids = [[IDS[token] if token in IDS else int(token[1:]) for token in row] for row in tokens]
        write_lines(args.output, [model.target.decode(row) for row in ids])
    if args.latency:
        measured["latency_ms"] = median_latency_ms(decode_one, batches, args.latency)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a seqloom model.safetensors")
    parser.add_argument("--input", type=Path, required=True, help="a CSV file with the model's source column")
    parser.add_argument("--output", type=Path, help="output texts, one a line")
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--alpha", type=float, default=1.0, help="of the length penalty")
    parser.add_argument("--rows", type=int, default=64, help="sentences of a batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sentences", type=int, help="decodes only the first SENTENCES of the file")
    parser.add_argument("--latency", type=int, default=0, metavar="N", help="times N sentences one at a time as well")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as work:
        print(json.dumps(decode(args, Path(work))))


if __name__ == "__main__":
    main()
