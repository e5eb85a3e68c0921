"""Writes the golden files: reference numbers of PyTorch that seqloom must reproduce.

    python3 -m venv env && env/bin/pip install torch==2.11.0 numpy==2.4.6 safetensors==0.8.0
    env/bin/python tests/golden/make_golden.py          # writes beside itself, in a few seconds

The files in the repository come from Python 3.11.7 with those versions, on a CPU, in float32, on one
thread, all dropout off. Another version of PyTorch may draw or round differently in the last bits; the
script prints how far float32 is from the same run in float64, so that a tolerance can be judged.

Attention, norms, ReLU, GELU, SiLU, GRUs, embeddings, losses and AdamW are PyTorch's own modules. Written out by
hand, because PyTorch has none: sinusoidal positions, rotary positions, SwiGLU, dot attention, and the frame around
the layers.

Each model file holds
    metadata `config`   JSON: the fields of seqloom's TransformerConfig, or of its RecurrentConfig and `network`, and
                        source_vocabulary, target_vocabulary
    weights/NAME        the parameters under seqloom's names
    gradients/NAME      of `loss`
    source (B, S), target_in (B, T), labels (B, T)      int64, padded with 0
    logits (B, T, V), loss (label smoothing 0.1), nll   float32, means over the labels that are no padding, of a softmax
                        over the tokens that an output may contain: all but <pad> and <bos>
The gradient of row 0 of a tied matrix is kept as PyTorch has it: the look-up adds nothing (`padding_idx`),
the output layer does.
"""

import copy
import json
import math
import os

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
PAD, UNK, BOS, EOS = 0, 1, 2, 3
SMOOTHING = 0.1

DEFAULTS = dict(
    width=8,
    heads=2,
    feed_forward=12,
    encoder_layers=1,
    decoder_layers=1,
    dropout=0.1,  # only in the config: no number here depends on it
    positions="sinusoidal",
    max_positions=16,
    norm_place="pre",
    norm="layer_norm",
    activation="relu",
    bias=True,
    tied_embeddings="target_output",
)

# One difference per case, so that a failure names its cause; the last ones mix.
CASES = {
    "pre_relu_sinusoidal": {},
    "post_norm": dict(norm_place="post"),
    "gelu": dict(activation="gelu"),
    "silu": dict(activation="silu"),
    "swiglu": dict(activation="swiglu"),
    "rms_norm": dict(norm="rms_norm"),
    "no_bias": dict(bias=False),
    "learned": dict(positions="learned"),
    "rotary": dict(positions="rotary"),
    "no_positions": dict(positions="none"),
    "untied": dict(tied_embeddings="none"),
    "tied_all": dict(tied_embeddings="all"),
    "two_layers": dict(width=16, encoder_layers=2, decoder_layers=2),
    "modern": dict(
        width=16, encoder_layers=2, positions="rotary", norm="rms_norm", activation="swiglu", bias=False, tied_embeddings="all"
    ),
}


RECURRENT = dict(
    network="recurrent", width=8, encoder_layers=2, decoder_layers=2, dropout=0.1, tied_embeddings="target_output"
)


# --- What PyTorch lacks ------------------------------------------------------------------------------


