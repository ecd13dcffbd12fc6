"""A teacher in other hands: an index that sentence-transformers made from it serves our queries."""

import numpy as np
import pytest

from modeling_optical import load_checkpoint, search

DOCUMENTS = ["the cat sat on the mat, and the dog barked!", "search works in English", "a good teacher", "😀", "cat " * 300]


def test_an_index_made_by_sentence_transformers_serves_our_queries(backbone):
    package = pytest.importorskip("sentence_transformers", reason="pip install 'sentence-transformers>=6'")
    if not hasattr(package, "MultiVectorEncoder"):
        pytest.skip("sentence-transformers 6 or newer is needed")
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    transformer = Transformer(backbone, max_seq_length=48)
    theirs = package.MultiVectorEncoder(modules=[transformer, MultiVectorMask(), Normalize("token_embeddings")], device="cpu")
    ours = load_checkpoint(backbone, document_length=48)
    their_vectors = theirs.encode_document(DOCUMENTS, convert_to_numpy=True, show_progress_bar=False)
    our_vectors = ours.encode_documents(DOCUMENTS)
    for one, other in zip(our_vectors, their_vectors, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    queries = ours.encode_queries(["the cat", "good teacher"])
    scores, positions = search(queries, their_vectors, k=2)
    own_scores, own_positions = search(queries, our_vectors, k=2)
    np.testing.assert_allclose(scores.numpy(), own_scores.numpy(), atol=1e-4)
    assert positions.tolist() == own_positions.tolist()
