"""sentence-transformers at work.

`make BACKBONE FOLDER` saves a `MultiVectorEncoder`, `encode FOLDER TEXTS OUT` encodes, `answer` encodes what it is asked for on
its standard input.
"""

import json
import string
import sys

import torch
from answering import answer
from safetensors.torch import save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask


def make(backbone: str, folder: str) -> None:
    torch.manual_seed(0)
    transformer = Transformer(backbone, document_length=48)
    hidden = transformer.get_embedding_dimension()
    dense = Dense(hidden, 8, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings")
    mask = MultiVectorMask(skiplist_words=list(string.punctuation))
    model = MultiVectorEncoder(modules=[transformer, dense, mask, Normalize("token_embeddings")], device="cpu")
    model.save(folder, create_model_card=False)


def encode(folder: str, texts_file: str, out: str) -> None:
    with open(texts_file, encoding="utf-8") as stream:
        texts = json.load(stream)
    model = MultiVectorEncoder(folder, device="cpu", local_files_only=True)
    found = {}
    for kind, encode_texts in (("queries", model.encode_query), ("documents", model.encode_document)):
        for number, vectors in enumerate(encode_texts(texts[kind], convert_to_numpy=True, show_progress_bar=False)):
            found[f"{kind}.{number}"] = torch.as_tensor(vectors).contiguous()
    save_file(found, out)


if __name__ == "__main__":
    {"make": make, "encode": encode, "answer": lambda: answer(encode)}[sys.argv[1]](*sys.argv[2:])
