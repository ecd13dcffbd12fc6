"""`optical encode`: token vectors of a corpus on disk, made by one process or several."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .encoders import add_encoder_options, encoder_arguments
from .launch import launch, process_rank

if TYPE_CHECKING:
    from modeling_optical.encoding.corpus import CorpusSource


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    encode = commands.add_parser(
        "encode",
        help="encode a corpus into checksummed shards",
        description="Encodes a corpus shard by shard. Stopped by anything, the same command goes on.",
    )
    encoding_options(encode)
    encode.add_argument("--output", required=True, help="folder of the encoded corpus")
    encode.add_argument("--kind", choices=("document", "query"), default="document", help="what the texts are (document)")
    encode.add_argument("--shard-size", type=int, default=1024, help="documents per shard (1024)")
    encode.add_argument("--num-processes", type=int, default=1, help="processes (GPUs, or CPU processes where there is none)")
    encode.add_argument("--verify", action="store_true", help="compare the finished shards with their checksums")
    encode.set_defaults(work=_encode)


def encoding_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", help="JSONL file with `_id` and `text`, folder in BEIR's layout, or Hub id")
    parser.add_argument("--model", required=True, help="encodes the documents: folder, Hub id or package:NAME/PATH")
    parser.add_argument("--dtype", choices=("float16", "int8", "float32"), help="as stored (float16)")
    parser.add_argument("--pool-factor", type=int, choices=(2, 3, 4), help="token pooling: keep one vector in 2, 3 or 4")
    parser.add_argument("--batch-size", type=int, default=32, help="documents per forward pass (32)")
    add_encoder_options(parser)


def _encode(options: argparse.Namespace) -> int:
    if options.num_processes > 1 and "LOCAL_RANK" not in os.environ:
        return launch(_arguments(options), options.num_processes)
    from modeling_optical import load_checkpoint
    from modeling_optical.encoding.encoded_corpus import encode_corpus

    rank, processes, place = process_rank()
    model = load_checkpoint(options.model, **encoder_arguments(options))
    model.to(place)
    encoded = encode_corpus(
        model,
        corpus_argument(options.corpus),
        options.output,
        kind=options.kind,
        dtype=options.dtype or "float16",
        pool_factor=options.pool_factor,
        shard_size=options.shard_size,
        batch_size=options.batch_size,
        rank=rank,
        num_processes=processes,
        name=options.model,
    )
    if rank == 0:
        if options.verify:
            encoded.verify()
        print(f"{len(encoded)} documents, {encoded.tokens} vectors in {len(encoded.shards)} shards: {encoded.path}")
    return 0


def _arguments(options: argparse.Namespace) -> list[str]:
    """The command's own words again, for the processes that are started."""
    words = ["encode", options.corpus, "--model", options.model, "--output", options.output, "--kind", options.kind]
    words += ["--precision", options.precision, "--backend", options.backend]
    words += ["--batch-size", str(options.batch_size), "--shard-size", str(options.shard_size)]
    words += ["--dtype", options.dtype] if options.dtype else []
    words += ["--pool-factor", str(options.pool_factor)] if options.pool_factor else []
    return words + (["--verify"] if options.verify else [])


def corpus_argument(corpus: str) -> CorpusSource:
    """A path as it is, or the documents of a data set on the Hub, as a stream."""
    if Path(corpus).expanduser().exists() or corpus.startswith((".", "/", "~")) or corpus.endswith(".jsonl"):
        return corpus
    from modeling_optical.encoding.corpus import hub_corpus

    return hub_corpus(corpus)
