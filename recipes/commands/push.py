"""`optical push`: a student on the Hub, with its card, in one commit."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hub_cards.publishing import Push


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    push = commands.add_parser(
        "push",
        help="put a student on the Hugging Face Hub",
        description="Lists the files of the model, asks, and sends them in one commit; other files in the folder stay. Broken "
        "off, the same command goes on.",
    )
    push.add_argument("folder", help="the student's folder")
    push.add_argument("name", help="organisation/name on the Hub")
    push.add_argument("--private", action="store_true", help="make a new repository private")
    push.add_argument("--update", action="store_true", help="add a commit to a repository that is there")
    push.add_argument("--also", choices=("sentence-transformers",), help="with the files that this package reads, too")
    push.add_argument("--space", action="store_true", help="also a Space, NAME-demo, where emoji can be searched with it")
    push.add_argument("--include", action="append", default=[], metavar="FILE", help="also send this file of the folder")
    push.add_argument("--yes", action="store_true", help="do not ask before sending")
    push.add_argument("--dry-run", action="store_true", help="list the files and print the card")
    push.set_defaults(work=_push)


def _push(options: argparse.Namespace) -> int:
    from hub_cards.publishing import plan_push, prepared, send

    with (
        tempfile.TemporaryDirectory() as scratch,
        prepared(options.folder, also_sentence_transformers=options.also is not None) as folder,
    ):
        planned = [plan_push(folder, options.name, also=options.include)]
        if options.space:
            planned.append(_space(options.name, folder, Path(scratch)))
        for push in planned:
            _tell(push, with_card=options.dry_run)
        if options.dry_run:
            print("Nothing was sent (--dry-run).")
            return 0
        if not options.yes and not _confirmed():
            print("Nothing was sent.")
            return 1
        for push in planned:
            print(send(push, private=options.private or None, update=options.update))
    return 0


def _confirmed() -> bool:
    """Asks on the terminal.

    Raises:
        ValueError: if there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise ValueError("nothing was sent: nobody can be asked here. Look at --dry-run, then give --yes.")
    return input("Send these files? [y/N] ").strip().lower() in ("y", "yes")


def _space(name: str, folder: Path, scratch: Path) -> Push:
    from hub_cards.space_files import plan_space
    from modeling_optical import OpticalConfig

    from ..demo import LICENCE, emoji_settings, students_by_language

    teacher = OpticalConfig.from_pretrained(folder).teacher
    if teacher is None:
        raise ValueError(f"{folder} does not say what it was distilled from (`teacher` in config.json): write it there.")
    students = students_by_language([str(folder)], None)
    return plan_space(name, emoji_settings(students, scratch / "corpus.jsonl", teacher), licence=LICENCE)


def _tell(push: Push, *, with_card: bool) -> None:
    from hub_cards.publishing import NOT_OF_THE_MODEL
    from modeling_optical.files.lines import printable

    sizes = push.sizes()
    print(f"{push.repo_type} {push.repo_id}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB")
    for name, size in sizes.items():
        print(f"  {size:>12,}  {printable(name)}")
    for name, reason in push.left_out.items():
        print(f"  stays here    {printable(name)} ({reason})")
    if any(reason == NOT_OF_THE_MODEL for reason in push.left_out.values()):
        print("  (--include FILE sends one of these, too)")
    for note in push.notes:
        print(f"note: {printable(note)}")
    if with_card:
        print(f"\n{push.card}")