def sinusoidal(length, width, dtype):
    """Vaswani et al. 2017, 3.5: sine in the even columns, cosine in the odd ones; (length, width)."""
    table = torch.zeros(length, width, dtype=torch.float64)
    for position in range(length):
        for pair in range(width // 2):
            angle = position / 10000 ** (2 * pair / width)
            table[position, 2 * pair] = math.sin(angle)
            table[position, 2 * pair + 1] = math.cos(angle)
    return table.to(dtype)


def rotated(x):
    """Su et al. 2021 in the half-split form of GPT-NeoX and Llama; x is (B, H, length, K)."""
    length, head = x.shape[-2:]
    half = head // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


class Variants:
    """Mixed into PyTorch's layers: the parts that they do not have, in place of their own."""

    def adapt(self, config):
        self.rotary = config["positions"] == "rotary"
        width, inner, bias = config["width"], config["feed_forward"], config["bias"]
        self.gate = nn.Linear(width, inner, bias=bias) if config["activation"] == "swiglu" else None
        if config["norm"] == "rms_norm":
            for name in ("norm1", "norm2", "norm3"):
                if hasattr(self, name):
                    setattr(self, name, nn.RMSNorm(width, eps=1e-5))
        return self

    def _ff_block(self, x):
        if self.gate is None:
            return super()._ff_block(x)
        return self.linear2(F.silu(self.gate(x)) * self.linear1(x))

    def _sa_block(self, x, attn_mask, key_padding_mask, is_causal=False):
        if not self.rotary:
            return super()._sa_block(x, attn_mask, key_padding_mask, is_causal)
        attention, (batch, length, width) = self.self_attn, x.shape
        heads = attention.num_heads
        projected = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = (
            part.view(batch, length, heads, width // heads).transpose(1, 2) for part in projected.chunk(3, dim=-1)
        )
        scores = rotated(query) @ rotated(key).transpose(-2, -1) / math.sqrt(width // heads)  # (B, H, L, L)
        if attn_mask is not None:
            scores = scores.masked_fill(attn_mask, -math.inf)
        if key_padding_mask is not None:  # PyTorch's layer has made it additive: 0 or -inf
            scores = scores + key_padding_mask[:, None, None, :]
        mixed = scores.softmax(-1) @ value  # (B, H, L, K)
        return attention.out_proj(mixed.transpose(1, 2).reshape(batch, length, width))


class EncoderLayer(Variants, nn.TransformerEncoderLayer):
    pass


class DecoderLayer(Variants, nn.TransformerDecoderLayer):
    pass


# --- The model ---------------------------------------------------------------------------------------


def layers(kind, count, config):
    activation = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu, "swiglu": F.silu}[config["activation"]]
    make = lambda: kind(
        config["width"],
        config["heads"],
        config["feed_forward"],
        dropout=0.0,
        activation=activation,
        layer_norm_eps=1e-5,
        batch_first=True,
        norm_first=config["norm_place"] == "pre",
        bias=config["bias"],
    ).adapt(config)
    return nn.ModuleList(make() for _ in range(count))


def final_norm(config):
    if config["norm_place"] == "post":
        return None
    if config["norm"] == "rms_norm":
        return nn.RMSNorm(config["width"], eps=1e-5)
    return nn.LayerNorm(config["width"], eps=1e-5, bias=config["bias"])


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, width = config, config["width"]
        self.target_embedding = nn.Embedding(config["target_vocabulary"], width, padding_idx=PAD)
        self.source_embedding = self.target_embedding
        if config["tied_embeddings"] != "all":
            self.source_embedding = nn.Embedding(config["source_vocabulary"], width, padding_idx=PAD)
        self.output = None
        if config["tied_embeddings"] == "none":
            self.output = nn.Linear(width, config["target_vocabulary"], bias=False)
        self.encoder = layers(EncoderLayer, config["encoder_layers"], config)
        self.decoder = layers(DecoderLayer, config["decoder_layers"], config)
        self.encoder_norm, self.decoder_norm = final_norm(config), final_norm(config)
        learned = config["positions"] == "learned"
        self.encoder_positions = nn.Embedding(config["max_positions"], width) if learned else None
        self.decoder_positions = nn.Embedding(config["max_positions"], width) if learned else None

    def embed(self, tokens, embedding, positions):
        x = embedding(tokens) * math.sqrt(self.config["width"])
        length = tokens.shape[1]
        if self.config["positions"] == "sinusoidal":
            x = x + sinusoidal(length, self.config["width"], x.dtype)
        if self.config["positions"] == "learned":
            x = x + positions(torch.arange(length))
        return x

    def forward(self, source, target_in):
        padding = source == PAD
        memory = self.embed(source, self.source_embedding, self.encoder_positions)
        for layer in self.encoder:
            memory = layer(memory, src_key_padding_mask=padding)
        if self.encoder_norm is not None:
            memory = self.encoder_norm(memory)
        length = target_in.shape[1]
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        x = self.embed(target_in, self.target_embedding, self.decoder_positions)
        for layer in self.decoder:
            x = layer(x, memory, tgt_mask=future, memory_key_padding_mask=padding)
        if self.decoder_norm is not None:
            x = self.decoder_norm(x)
        return F.linear(x, self.target_embedding.weight if self.output is None else self.output.weight)


class RecurrentModel(nn.Module):
    """Bidirectional GRU, GRU with dot attention (Luong et al. 2015), the attentional state read by the output alone."""

    def __init__(self, config):
        super().__init__()
        self.config, width = config, config["width"]
        self.source_embedding = nn.Embedding(config["source_vocabulary"], width, padding_idx=PAD)
        self.target_embedding = nn.Embedding(config["target_vocabulary"], width, padding_idx=PAD)
        self.encoder = nn.GRU(width, width // 2, config["encoder_layers"], batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(width, width, config["decoder_layers"], batch_first=True)
        self.initial = nn.ModuleList(nn.Linear(width, width) for _ in range(config["decoder_layers"]))
        self.attentional = nn.Linear(2 * width, width)

    def forward(self, source, target_in):
        scale, lengths = math.sqrt(self.config["width"]), (source != PAD).sum(1)
        packed = nn.utils.rnn.pack_padded_sequence(
            self.source_embedding(source) * scale, lengths, batch_first=True, enforce_sorted=False
        )
        packed, ends = self.encoder(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)  # (B, S, D)
        ends = torch.cat([ends[-2], ends[-1]], dim=-1)  # (B, D): what both directions of the last layer end in
        first = torch.stack([torch.tanh(initial(ends)) for initial in self.initial])
        x, _ = self.decoder(self.target_embedding(target_in) * scale, first)  # (B, T, D)
        scores = x @ memory.transpose(1, 2)  # (B, T, S)
        scores = scores.masked_fill((source == PAD)[:, None, :], -math.inf)
        attentional = torch.tanh(self.attentional(torch.cat([scores.softmax(-1) @ memory, x], dim=-1)))
        return F.linear(attentional, self.target_embedding.weight)


def randomize(model, generator):
    """Weights of a trained model's size, and nothing symmetric: no bias is zero, no norm is one."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        with torch.no_grad():
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.3 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(noise / math.sqrt(parameter.shape[1]))
                if "_embedding" in name:
                    parameter[PAD] = 0
                    parameter[BOS::2] *= 0.05  # so small that an epsilon of the norms other than 1e-5 shows


# --- seqloom's names ---------------------------------------------------------------------------------


def add(named, name, module):
    if module is not None:
        named[f"{name}.weight"] = lambda of: of(module.weight)
        if getattr(module, "bias", None) is not None:
            named[f"{name}.bias"] = lambda of: of(module.bias)


def add_attention(named, name, attention):
    """PyTorch keeps query, key and value in one packed matrix."""
    for index, part in enumerate(("query", "key", "value")):
        named[f"{name}.{part}.weight"] = lambda of, i=index: of(attention.in_proj_weight).chunk(3)[i]
        if attention.in_proj_bias is not None:
            named[f"{name}.{part}.bias"] = lambda of, i=index: of(attention.in_proj_bias).chunk(3)[i]
    add(named, f"{name}.output", attention.out_proj)


def add_layer(named, name, layer):
    add_attention(named, f"{name}.self_attention", layer.self_attn)
    add(named, f"{name}.self_attention_norm", layer.norm1)
    decodes = isinstance(layer, nn.TransformerDecoderLayer)
    if decodes:
        add_attention(named, f"{name}.cross_attention", layer.multihead_attn)
        add(named, f"{name}.cross_attention_norm", layer.norm2)
    add(named, f"{name}.feed_forward.inner", layer.linear1)
    add(named, f"{name}.feed_forward.gate", layer.gate)
    add(named, f"{name}.feed_forward.outer", layer.linear2)
    add(named, f"{name}.feed_forward_norm", layer.norm3 if decodes else layer.norm2)


def add_gru(named, name, gru, suffix):
    """PyTorch calls the matrices of a layer and direction weight_ih_l0, weight_hh_l0_reverse and so on."""
    for part, short in (("input", "ih"), ("hidden", "hh")):
        for kind in ("weight", "bias"):
            parameter = getattr(gru, f"{kind}_{short}_l{suffix}")
            named[f"{name}.{part}.{kind}"] = lambda of, parameter=parameter: of(parameter)


def recurrent_names(model):
    named = {}
    add(named, "source_embedding", model.source_embedding)
    add(named, "target_embedding", model.target_embedding)
    for index in range(model.config["encoder_layers"]):
        add_gru(named, f"encoder.layers.{index}.forward", model.encoder, index)
        add_gru(named, f"encoder.layers.{index}.backward", model.encoder, f"{index}_reverse")
    for index, initial in enumerate(model.initial):
        add(named, f"decoder.layers.{index}.initial", initial)
        add_gru(named, f"decoder.layers.{index}", model.decoder, index)
    add(named, "decoder.attentional", model.attentional)
    return named


def names(model):
    """seqloom's name -> a function that takes that part out of the weights, or out of the gradients."""
    if isinstance(model, RecurrentModel):
        return recurrent_names(model)
    named = {}
    if model.config["tied_embeddings"] == "all":
        add(named, "shared_embedding", model.target_embedding)
    else:
        add(named, "source_embedding", model.source_embedding)
        add(named, "target_embedding", model.target_embedding)
    add(named, "output", model.output)
    for stack in ("encoder", "decoder"):
        add(named, f"{stack}.positions", getattr(model, f"{stack}_positions"))
        for index, layer in enumerate(getattr(model, stack)):
            add_layer(named, f"{stack}.layers.{index}", layer)
        add(named, f"{stack}.norm", getattr(model, f"{stack}_norm"))
    return named


# --- The files ---------------------------------------------------------------------------------------


def padded(rows):
    length = max(map(len, rows))
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])


def batch(config, generator):
    """Three pairs of different lengths; the longest source is not the longest target."""

    def tokens(count, vocabulary):
        return torch.randint(EOS + 1, vocabulary, (count,), generator=generator).tolist()

    sources = [tokens(count, config["source_vocabulary"]) for count in (5, 3, 1)]
    targets = [tokens(count, config["target_vocabulary"]) for count in (3, 6, 2)]
    sources[0][2] = targets[1][4] = UNK
    return (
        padded([row + [EOS] for row in sources]),
        padded([[BOS] + row for row in targets]),
        padded([row + [EOS] for row in targets]),
    )


def mean_loss(logits, labels, smoothing):
    allowed = torch.cat([logits[..., UNK : UNK + 1], logits[..., EOS:]], dim=-1).flatten(0, 1)  # (B * T, V - 2)
    places = torch.where(labels == UNK, 0, labels - EOS + 1).masked_fill(labels == PAD, -100).flatten()
    return F.cross_entropy(allowed, places, ignore_index=-100, label_smoothing=smoothing)


def run(model, source, target_in, labels):
    """Logits, loss, nll, weights and gradients under seqloom's names."""
    model.zero_grad()
    logits = model(source, target_in)
    loss = mean_loss(logits, labels, SMOOTHING)
    loss.backward()
    numbers = {"logits": logits.detach(), "loss": loss.detach(), "nll": mean_loss(logits, labels, 0.0).detach()}
    for name, take in names(model).items():
        numbers[f"weights/{name}"] = take(lambda parameter: parameter.detach())
        numbers[f"gradients/{name}"] = take(lambda parameter: parameter.grad)
    return numbers


def difference(numbers, exact):
    return max((numbers[name].double() - exact[name]).abs().max().item() for name in numbers)


def write(name, tensors, config):
    path = os.path.join(HERE, f"{name}.safetensors")
    tensors = {key: value.clone().contiguous() for key, value in tensors.items()}
    save_file(tensors, path, metadata={"config": json.dumps(config)})
    os.chmod(path, 0o644)
    return os.path.getsize(path)


def write_model(seed, name, kind, config):
    generator = torch.Generator().manual_seed(seed)
    config["source_vocabulary"] = 13 if config["tied_embeddings"] == "all" else 11
    config["target_vocabulary"] = 13
    model = kind(config)  # in training mode: in eval mode PyTorch takes another, fused path
    randomize(model, generator)
    data = batch(config, generator)
    numbers = run(model, *data)
    taken = sum(value.numel() for key, value in numbers.items() if key.startswith("weights/"))
    assert taken == sum(parameter.numel() for parameter in model.parameters()), "a parameter has no name"
    off = difference(numbers, run(copy.deepcopy(model).double(), *data))
    size = write(name, {**numbers, **dict(zip(("source", "target_in", "labels"), data))}, config)
    print(f"{name:20} {size:7} bytes, {taken:5} weights, loss {numbers['loss']:.6f}, float32 off by {off:.1e}")


def write_loss():
    """loss/logits, loss/labels, and for three smoothings loss/value_E and loss/gradient_E (of the logits)."""
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(3, 6, 13, generator=generator)
    labels = torch.randint(1, 13, (3, 6), generator=generator)
    labels[labels == BOS] = EOS  # no output contains <bos>
    labels[0, 4:] = labels[2, 1:] = PAD
    tensors, off = {"loss/logits": logits, "loss/labels": labels}, 0.0
    for smoothing in (0.0, 0.1, 0.3):
        both = {}
        for dtype in (torch.float32, torch.float64):
            scores = logits.to(dtype, copy=True).requires_grad_()
            value = mean_loss(scores, labels, smoothing)
            value.backward()
            both[dtype] = {f"loss/value_{smoothing}": value.detach(), f"loss/gradient_{smoothing}": scores.grad}
        tensors.update(both[torch.float32])
        off = max(off, difference(both[torch.float32], both[torch.float64]))
    size = write("loss", tensors, {"smoothing": [0.0, 0.1, 0.3]})
    print(f"{'loss':20} {size:7} bytes, float32 off by {off:.1e}")


ADAMW = dict(beta1=0.9, beta2=0.98, epsilon=1e-8, weight_decay=0.1, steps=10)


def adamw_steps(dtype, initial, gradients, rates):
    parameters = {name: nn.Parameter(value.to(dtype, copy=True)) for name, value in initial.items()}
    decays = {"matrix.weight": ADAMW["weight_decay"], "tensor.weight": ADAMW["weight_decay"], "vector.bias": 0.0}
    groups = [dict(params=[parameters[name]], weight_decay=decays[name]) for name in initial]
    betas = (ADAMW["beta1"], ADAMW["beta2"])
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=betas, eps=ADAMW["epsilon"])
    after = {}
    for step in range(ADAMW["steps"]):
        for group in optimizer.param_groups:
            group["lr"] = rates[step].item()
        for name, parameter in parameters.items():
            parameter.grad = gradients[name][step].to(dtype)
        optimizer.step()
        for name, parameter in parameters.items():
            after.setdefault(name, []).append(parameter.detach().clone())
    return {f"adamw/after/{name}": torch.stack(values) for name, values in after.items()}


