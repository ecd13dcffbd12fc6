"""Which attention trains fastest on a CPU: forward and backward pass of a BERT of MiniLM's size, fp32 and bf16.

    OMP_NUM_THREADS=1 python benchmarks/cpu_attention.py --output benchmarks/cpu_attention.json

Weights are random: what a pass takes does not depend on them. Each figure is the least of some rounds, in which all
implementations take turns.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from modeling_optical.files.atomic_write import write_text

IMPLEMENTATIONS = ("sdpa", "eager")
PRECISIONS = ("fp32", "bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=32)
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertModel(config).train()
    rows = []
    for tokens in options.tokens:
        ids = torch.randint(5, config.vocab_size, (options.texts, tokens))
        mask = torch.ones_like(ids)
        mask[::2, -tokens // 8 :] = 0
        best: dict[tuple[str, str], float] = {}
        for round_ in range(options.rounds + 1):
            for implementation in IMPLEMENTATIONS:
                model.set_attn_implementation(implementation)
                for precision in PRECISIONS:
                    seconds = one_pass(model, ids, mask, bf16=precision == "bf16")
                    if round_:  # the first one warms up
                        key = (implementation, precision)
                        best[key] = min(best.get(key, seconds), seconds)
        row = {"tokens": tokens} | {f"{name}, {precision}": round(1000 * best[name, precision]) for name, precision in best}
        row["sdpa / eager, bf16"] = round(best["sdpa", "bf16"] / best["eager", "bf16"], 2)
        row["sdpa / eager, fp32"] = round(best["sdpa", "fp32"] / best["eager", "fp32"], 2)
        rows.append(row)
        print(row, flush=True)
    found = {"texts": options.texts, "threads": torch.get_num_threads(), "milliseconds": rows}
    write_text(options.output, json.dumps(found, indent=1) + "\n")


def one_pass(model: BertModel, ids: torch.Tensor, mask: torch.Tensor, *, bf16: bool) -> float:
    """Seconds of a forward and a backward pass."""
    began = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    hidden.float().square().mean().backward()
    seconds = time.perf_counter() - began
    model.zero_grad()
    return seconds


if __name__ == "__main__":
    main()
