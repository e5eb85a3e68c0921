"""The CTranslate2 side of seqloom's decoding benchmark: a seqloom model in CTranslate2's form, decoded by CTranslate2.

    pip install ctranslate2==4.8.5 safetensors tokenizers numpy
    python ctranslate2_reference.py --model runs/m30k/average/model.safetensors --input data/multi30k/test_2016.csv --beam 5

The model is written with CTranslate2's own spec classes, to a folder next to it or to --converted. Two workers
of one thread are its best on two cores, --rows 32 to 128. Loading, tokenizing and warming up are not timed.

CTranslate2 divides a hypothesis's sum of log-probabilities by its length, in which EOS counts only if it is asked to
return EOS (`return_end_token`): then it ranks as seqloom's length penalty does, and the sum is its score times that
length. A call has one limit for all its rows: the largest of seqloom's; outputs beyond their row's own limit are counted.
With --scores all rows are decoded again, with a call for each limit, and outputs and scores are from these calls.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from seqloom_model import SeqloomModel, length_limit, median_latency_ms, peak_gib, position_table, read_sources, write_lines

POSITIONS = 4096


def convert(model: SeqloomModel, folder: Path) -> None:
    """Writes a seqloom model as CTranslate2's `TransformerSpec`."""
    import numpy as np
    from ctranslate2.specs import common_spec, transformer_spec

    model.require("this conversion", positions=("sinusoidal", "learned", "none"))
    w, of = model.weights, model.transformer
    activations = {"relu": "RELU", "gelu": "GELU", "silu": "SWISH", "swiglu": "SWISH"}
    spec = transformer_spec.TransformerSpec.from_config(
        (of["encoder_layers"], of["decoder_layers"]), of["heads"], pre_norm=of["norm_place"] == "pre",
        activation=common_spec.Activation[activations[of["activation"]]],
        ffn_glu=of["activation"] == "swiglu", rms_norm=of["norm"] == "rms_norm")  # fmt: skip

    def linear(to, *names):
        """Several layers joined, with concatenated outputs."""
        to.weight = np.concatenate([w[f"{name}.weight"] for name in names])
        if f"{names[0]}.bias" in w:
            to.bias = np.concatenate([w[f"{name}.bias"] for name in names])

    def norm(to, name):
        to.gamma = w[f"{name}.weight"]
        if of["norm"] == "layer_norm":
            to.beta = w.get(f"{name}.bias", np.zeros_like(to.gamma))

    source, target, output = model.embeddings()
    spec.encoder.embeddings[0].weight, spec.decoder.embeddings.weight = source, target
    spec.decoder.projection.weight = output
    # No output contains <pad> (0) or <bos> (2), and the softmax is over the rest.
    spec.decoder.projection.bias = np.zeros(len(output), np.float32)
    spec.decoder.projection.bias[[0, 2]] = -1e9
    for stack, name in ((spec.encoder, "encoder"), (spec.decoder, "decoder")):
        stack.scale_embeddings = True
        tables = {
            "sinusoidal": lambda: position_table(POSITIONS, of["width"]),
            "learned": lambda: w[f"{name}.positions.weight"],
            "none": lambda: np.zeros((POSITIONS, of["width"]), np.float32),
        }
        stack.position_encodings.encodings = tables[of["positions"]]()
        for number, layer in enumerate(stack.layer):
            own = f"{name}.layers.{number}"
            norm(layer.self_attention.layer_norm, f"{own}.self_attention_norm")
            linear(layer.self_attention.linear[0], *(f"{own}.self_attention.{part}" for part in ("query", "key", "value")))
            linear(layer.self_attention.linear[1], f"{own}.self_attention.output")
            if name == "decoder":
                norm(layer.attention.layer_norm, f"{own}.cross_attention_norm")
                linear(layer.attention.linear[0], f"{own}.cross_attention.query")
                linear(layer.attention.linear[1], f"{own}.cross_attention.key", f"{own}.cross_attention.value")
                linear(layer.attention.linear[2], f"{own}.cross_attention.output")
            norm(layer.ffn.layer_norm, f"{own}.feed_forward_norm")
            if of["activation"] == "swiglu":
                linear(layer.ffn.linear_0, f"{own}.feed_forward.gate")
                linear(layer.ffn.linear_0_noact, f"{own}.feed_forward.inner")
            else:
                linear(layer.ffn.linear_0, f"{own}.feed_forward.inner")
            linear(layer.ffn.linear_1, f"{own}.feed_forward.outer")
        if of["norm_place"] == "pre":
            norm(stack.layer_norm, f"{name}.norm")
    spec.register_source_vocabulary(names(len(source)))
    spec.register_target_vocabulary(names(len(target)))
    config = spec.config
    config.layer_norm_epsilon = 1e-5
    config.unk_token, config.bos_token, config.eos_token = "1", "2", "3"
    config.decoder_start_token, config.add_source_eos, config.add_source_bos = "2", True, False
    spec.validate()
    spec.optimize(quantization=None)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


