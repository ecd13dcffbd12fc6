"""What the stop at non-finite losses and the monitor of collapse cost, against a training step.

    python benchmarks/training_guards.py --output benchmarks/training_guards.json

A student of the size of MiniLM-L6 (random weights) takes steps of 32 texts of 32 tokens; the guards see the same batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from modeling_optical.files.atomic_write import write_text
from trainer.loop.collapse import CollapseMonitor
from trainer.loop.finite_training import FiniteTraining

_TEXTS, _TOKENS, _DIM = 32, 32, 128


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median over the repeats of this process's own time, in which other programs have no part."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return round(1000 * statistics.median(taken), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = BertModel(BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536))
    optimizer = torch.optim.AdamW(model.parameters())
    texts = torch.randint(1000, 30000, (_TEXTS, _TOKENS))

    def step() -> None:
        optimizer.zero_grad()
        model(input_ids=texts).last_hidden_state.square().mean().backward()
        optimizer.step()

    student, teacher = (torch.nn.functional.normalize(torch.randn(_TEXTS, _TOKENS, _DIM), dim=-1) for _ in range(2))
    mask, loss = torch.ones(_TEXTS, _TOKENS, dtype=torch.bool), torch.tensor(1.0)
    monitor = CollapseMonitor(0.25)

    def spread() -> None:
        monitor.see(student, mask, teacher, mask)
        monitor.spread()

    with tempfile.TemporaryDirectory() as folder:
        guard = FiniteTraining(folder, 0)
        step()
        found = {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "step ms": milliseconds(step, options.repeats),
            "loss, every step, ms": milliseconds(lambda: guard.check_loss(loss, {}, {}, 0), options.repeats),
            "gradient, every update, ms": milliseconds(lambda: guard.check_gradient(model, 0), options.repeats),
            "monitor, every logging step, ms": milliseconds(spread, options.repeats),
        }
    write_text(options.output, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
