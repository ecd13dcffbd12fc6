"""Two systems of several runs, query by query: mean difference, interval, permutation test with Holm's correction.

    python benchmarks/paired.py optical pooled_mse runs/quickstart-* --metric AP@100

Reads the run files and judgements that `optical run` leaves in `runs/` of each folder; prints a Markdown table.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap, permutation_test

from modeling_optical.evaluation import per_query, read_qrels, read_run


def differences(folder: Path, first: str, second: str, collection: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Per-query values of two systems on one collection, in the same order."""
    qrels = read_qrels(folder / "runs" / f"{collection}.qrels")
    values = []
    for system in (first, second):
        run = read_run(folder / "runs" / f"{system}.{collection}.trec")
        values.append(np.array([per_query(qrels, run, [metric])[metric][query] for query in qrels]))
    return values[0], values[1]


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction."""
    order = np.argsort(p_values)
    corrected, largest = np.empty(len(p_values)), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--metric", default="AP@100")
    options = parser.parse_args()
    rows, p_values = [], []
    for folder in options.folders:
        for judgements in sorted((folder / "runs").glob("*.qrels")):
            collection = judgements.stem
            if not (folder / "runs" / f"{options.second}.{collection}.trec").is_file():
                continue
            one, two = differences(folder, options.first, options.second, collection, options.metric)
            difference = one - two
            if np.ptp(difference) == 0:
                continue
            test = permutation_test((difference,), np.mean, permutation_type="samples", n_resamples=9999, rng=0)
            interval = bootstrap((difference,), np.mean, n_resamples=5000, method="percentile", rng=0).confidence_interval
            rows.append((folder.name, collection, len(one), one.mean(), two.mean(), difference.mean(), interval))
            p_values.append(test.pvalue)
    print(f"| run | collection | queries | {options.first} | {options.second} | difference | 95 % interval | p (Holm) |")
    print("|---|---|---|---|---|---|---|---|")
    for (name, collection, count, one, two, mean, interval), p in zip(rows, holm(p_values), strict=True):
        bounds = f"[{interval.low:+.3f}, {interval.high:+.3f}]"
        chance = "< 0.001" if p < 0.001 else f"{p:.3f}"
        print(f"| {name} | {collection} | {count} | {one:.3f} | {two:.3f} | {mean:+.3f} | {bounds} | {chance} |")


if __name__ == "__main__":
    main()
