"""Writes speech.safetensors: PyTorch's numbers of a network that reads frames, which seqloom must reproduce.

    python3 -m venv env && env/bin/pip install torch==2.11.0 numpy==2.4.6 safetensors==0.8.0
    env/bin/python tests/golden/make_speech.py          # writes beside itself, in a few seconds

The file in the repository comes from Python 3.11.7 with those versions, on a CPU, in float32, on one thread, all
dropout off. The script prints how far float32 is from the same run in float64.

Two convolutions in front of the encoder (as WeNet's Conv2dSubsampling4, with zero padding), Conformer blocks (Gulati et
al. 2020) with a LayerNorm in place of the BatchNorm, a CTC head, and a Transformer decoder. Convolutions, attention,
norms, activations, the decoder's layers and both losses are PyTorch's own. Written out by hand: the frame around them,
and that all behind a row's end is zero before a convolution.

    metadata `config`   JSON: the fields of seqloom's TransformerConfig, source_bins and target_vocabulary
    weights/NAME        the parameters under seqloom's names
    gradients/NAME      of `loss`
    source (B, S, F) float32, lengths (B) int64          frames, padded with zeros
    target_in (B, T), labels (B, T)                      int64, padded with 0
    logits (B, T, V), ctc_logits (B, S'', V), positions (B) int64, the real ones of S''
    attention_loss      label smoothing 0.1, summed over the labels that are no padding
    ctc_loss            summed over the rows; the last row has no alignment and counts for nothing
    loss                0.7 * attention_loss + 0.3 * ctc_loss
"""

import copy
import math

import torch
import torch.nn.functional as F
from make_golden import BOS, EOS, PAD, SMOOTHING, add, add_attention, add_layer, difference, mean_loss, padded
from make_golden import randomize, sinusoidal, write
from torch import nn

CTC_WEIGHT = 0.3

CONFIG = dict(
    width=8,
    heads=2,
    feed_forward=12,
    encoder="conformer",
    convolution_kernel=3,
    front_channels=3,
    ctc=True,
    encoder_layers=2,
    decoder_layers=1,
    dropout=0.0,
    source_bins=10,
    target_vocabulary=9,
)
FRAMES = (23, 14, 9, 5)
TARGETS = ([4, 4, 5], [6, 5, 7, 8], [6, 8], [4, 5, 7])  # the last one needs 3 positions, and there are 2


def real(lengths, longest, dtype):
    """One at real places, zero at padding: (B, longest)"""
    return (torch.arange(longest)[None, :] < lengths[:, None]).to(dtype)


def halved(lengths):
    return (lengths + 1) // 2