def names(count: int) -> list[str]:
    """A token's name is its id: CTranslate2 wants names, and seqloom's own may be spelled as it cannot store them."""
    return [str(id) for id in range(count)]


def decode(args: argparse.Namespace) -> dict:
    import ctranslate2

    model = SeqloomModel(args.model)
    sources = read_sources(model, args.input)[: args.sentences]
    del model.weights
    limits = [length_limit(source) for source in sources]
    options = dict(beam_size=args.beam, length_penalty=1, patience=1, max_decoding_length=max(limits), min_decoding_length=0,
                   max_input_length=0, return_end_token=True)  # fmt: skip

    def translator(workers: int, threads: int) -> ctranslate2.Translator:
        return ctranslate2.Translator(
            str(args.converted), device="cpu", compute_type=args.type, inter_threads=workers, intra_threads=threads)  # fmt: skip

    tokens = [[str(id) for id in source] for source in sources]
    both = translator(args.workers, args.threads)
    both.translate_batch(tokens[:: max(1, len(tokens) // (4 * args.workers))], max_batch_size=4, **options)
    start = time.perf_counter()
    results = both.translate_batch(tokens, max_batch_size=args.rows, **options)
    seconds = time.perf_counter() - start
    outputs = [[int(id) for id in result.hypotheses[0]] for result in results]
    measured = dict(
        side="ctranslate2", type=args.type, beam=args.beam, rows=args.rows, workers=args.workers, threads=args.threads,
        sentences=len(outputs), sentences_per_s=round(len(outputs) / seconds, 2),
        output_tokens_per_s=round(sum(map(len, outputs)) / seconds, 1),
        beyond_limit=sum(len(output) > limit or output[-1:] != [3] for output, limit in zip(outputs, limits)),
        peak_gib=peak_gib())  # fmt: skip
    if args.scores:
        # Not timed: without scores greedy search needs no softmax, and a call for each limit makes small batches.
        results = [None] * len(sources)
        for limit in sorted(set(limits)):
            rows = [row for row, own in enumerate(limits) if own == limit]
            given = both.translate_batch(
                [tokens[row] for row in rows], max_batch_size=args.rows, return_scores=True,
                **{**options, "max_decoding_length": limit})  # fmt: skip
            for row, result in zip(rows, given):
                results[row] = result
        outputs = [[int(id) for id in result.hypotheses[0]] for result in results]
        sums = [result.scores[0] * len(output) for result, output in zip(results, outputs)]
        args.scores.write_text("".join(f"{score!r}\n" for score in sums), encoding="utf-8")
    if args.output:
        write_lines(args.output, [model.target.decode(output) for output in outputs])
    if args.latency:
        del both
        # A small model's single sentence can be slower on two threads than on one: the better of both counts.
        for threads in {1, args.workers * args.threads}:
            alone = translator(1, threads)
            latency = median_latency_ms(
                lambda source: alone.translate_batch([[str(id) for id in source]], **options), sources, args.latency)  # fmt: skip
            measured["latency_ms"] = min(latency, measured.get("latency_ms", latency))
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a seqloom model.safetensors")
    parser.add_argument("--input", type=Path, help="a CSV file with the model's source column; without it the model is only converted")
    parser.add_argument("--converted", type=Path, help="folder of the CTranslate2 model [default: beside the model]")
    parser.add_argument("--output", type=Path, help="output texts, one a line")
    parser.add_argument("--scores", type=Path, help="sums of log-probabilities, including EOS, one per line")
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--type", choices=["float32", "int8"], default="float32")
    parser.add_argument("--rows", type=int, default=64, help="sentences of a batch")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="threads of a worker")
    parser.add_argument("--sentences", type=int, help="decodes only the first SENTENCES of the file")
    parser.add_argument("--latency", type=int, default=0, metavar="N", help="times N sentences one at a time as well")
    args = parser.parse_args()
    args.converted = args.converted or args.model.with_name(args.model.name + ".ctranslate2")
    if not args.input:
        convert(SeqloomModel(args.model), args.converted)
        return
    # In a separate process, so that the peak is that of decoding.
    if not (args.converted / "model.bin").exists() or os.path.getmtime(args.converted / "model.bin") < os.path.getmtime(args.model):
        command = [sys.executable, __file__, "--model", str(args.model), "--converted", str(args.converted)]
        subprocess.run(command, check=True)
    print(json.dumps(decode(args)))


if __name__ == "__main__":
    main()
