"""Corpora as token vectors: readers, shards on disk, token pooling, texts and words."""

from .encoded_corpus import EncodedCorpus, Encoder, encode_corpus

__all__ = ["EncodedCorpus", "Encoder", "encode_corpus"]