class Front(nn.Module):
    def __init__(self, config):
        super().__init__()
        channels = config["front_channels"]
        self.first = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.output = nn.Linear((config["source_bins"] + 3) // 4 * channels, config["width"])

    def forward(self, source, lengths):
        def cut(x, lengths):
            return x * real(lengths, x.shape[2], x.dtype)[:, None, :, None]

        x = F.relu(self.first(cut(source[:, None], lengths)))  # (B, C, S', F')
        x = F.relu(self.second(cut(x, halved(lengths))))  # (B, C, S'', F'')
        return self.output(x.permute(0, 2, 3, 1).flatten(2)), halved(halved(lengths))


class FeedForward(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.inner = nn.Linear(config["width"], config["feed_forward"])
        self.outer = nn.Linear(config["feed_forward"], config["width"])

    def forward(self, x):
        return self.outer(F.relu(self.inner(x)))


class Convolution(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, kernel = config["width"], config["convolution_kernel"]
        self.inner = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.outer = nn.Linear(width, width)

    def forward(self, x, real):
        x = F.glu(self.inner(x)) * real
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.outer(F.silu(self.norm(x)))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config["width"]
        self.first_feed_forward, self.first_feed_forward_norm = FeedForward(config), nn.LayerNorm(width)
        self.self_attention = nn.MultiheadAttention(width, config["heads"], batch_first=True)
        self.self_attention_norm = nn.LayerNorm(width)
        self.convolution, self.convolution_norm = Convolution(config), nn.LayerNorm(width)
        self.feed_forward, self.feed_forward_norm = FeedForward(config), nn.LayerNorm(width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x, real):
        x = x + 0.5 * self.first_feed_forward(self.first_feed_forward_norm(x))
        y = self.self_attention_norm(x)
        x = x + self.self_attention(y, y, y, key_padding_mask=real[..., 0] == 0, need_weights=False)[0]
        x = x + self.convolution(self.convolution_norm(x), real)
        x = x + 0.5 * self.feed_forward(self.feed_forward_norm(x))
        return self.norm(x)


class DecoderLayer(nn.TransformerDecoderLayer):
    gate = None


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, width, vocabulary = config, config["width"], config["target_vocabulary"]
        self.front = Front(config)
        self.encoder = nn.ModuleList(Block(config) for _ in range(config["encoder_layers"]))
        self.encoder_norm = nn.LayerNorm(width)
        self.ctc = nn.Linear(width, vocabulary)
        self.target_embedding = nn.Embedding(vocabulary, width, padding_idx=PAD)
        self.decoder = nn.ModuleList(
            DecoderLayer(width, config["heads"], config["feed_forward"], dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(config["decoder_layers"])
        )
        self.decoder_norm = nn.LayerNorm(width)

    def forward(self, source, lengths, target_in):
        """Logits of the decoder and of the CTC head, and the real positions of each row."""
        x, positions = self.front(source, lengths)
        inside = real(positions, x.shape[1], x.dtype)[..., None]
        x = x + sinusoidal(x.shape[1], self.config["width"], x.dtype)
        for block in self.encoder:
            x = block(x, inside)
        memory = self.encoder_norm(x)
        length = target_in.shape[1]
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        x = self.target_embedding(target_in) * math.sqrt(self.config["width"])
        x = x + sinusoidal(length, self.config["width"], x.dtype)
        for layer in self.decoder:
            x = layer(x, memory, tgt_mask=future, memory_key_padding_mask=inside[..., 0] == 0)
        logits = F.linear(self.decoder_norm(x), self.target_embedding.weight)
        return logits, self.ctc(memory), positions


# --- seqloom's names ---------------------------------------------------------------------------------


def add_kernel(named, name, convolution):
    """seqloom has the kernels of a convolution as a matrix, one row for each channel that it makes."""
    named[f"{name}.weight"] = lambda of: of(convolution.weight).flatten(1)
    named[f"{name}.bias"] = lambda of: of(convolution.bias)


def names(model):
    named = {}
    add_kernel(named, "front.convolutions.0", model.front.first)
    add_kernel(named, "front.convolutions.1", model.front.second)
    add(named, "front.output", model.front.output)
    for index, block in enumerate(model.encoder):
        name = f"encoder.layers.{index}"
        for part in ("first_feed_forward", "feed_forward"):
            add(named, f"{name}.{part}.inner", getattr(block, part).inner)
            add(named, f"{name}.{part}.outer", getattr(block, part).outer)
        add_attention(named, f"{name}.self_attention", block.self_attention)
        for part in ("inner", "norm", "outer"):
            add(named, f"{name}.convolution.{part}", getattr(block.convolution, part))
        add_kernel(named, f"{name}.convolution.depthwise", block.convolution.depthwise)
        for part in ("first_feed_forward", "self_attention", "convolution", "feed_forward"):
            add(named, f"{name}.{part}_norm", getattr(block, f"{part}_norm"))
        add(named, f"{name}.norm", block.norm)
    add(named, "encoder.norm", model.encoder_norm)
    add(named, "ctc", model.ctc)
    add(named, "target_embedding", model.target_embedding)
    for index, layer in enumerate(model.decoder):
        add_layer(named, f"decoder.layers.{index}", layer)
    add(named, "decoder.norm", model.decoder_norm)
    return named


# --- The file ----------------------------------------------------------------------------------------


def losses(logits, ctc_logits, positions, labels):
    """Sums: of attention, and of CTC with PAD as the blank."""
    attention = mean_loss(logits, labels, SMOOTHING) * (labels != PAD).sum()
    lengths = torch.tensor([len(row) for row in TARGETS])
    targets = torch.tensor([token for row in TARGETS for token in row])
    log_p = ctc_logits.log_softmax(-1).transpose(0, 1)
    return attention, F.ctc_loss(log_p, targets, positions, lengths, blank=PAD, reduction="sum", zero_infinity=True)


def run(model, source, lengths, target_in, labels):
    """All that the file holds but the batch, under seqloom's names."""
    model.zero_grad()
    source = source.to(next(model.parameters()).dtype)
    logits, ctc_logits, positions = model(source, lengths, target_in)
    attention, ctc = losses(logits, ctc_logits, positions, labels)
    loss = (1 - CTC_WEIGHT) * attention + CTC_WEIGHT * ctc
    loss.backward()
    numbers = dict(logits=logits, ctc_logits=ctc_logits, attention_loss=attention, ctc_loss=ctc, loss=loss)
    numbers = {name: value.detach() for name, value in numbers.items()}
    for name, take in names(model).items():
        numbers[f"weights/{name}"] = take(lambda parameter: parameter.detach())
        numbers[f"gradients/{name}"] = take(lambda parameter: parameter.grad)
    return numbers, positions


def batch(generator):
    longest = max(FRAMES)
    source = torch.zeros(len(FRAMES), longest, CONFIG["source_bins"])
    for row, frames in enumerate(FRAMES):
        source[row, :frames] = torch.randn(frames, CONFIG["source_bins"], generator=generator)
    target_in, labels = padded([[BOS] + row for row in TARGETS]), padded([row + [EOS] for row in TARGETS])
    return source, torch.tensor(FRAMES), target_in, labels


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(4)
    model = Model(CONFIG)  # in training mode: in eval mode PyTorch takes another, fused path
    randomize(model, generator)
    data = batch(generator)
    numbers, positions = run(model, *data)
    taken = sum(value.numel() for key, value in numbers.items() if key.startswith("weights/"))
    assert taken == sum(parameter.numel() for parameter in model.parameters()), "a parameter has no name"
    exact, _ = run(copy.deepcopy(model).double(), *data)
    off = difference(numbers, exact)
    given = dict(zip(("source", "lengths", "target_in", "labels"), data))
    size = write("speech", {**numbers, **given, "positions": positions}, CONFIG)
    print(f"speech {size} bytes, {taken} weights, loss {numbers['loss']:.6f}, float32 off by {off:.1e}")


if __name__ == "__main__":
    main()
