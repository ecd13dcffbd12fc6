"""colbert-ai at work, in a separate environment.

`make BACKBONE FOLDER` saves, `encode FOLDER TEXTS OUT` encodes, `answer` encodes what it is asked for on its standard input.

Run by the parity tests with the interpreter that has colbert-ai 0.2.22; imports nothing of this package.
"""

import json
import sys

import torch
from answering import answer
from colbert.infra import ColBERTConfig
from colbert.modeling.base_colbert import BaseColBERT
from colbert.modeling.checkpoint import Checkpoint
from colbert.modeling.colbert import ColBERT
from safetensors.torch import save_file

# The C++ extension is for scoring packed documents on a CPU, which takes a compiler and is not what is compared.
ColBERT.try_load_torch_extensions = classmethod(lambda cls, use_gpu: None)


def make(backbone: str, folder: str) -> None:
    torch.manual_seed(0)
    config = ColBERTConfig(dim=8, query_maxlen=32, doc_maxlen=48, model_name=backbone)
    model = BaseColBERT(backbone, colbert_config=config)
    model.save(folder)
    # What the file also says (paths, host, training) is of the machine that wrote it.
    settings = ("query_token_id", "doc_token_id", "query_token", "doc_token", "dim", "query_maxlen", "doc_maxlen",
                "mask_punctuation", "attend_to_mask_tokens", "similarity", "interaction")  # fmt: skip
    with open(f"{folder}/artifact.metadata", encoding="utf-8") as stream:
        metadata = json.load(stream)
    with open(f"{folder}/artifact.metadata", "w", encoding="utf-8") as stream:
        json.dump({key: metadata[key] for key in settings}, stream, indent=1)


def encode(folder: str, texts_file: str, out: str) -> None:
    with open(texts_file, encoding="utf-8") as stream:
        texts = json.load(stream)
    config = ColBERTConfig.from_existing(ColBERTConfig.load_from_checkpoint(folder), ColBERTConfig(checkpoint=folder))
    config.set("model_name", folder)
    model = Checkpoint(folder, colbert_config=config, verbose=0)
    if not config.mask_punctuation:
        model.skiplist = {}  # colbert-ai 0.2.22 forgets to set it, and fails
    found = {}
    for number, text in enumerate(texts["queries"]):
        found[f"queries.{number}"] = model.queryFromText([text])[0].contiguous()
    for number, text in enumerate(texts["documents"]):
        found[f"documents.{number}"] = model.docFromText([text], keep_dims=False)[0].contiguous()
    save_file(found, out)


if __name__ == "__main__":
    {"make": make, "encode": encode, "answer": lambda: answer(encode)}[sys.argv[1]](*sys.argv[2:])
