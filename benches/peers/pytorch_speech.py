"""The PyTorch side of seqloom's speed comparison for recordings: a hand-tuned eager encoder-decoder on the same libtorch.

Same work for both sides: the network of configs/mandarin_speech.toml over the layers of pytorch_reference.py: two convolutions of
stride 2, a pre-norm Transformer with sinusoidal positions, a CTC head; the joint loss, dropout 0.1, label smoothing 0.1, AdamW,
clipping at 1.0, batches of at most 1,024 padded positions of the encoder (and as many of the target), bucketed by length. Features
are Kaldi's filter banks, for many frames at once. Counts seconds of audio per second,
as positions of the encoder, 40 ms each. A table is a CSV file with the columns source
(a WAV file of 16 bits, at the sample rate of the features) and target.

    pip install torch==2.11.0 numpy safetensors
    python pytorch_speech.py train  --data FOLDER --updates 40
    python pytorch_speech.py decode --data FOLDER --seqloom MODEL.safetensors --beam 5

train reads train.csv, makes all features before the timer starts, and draws neither speeds nor masks. decode reads test.csv with
the weights of a seqloom model file; its time is from WAV files to texts. It searches by the decoder alone.
"""
import argparse, csv, json, math, random, time, wave
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from pytorch_reference import BOS, EOS, PAD, Layer, beam_search, padded
from seqloom_model import SeqloomModel, peak_gib, write_lines

SECONDS_PER_POSITION = 0.04
CTC_WEIGHT = 0.5


def read_rows(folder, split):
    with open(Path(folder) / f"{split}.csv", encoding="utf-8", newline="") as file:
        return [(Path(folder) / row["source"], row["target"]) for row in csv.DictReader(file)]


