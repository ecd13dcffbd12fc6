"""PyLate at work, in a separate environment.

`make BACKBONE FOLDER` saves a model, `encode FOLDER TEXTS OUT` encodes, `answer` encodes what it is asked for on its standard
input.

Run by the parity tests with the interpreter that has PyLate 1.6; imports nothing of this package.
"""

import json
import sys

import torch
from answering import answer
from pylate import models
from safetensors.torch import save_file


def make(backbone: str, folder: str) -> None:
    torch.manual_seed(0)
    model = models.ColBERT(backbone, embedding_size=8, query_length=32, document_length=48, device="cpu")
    model.save(folder, create_model_card=False)


def encode(folder: str, texts_file: str, out: str) -> None:
    with open(texts_file, encoding="utf-8") as stream:
        texts = json.load(stream)
    model = models.ColBERT(folder, device="cpu")
    found = {}
    for kind in ("queries", "documents"):
        # One by one: PyLate pads a batch of queries alike, but an empty document in a batch hides nothing this way.
        for number, text in enumerate(texts[kind]):
            vectors = model.encode([text], is_query=kind == "queries", convert_to_numpy=True, show_progress_bar=False)[0]
            found[f"{kind}.{number}"] = torch.as_tensor(vectors).contiguous()
    save_file(found, out)


if __name__ == "__main__":
    {"make": make, "encode": encode, "answer": lambda: answer(encode)}[sys.argv[1]](*sys.argv[2:])
