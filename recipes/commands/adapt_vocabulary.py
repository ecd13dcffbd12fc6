"""`optical adapt-vocabulary`: a student with a vocabulary for other languages, before any training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.bitext import BitextSource


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    adapt = commands.add_parser(
        "adapt-vocabulary",
        help="give a student a vocabulary for a language that it spells in fragments",
        description="Trains a tokenizer of the student's own kind on bitext, starts its embedding rows from translations, and "
        "saves student, tokenizer, translation table (translations.npz) and report (vocabulary.json). For several languages, "
        "repeat --bitext with one --target each.",
    )
    adapt.add_argument("--student", required=True, help="folder, Hub id or package:NAME/PATH of the model to adapt")
    adapt.add_argument(
        "--bitext",
        required=True,
        nargs="+",
        action="append",
        metavar="FILE",
        help="one file, or two (student's language first); may be repeated",
    )
    adapt.add_argument("--source", default="en", help="field or column of the language that the student knows (default: en)")
    adapt.add_argument(
        "--target", required=True, action="append", help="field or column of the new language; once, or once per --bitext"
    )
    adapt.add_argument("--source-language", help="its code (default: --source if that is one, else en)")
    adapt.add_argument("--language", action="append", help="its code (default: --target); once, or once per --bitext")
    adapt.add_argument("--size", type=int, default=8000, help="pieces to learn (default: 8000)")
    adapt.add_argument(
        "--mode",
        choices=("replace", "add", "trim"),
        default="replace",
        help="replace: a separate tokenizer (default); add: the old pieces keep their ids and rows, new ones come behind; "
        "trim: only the old pieces that the bitext needs stay",
    )
    adapt.add_argument("--trim", dest="mode", action="store_const", const="trim", help="short for --mode trim")
    adapt.add_argument("--scripts", nargs="+", default=[], help="of --trim: keep all pieces of a script, such as latin")
    adapt.add_argument("--prefer", choices=("translation", "old"), default="translation", help="where a piece was there before")
    adapt.add_argument("--temperature", type=float, default=1.0, help="of several languages: see docs/bitext.md (default: 1)")
    adapt.add_argument("--output", required=True, help="folder for the adapted student")
    adapt.add_argument("--overwrite", action="store_true", help="replace the output folder if it is there")
    adapt.set_defaults(work=_adapt)


def _adapt(options: argparse.Namespace) -> int:
    from modeling_optical import load_checkpoint
    from modeling_optical.files.atomic_write import replacing_folder
    from trainer.bitext import Cleaning, fingerprint, load_bitext, mix_languages
    from trainer.bitext.languages import expected_scripts
    from trainer.vocabulary import VocabularyOptions, adapt_vocabulary, save_vocabulary_record, vocabulary_provenance

    settings = VocabularyOptions(size=options.size, mode=options.mode, prefer=options.prefer, scripts=options.scripts)
    sources = bitext_sources(options.bitext, options.source, options.target, options.language)
    output = Path(options.output).expanduser()
    if output.exists() and not options.overwrite:
        raise ValueError(f"{output} exists. Choose another --output, or replace it with --overwrite.")
    named = options.source if expected_scripts(options.source) else "en"  # a field may have any name
    bitext, cleaning = load_bitext(sources, Cleaning(source_language=options.source_language or named))
    print(f"Bitext:\n{cleaning}")
    student = load_checkpoint(options.student)
    pairs = mix_languages(bitext, options.temperature)
    report, table = adapt_vocabulary(student, pairs["source"], pairs["target"], settings, languages=pairs["language"])
    with replacing_folder(output) as scratch:
        student.save_pretrained(scratch)
        save_vocabulary_record(scratch, report, table, vocabulary_provenance(settings, fingerprint(pairs), len(pairs)))
    print(f"Vocabulary: {report}")
    print(f"student: {output}")
    return 0


def bitext_sources(files: list[list[str]], source: str, targets: list[str], languages: list[str] | None) -> list[BitextSource]:
    """Sources of repeated `--bitext` options; one `--target` or `--language` holds for all of them.

    Raises:
        ValueError: if the options do not fit each other.
    """
    from trainer.bitext import BitextSource

    def for_each(name: str, values: list[str]) -> list[str]:
        if len(values) not in (1, len(files)):
            raise ValueError(f"{name} is given {len(values)} times and --bitext {len(files)} times: once, or as often.")
        return values * len(files) if len(values) == 1 else values

    targets = for_each("--target", targets)
    codes = for_each("--language", languages) if languages else targets
    if number := next((code for code in codes if code.isdigit()), None):
        raise ValueError(f"--target {number} is a column number, so the language is not known: give --language, such as sw.")
    sources = []
    for paths, target, code in zip(files, targets, codes, strict=True):
        if len(paths) > 2:
            raise ValueError(f"--bitext takes one file or two, not {len(paths)}.")
        path = paths if len(paths) == 2 else paths[0]
        sources.append(BitextSource(path=path, source=column(source), target=column(target), language=code))
    return sources


def column(name: str) -> str | int:
    """A column number where the name is one, else the name of a field."""
    return int(name) if name.isdigit() else name
