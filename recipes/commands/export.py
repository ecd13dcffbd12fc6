"""`optical export`: a student in another package's format."""

from __future__ import annotations

import argparse
from pathlib import Path

_FORMATS = ("sentence-transformers", "pylate", "stanford", "onnx")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = commands.add_parser(
        "export",
        help="write a model in another package's format",
        description="Reads a model of any known format and writes it for sentence-transformers, PyLate, colbert-ai or ONNX.",
    )
    export.add_argument("model", help="folder, Hub id or package:NAME/PATH")
    target = export.add_mutually_exclusive_group(required=True)
    target.add_argument("--format", choices=_FORMATS, help="the format of --output")
    target.add_argument(
        "--also",
        choices=("sentence-transformers",),
        help="add the format's files to the model's own folder, which then loads with both",
    )
    export.add_argument("--output", help="folder to write (with --format)")
    export.add_argument("--overwrite", action="store_true", help="replace the folder if it is there")
    export.add_argument(
        "--nearest", action="store_true", help="let settings that the format cannot say become the nearest it can"
    )
    export.add_argument("--int8", action="store_true", help="onnx: also write int8 weights, and measure their loss")
    export.add_argument("--texts", help="onnx: a text file, a text a line, to measure the int8 loss on")
    export.add_argument("--checkpoint-format", help="format of MODEL, where its files should not decide")
    export.add_argument("--language", help="language of an X-MOD model")
    export.add_argument("--trust-remote-code", action="store_true", help="run the Python code that MODEL brings")
    export.set_defaults(work=_export)


def _export(options: argparse.Namespace) -> int:
    if options.format is not None and options.output is None:
        raise ValueError("--format needs --output FOLDER.")
    if options.int8 and options.format != "onnx":
        raise ValueError("--int8 belongs to --format onnx.")
    if options.texts is not None and not options.int8:
        raise ValueError("--texts belongs to --int8: they measure its loss.")
    if options.also and (options.output is not None or options.overwrite):
        raise ValueError("--also writes into the model's own folder: for a folder of its own, give --format and --output.")
    from hub_cards.model_card import note_sentence_transformers
    from modeling_optical import load_checkpoint
    from modeling_optical.checkpoints.exporting import add_sentence_transformers, export_checkpoint, folder_bytes

    texts = None
    if options.texts is not None:
        texts = [line for line in Path(options.texts).expanduser().read_text(encoding="utf-8").splitlines() if line.strip()]
    model = load_checkpoint(
        options.model,
        checkpoint_format=options.checkpoint_format,
        trust_remote_code=options.trust_remote_code,
        **({"language": options.language} if options.language else {}),
    )
    if options.also:
        folder = Path(options.model).expanduser()
        if not folder.is_dir():
            raise ValueError(
                f"--also writes into the model's folder, and {options.model!r} is none: use --format and --output."
            )
        before = folder_bytes(folder)
        changes = add_sentence_transformers(model, folder, nearest=options.nearest)
        note_sentence_transformers(folder)
        grown = f", {folder_bytes(folder) / 1e6:.0f} MB instead of {before / 1e6:.0f}: the backbone is there twice"
    else:
        folder = Path(options.output).expanduser()
        changes = export_checkpoint(model, folder, options.format, nearest=options.nearest, overwrite=options.overwrite)
        grown = f", {folder_bytes(folder) / 1e6:.0f} MB"
    for change in changes:
        print(f"changed: {change}")
    if options.int8:
        from modeling_optical.checkpoints.onnx import quantize

        print(f"int8: {quantize(folder, texts)}")
    print(f"{options.also or options.format}: {folder}{grown}")
    return 0