class FilterBank:
    """Kaldi's log-mel filter banks without dither, in their default form: frames of 25 ms each 10 ms."""

    def __init__(self, rate=16000, bins=80):
        self.rate, self.size, self.shift = rate, rate // 40, rate // 100
        self.padded = 1 << (self.size - 1).bit_length()
        self.window = torch.hann_window(self.size, periodic=False) ** 0.85
        mel = lambda hertz: 1127.0 * torch.log1p(torch.as_tensor(hertz) / 700.0)
        place = mel(torch.arange(self.padded // 2) * (rate / self.padded))[:, None]
        edges = torch.linspace(mel(20.0), mel(rate / 2), bins + 2)
        left, centre, right = edges[:-2], edges[1:-1], edges[2:]
        self.filters = torch.minimum((place - left) / (centre - left), (right - place) / (right - centre)).clamp(min=0)

    def frames(self, path):
        """(T, samples), a view"""
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (self.rate, 1, 2), f"{path}: another format"
            samples = torch.frombuffer(bytearray(file.readframes(file.getnframes())), dtype=torch.int16)
        return samples.to(torch.float32).mul_(1 / 32768).unfold(0, self.size, self.shift)

    def __call__(self, paths):
        """(T, bins) of each recording"""
        frames = [self.frames(path) for path in paths]
        x = torch.cat(frames)                                            # (N, samples)
        x -= x.mean(1, keepdim=True)
        x = torch.cat([x[:, :1] * (1 - 0.97), x[:, 1:] - 0.97 * x[:, :-1]], 1) * self.window
        power = torch.view_as_real(torch.fft.rfft(x, self.padded)).square().sum(-1)
        x = (power[:, :-1] @ self.filters).clamp_(min=torch.finfo(torch.float32).eps).log_()
        return x.split([len(one) for one in frames])


def halved(lengths):
    return (lengths + 1) // 2


class SpeechModel(nn.Module):
    def __init__(self, vocab, d, layers, ff, heads, channels=32, bins=80, p=0.1, longest=1024):
        super().__init__()
        self.d, self.heads, self.p = d, heads, p
        # With the channels last a step takes a tenth less, and no copy is made for the linear layer.
        self.first = nn.Conv2d(1, channels, 3, 2, 1).to(memory_format=torch.channels_last)
        self.second = nn.Conv2d(channels, channels, 3, 2, 1).to(memory_format=torch.channels_last)
        self.front = nn.Linear((bins + 3) // 4 * channels, d)
        self.embed = nn.Embedding(vocab, d, padding_idx=PAD)
        nn.init.normal_(self.embed.weight, 0, d ** -0.5)
        self.enc = nn.ModuleList(Layer(d, heads, ff, p, False) for _ in range(layers[0]))
        self.dec = nn.ModuleList(Layer(d, heads, ff, p, True) for _ in range(layers[1]))
        self.enc_norm, self.dec_norm, self.ctc = nn.LayerNorm(d), nn.LayerNorm(d), nn.Linear(d, vocab)
        pos, freq = torch.arange(longest)[:, None], torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
        pe = torch.zeros(longest, d)
        pe[:, 0::2], pe[:, 1::2] = torch.sin(pos * freq), torch.cos(pos * freq)
        self.register_buffer("pe", pe, persistent=False)

    def put_in(self, ids, at=0):
        x = self.embed(ids) * self.d ** 0.5 + self.pe[at:at + ids.shape[1]]
        return F.dropout(x, self.p, self.training)

    def encode(self, source):
        frames, lengths = source
        half, quarter = halved(lengths), halved(halved(lengths))
        x = F.relu(self.first(frames[:, None]))                          # (B, C, S', F')
        x = x * (torch.arange(x.shape[2]) < half[:, None])[:, None, :, None]
        x = F.relu(self.second(x))                                       # (B, C, S'', F'')
        x = self.front(x.permute(0, 2, 3, 1).flatten(2))                 # (B, S'', D)
        x = F.dropout(x + self.pe[:x.shape[1]], self.p, self.training)
        keep = torch.arange(x.shape[1]) < quarter[:, None]
        mask = None if bool(keep.all()) else torch.zeros(keep.shape).masked_fill(~keep, float("-inf"))[:, None, None, :]
        for layer in self.enc:
            x = layer(x, mask)
        return self.enc_norm(x), mask

    def forward(self, source, tgt_in):
        memory, mask = self.encode(source)
        x = self.put_in(tgt_in)
        for layer in self.dec:
            x = layer(x, None, True, memory, mask)
        return memory, self.dec_norm(x)


class Source(tuple):
    """Frames (B, S, F) and lengths (B), with what the search asks of a source: its shape (B, positions), and its device."""

    device = torch.device("cpu")

    @property
    def shape(self):
        return self[0].shape[0], (self[0].shape[1] + 3) // 4


def joined(frames):
    return Source((nn.utils.rnn.pad_sequence(frames, batch_first=True), torch.tensor([len(x) for x in frames])))


def batches(pairs, budget, rng):
    order = sorted(range(len(pairs)), key=lambda i: (len(pairs[i][0]), len(pairs[i][1]), rng.random()))
    out, now, longest = [], [], 0
    for i in order:
        length = max((len(pairs[i][0]) + 3) // 4, len(pairs[i][1]) - 1)
        if now and max(longest, length) * (len(now) + 1) > budget:
            out.append(now)
            now, longest = [], 0
        now.append(i)
        longest = max(longest, length)
    out.append(now)
    rng.shuffle(out)
    return out


def joint_loss(model, batch):
    """The loss of [(frames, BOS, tokens, EOS)], and their seconds of sound."""
    source, tgt = joined([x for x, _ in batch]), padded([ids for _, ids in batch], "cpu")
    label = tgt[:, 1:]
    real = label != PAD
    memory, hidden = model(source, tgt[:, :-1])
    logits = F.linear(hidden[real], model.embed.weight)                  # (N, V): no padding in the softmax
    attention = F.cross_entropy(logits, label[real], label_smoothing=0.1)
    log_probs = F.log_softmax(model.ctc(memory), -1).transpose(0, 1)     # (S'', B, V)
    counts = torch.tensor([len(ids) - 2 for _, ids in batch])
    labels = torch.tensor([id for _, ids in batch for id in ids[1:-1]])
    positions = halved(halved(source[1]))
    ctc = F.ctc_loss(log_probs, labels, positions, counts, blank=PAD, reduction="sum", zero_infinity=True)
    return (1 - CTC_WEIGHT) * attention + CTC_WEIGHT * ctc / real.sum(), SECONDS_PER_POSITION * int(positions.sum())


def train(a):
    torch.manual_seed(1)
    rng = random.Random(1)
    rows = read_rows(a.data, "train")
    ids = {c: n for n, c in enumerate(sorted({c for _, text in rows for c in text}), 4)}
    frames, fbank = [], FilterBank()
    for at in range(0, len(rows), 64):
        frames += fbank([path for path, _ in rows[at:at + 64]])
    every = torch.cat(frames)
    mean, deviation = every.mean(0), every.std(0)
    pairs = [((x - mean) / deviation, [BOS] + [ids[c] for c in text] + [EOS]) for x, (_, text) in zip(frames, rows)]
    del every, frames
    model = SpeechModel(len(ids) + 4, a.width, a.layers, a.ff, a.heads).train()
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    todo = batches(pairs, a.budget, rng)
    while len(todo) < a.warmup + a.updates:
        todo += batches(pairs, a.budget, rng)
    for n, batch in enumerate(todo[:a.warmup + a.updates]):
        if n == a.warmup:
            start, sound = time.perf_counter(), 0.0
        loss, audio = joint_loss(model, [pairs[i] for i in batch])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        if n >= a.warmup:
            sound += audio
    seconds = time.perf_counter() - start
    print(json.dumps(dict(side="pytorch", audio_s_per_s=round(sound / seconds, 2), loss=round(loss.item(), 4), peak_gib=peak_gib())))


def from_seqloom(path):
    """The model of a seqloom file, and that file as it was read."""
    read = SeqloomModel(path)
    read.require("this reference", positions="sinusoidal", norm_place="pre", norm="layer_norm", activation="relu", bias=True,
                 tied_embeddings="target_output", encoder="transformer", ctc=True)
    of, w = read.transformer, {name: torch.from_numpy(value) for name, value in read.weights.items()}
    model = SpeechModel(len(read.target.tokens), of["width"], (of["encoder_layers"], of["decoder_layers"]), of["feed_forward"],
                        of["heads"], of["front_channels"], read.source.bins)
    weights = {"embed.weight": w["target_embedding.weight"]}
    norms = dict(self_attention_norm="n1", feed_forward_norm="n2", cross_attention_norm="n3")
    names = norms | {"feed_forward.inner": "f1", "feed_forward.outer": "f2"}
    for kind in ("weight", "bias"):
        for name, to in {"front.output": "front", "ctc": "ctc", "encoder.norm": "enc_norm", "decoder.norm": "dec_norm"}.items():
            weights[f"{to}.{kind}"] = w[f"{name}.{kind}"]
        for n, to in enumerate(("first", "second")):
            weights[f"{to}.{kind}"] = w[f"front.convolutions.{n}.{kind}"].view(getattr(getattr(model, to), kind).shape)
        for stack, own in (("encoder", "enc"), ("decoder", "dec")):
            for n in range(of[f"{stack}_layers"]):
                here, there = f"{stack}.layers.{n}", f"{own}.{n}"
                for name, to in names.items():
                    if f"{here}.{name}.{kind}" in w:
                        weights[f"{there}.{to}.{kind}"] = w[f"{here}.{name}.{kind}"]
                for attention, to in (("self_attention", "self_attn"), ("cross_attention", "cross_attn")):
                    if f"{here}.{attention}.key.{kind}" in w:
                        part = lambda name: w[f"{here}.{attention}.{name}.{kind}"]
                        weights[f"{there}.{to}.q.{kind}"], weights[f"{there}.{to}.out.{kind}"] = part("query"), part("output")
                        weights[f"{there}.{to}.kv.{kind}"] = torch.cat([part("key"), part("value")])
    model.load_state_dict(weights)
    read.weights.clear()
    return model.eval(), read


@torch.inference_mode()
def decode(a):
    model, read = from_seqloom(a.seqloom)
    fbank, rows = FilterBank(read.source.rate, read.source.bins), read_rows(a.data, "test")
    paths, mean, deviation = [path for path, _ in rows], torch.tensor(read.source.mean), torch.tensor(read.source.deviation)

    def texts_of(paths):
        frames = [(x - mean) / deviation for x in fbank(paths)]
        return [read.target.decode(ids) for ids in beam_search(model, joined(frames), a.beam)], sum((len(x) + 3) // 4 for x in frames)

    # Sorted by file size, which is proportional to the length, so that little is padded.
    order = sorted(range(len(paths)), key=lambda i: paths[i].stat().st_size)

    def all_texts():
        out, positions = [None] * len(paths), 0
        for at in range(0, len(order), a.rows):
            batch = order[at:at + a.rows]
            texts, count = texts_of([paths[i] for i in batch])
            positions += count
            for i, text in zip(batch, texts):
                out[i] = text
        return out, positions

    all_texts()
    start = time.perf_counter()
    out, positions = all_texts()
    seconds = time.perf_counter() - start
    if a.output:
        write_lines(Path(a.output), out)
    right = sum(text == target for text, (_, target) in zip(out, rows)) / len(rows)
    print(json.dumps(dict(side="pytorch", beam=a.beam, audio_s_per_s=round(SECONDS_PER_POSITION * positions / seconds, 2),
                          exact_match=round(right, 4), peak_gib=peak_gib())))


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=["train", "decode"])
    p.add_argument("--data", required=True); p.add_argument("--threads", type=int, default=2)
    p.add_argument("--width", type=int, default=144); p.add_argument("--layers", type=int, nargs=2, default=(4, 2))
    p.add_argument("--ff", type=int, default=576); p.add_argument("--heads", type=int, default=4)
    p.add_argument("--budget", type=int, default=1024); p.add_argument("--updates", type=int, default=40)
    p.add_argument("--warmup", type=int, default=5); p.add_argument("--beam", type=int, default=1)
    p.add_argument("--rows", type=int, default=64); p.add_argument("--output", help="a file for the texts, for decode")
    p.add_argument("--seqloom", metavar="FILE", help="a seqloom model.safetensors, for decode")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    globals()[a.what](a)
