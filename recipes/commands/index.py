"""`optical index`: an index of a corpus, ready to be searched and served."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from .encode import corpus_argument, encoding_options
from .encoders import device, encoder_arguments, say_who_encodes


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    index = commands.add_parser(
        "index",
        help="index a corpus",
        description="Encodes and indexes a corpus. Stopped while encoding, the same command goes on.",
    )
    encoding_options(index)
    index.add_argument("--output", required=True, help="folder of the index")
    index.add_argument("--engine", choices=("exact", "lancedb", "qdrant", "two-stage"), help="see docs/retrieval.md (exact)")
    index.add_argument(
        "--setting", action="append", default=[], metavar="key=value", help="setting of the engine; may be repeated"
    )
    index.add_argument(
        "--encoded", metavar="DIR", help="what `optical encode` made of this corpus, instead of encoding it here"
    )
    change = index.add_mutually_exclusive_group()
    change.add_argument("--add", action="store_true", help="add the corpus to the index in --output")
    change.add_argument("--overwrite", action="store_true", help="replace the index in --output when the new one is whole")
    index.set_defaults(work=_index)


def _index(options: argparse.Namespace) -> int:
    from modeling_optical import OpticalRetriever
    from modeling_optical.encoding.encoded_corpus import EncodedCorpus

    retriever = OpticalRetriever.from_pretrained(options.model, device=device(), **encoder_arguments(options))
    say_who_encodes(retriever.query_model.config, options.model)
    corpus = corpus_argument(options.corpus)
    settings = engine_settings(options.setting)
    if options.add:
        if options.encoded:
            raise ValueError("--add encodes the corpus itself: leave --encoded out, or build a new index with it.")
        index = retriever.open(options.output, **settings)
        there = {"--engine": index.engine, "--dtype": index.manifest.dtype, "--pool-factor": index.encoder.pool_factor}
        _check_stored(options, there, f"the index {options.output}")
        count = retriever.add(corpus, batch_size=options.batch_size)
        print(f"{count} documents added, {len(retriever.current)} in the index {options.output}")
        return 0
    engine = options.engine or "exact"
    if options.encoded:
        encoded = EncodedCorpus(options.encoded)
        stored = {"--dtype": encoded.dtype, "--pool-factor": encoded.encoder.pool_factor}
        _check_stored(options, stored, f"the encoded corpus {options.encoded}")
        index = retriever.index_encoded(
            encoded,
            corpus,
            options.output,
            engine=engine,
            overwrite=options.overwrite,
            **settings,
        )
    else:
        index = retriever.index(
            corpus,
            options.output,
            engine=engine,
            dtype=options.dtype or "float16",
            pool_factor=options.pool_factor,
            batch_size=options.batch_size,
            name=options.model,
            overwrite=options.overwrite,
            **settings,
        )
    print(f"{len(index)} documents in the {index.engine} index {options.output}")
    print(_hint(retriever.document_model.config.teacher, options))
    return 0


def _check_stored(options: argparse.Namespace, there: dict[str, Any], what: str) -> None:
    """Rejects an option that asks for something else than what is stored already.

    Raises:
        ValueError: naming it.
    """
    given = {"--engine": options.engine, "--dtype": options.dtype, "--pool-factor": options.pool_factor}
    for option, stored in there.items():
        if given[option] not in (None, stored):
            raise ValueError(f"{option} is {given[option]}, and {what} has {stored}: leave {option} out.")


def _hint(teacher: str | None, options: argparse.Namespace) -> str:
    """The command that searches the new index; if a teacher made the index, the user fills in a student."""
    index, model = (shlex.quote(name) for name in (options.output, options.model))
    command = f'optical search {index} "a query" --model'
    if teacher is not None:
        return f"Search it: {command} {model}"
    return (
        f"Search it: {command} STUDENT\n"
        f"  STUDENT is the folder or Hub id of a student that was distilled from {options.model}.\n"
        f"  Without --model, {options.model} itself reads the query: right in its language, wrong in another one."
    )


def engine_settings(words: list[str]) -> dict[str, Any]:
    """`key=value` words; values are read as YAML."""
    from modeling_optical.files.bounded_yaml import parse_yaml

    settings = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise ValueError(f"--setting {word!r}: key=value is needed, for instance nprobes=40.")
        if key in ("device", "precision", "backend", "queries", "documents", "path"):
            raise ValueError(f"--setting {word!r}: {key} is no setting of an engine; see --help for the options.")
        settings[key.replace("-", "_")] = parse_yaml(value, f"--setting {word!r}: the value is not YAML")
    return settings
