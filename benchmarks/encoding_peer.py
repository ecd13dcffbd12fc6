"""Another package's encoder in a process of its own, with the interpreter that has it. `benchmarks/encoding.py` starts it.

    PYTHON benchmarks/encoding_peer.py {sentence-transformers|pylate} BACKEND FOLDER THREADS

A line `[KIND, TEXTS]` in, `answer:` and milliseconds of processor time out. Imports nothing of this package.
"""

import json
import sys
import time


def main(package: str, backend: str, folder: str, threads: str) -> None:
    import torch

    torch.set_num_threads(int(threads))
    if package == "pylate":
        from pylate.models import ColBERT

        model = ColBERT(folder, device="cpu")

        def encode(kind: str, texts: list[str]) -> None:
            model.encode(texts, is_query=kind == "query", show_progress_bar=False)

    else:
        from sentence_transformers import MultiVectorEncoder

        given = {} if backend == "torch" else {"model_kwargs": {"export": True}}
        model = MultiVectorEncoder(folder, device="cpu", backend=backend, local_files_only=True, **given)

        def encode(kind: str, texts: list[str]) -> None:
            (model.encode_query if kind == "query" else model.encode_document)(texts, show_progress_bar=False)

    print("answer:0", flush=True)
    for line in sys.stdin:
        kind, texts = json.loads(line)
        started = time.process_time()
        encode(kind, texts)
        print(f"answer:{1e3 * (time.process_time() - started)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