def write_adamw():
    """10 steps on two matrices with weight decay and a bias without; one learning rate per step.

    adamw/learning_rate (10) f64; adamw/initial/NAME; adamw/gradient/NAME and adamw/after/NAME (10, ...).
    """
    generator = torch.Generator().manual_seed(2)
    shapes = {"matrix.weight": (3, 4), "tensor.weight": (5, 2), "vector.bias": (5,)}
    initial = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    gradients = {name: torch.randn(ADAMW["steps"], *shape, generator=generator) for name, shape in shapes.items()}
    gradients["tensor.weight"][:, 1] = 0  # a row that no batch touched: only the decay moves it
    gradients["matrix.weight"][:, 0] *= 1e-6  # where epsilon shows
    rates = 0.05 * torch.linspace(0.1, 1.0, ADAMW["steps"], dtype=torch.float64)
    after = adamw_steps(torch.float32, initial, gradients, rates)
    off = difference(after, adamw_steps(torch.float64, initial, gradients, rates))
    tensors = {"adamw/learning_rate": rates, **after}
    tensors.update({f"adamw/initial/{name}": value for name, value in initial.items()})
    tensors.update({f"adamw/gradient/{name}": value for name, value in gradients.items()})
    size = write("adamw", tensors, ADAMW)
    print(f"{'adamw':20} {size:7} bytes, float32 off by {off:.1e}")


def main():
    torch.set_num_threads(1)
    for index, (name, changes) in enumerate(CASES.items()):
        write_model(1000 + index, name, Model, {**DEFAULTS, **changes})
    write_loss()
    write_adamw()
    write_model(3, "recurrent", RecurrentModel, dict(RECURRENT))


if __name__ == "__main__":
    main()
