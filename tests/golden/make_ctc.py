#!/usr/bin/env python3
"""Writes tests/golden/ctc.json: torch.nn.functional.ctc_loss of small cases.

    pip install torch==2.11.0
    python3 tests/golden/make_ctc.py

The file names the version. tests/ctc.rs holds ours against it, to 1e-6: the log-probabilities are f32, the loss is computed
in f64 from them. A loss of null is infinite.
"""

import json
import math
import random
from pathlib import Path

import torch

# Frames, symbols, blank, target.
CASES = [
    (1, 2, 0, [1]),
    (1, 5, 0, []),
    (5, 4, 0, []),
    (6, 5, 0, [1, 2, 3]),
    (7, 5, 4, [0, 3, 0]),
    (7, 5, 2, [1, 1, 3, 3]),
    # As many frames as labels and repeats need.
    (3, 4, 0, [1, 2, 1]),
    (3, 4, 0, [2, 2]),
    (7, 4, 0, [1, 1, 1, 1]),
    (6, 4, 3, [0, 0, 1, 1]),
    # One too few.
    (2, 4, 0, [1, 2, 1]),
    (2, 4, 0, [2, 2]),
    (6, 4, 0, [1, 1, 1, 1]),
    # Longer ones.
    (60, 30, 0, [7, 7, 4, 29, 1, 1, 1, 12, 5, 6, 7, 8]),
    (200, 12, 11, [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6]),
]


def main() -> None:
    draw = random.Random(1)
    cases = []
    for frames, symbols, blank, target in CASES:
        logits = torch.tensor([[draw.uniform(-4, 4) for _ in range(symbols)] for _ in range(frames)])
        log_probs = logits.log_softmax(1)
        loss = torch.nn.functional.ctc_loss(
            log_probs.double().unsqueeze(1),
            torch.tensor([target], dtype=torch.long),
            torch.tensor([frames]),
            torch.tensor([len(target)]),
            blank=blank,
            reduction="sum",
        ).item()
        numbers = [[float(f"{x:.9g}") for x in row] for row in log_probs.tolist()]
        case = {"blank": blank, "target": target, "loss": None if math.isinf(loss) else loss}
        cases.append({**case, "log_probs": numbers})
    lines = ",\n".join(json.dumps(case) for case in cases)
    head = json.dumps({"torch": torch.__version__.split("+")[0]})[:-1]
    Path(__file__).with_name("ctc.json").write_text(f'{head}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
