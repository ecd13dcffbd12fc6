"""`optical push`: a student on the Hub, with its card, in one commit."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hub_cards.publishing import Push


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    push = commands.add_parser(
        "push",
        help="put a student on the Hugging Face Hub",
        description="Sends a folder in one commit. Broken off, the same command goes on. With --dry-run nothing is sent.",
    )
    push.add_argument("folder", help="the student's folder")
    push.add_argument("name", help="organisation/name on the Hub")
    push.add_argument("--private", action="store_true", help="make a new repository private")
    push.add_argument("--update", action="store_true", help="add a commit to a repository that is there")
    push.add_argument("--also", choices=("sentence-transformers",), help="with the files that this package reads, too")
    push.add_argument("--dry-run", action="store_true", help="list the files and print the card")
    push.set_defaults(work=_push)


def _push(options: argparse.Namespace) -> int:
    from hub_cards.publishing import plan_push, prepared, send

    with prepared(options.folder, also_sentence_transformers=options.also is not None) as folder:
        planned = [plan_push(folder, options.name)]
        for push in planned:
            _tell(push, with_card=options.dry_run)
        if options.dry_run:
            print("Nothing was sent (--dry-run).")
            return 0
        for push in planned:
            print(send(push, private=options.private or None, update=options.update))
    return 0


def _tell(push: Push, *, with_card: bool) -> None:
    sizes = push.sizes()
    print(f"{push.repo_type} {push.repo_id}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB")
    for name, size in sizes.items():
        print(f"  {size:>12,}  {name}")
    for note in push.notes:
        print(f"note: {note}")
    if with_card:
        print(f"\n{push.card}")
