"""`optical demo`: students in the browser."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from .encoders import add_backend_option


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="try students out in the browser",
        description="Searches emoji with the quickstart's students, or documents of yours with any student; shows plans.",
    )
    demo.add_argument("students", nargs="*", help="folders or Hub ids (default: those of runs/quickstart-*)")
    demo.add_argument("--language", help="of the students, where their cards do not say it")
    demo.add_argument("--teacher", help="folder, Hub id or package:NAME/PATH (default: the one that the student names)")
    documents = demo.add_mutually_exclusive_group()
    documents.add_argument("--corpus", help="documents to search, {_id, text} a line (default: emoji)")
    documents.add_argument("--index", help="an index that the teacher has made (optical index)")
    demo.add_argument(
        "--other-students", action="store_true", help="let visitors name another student: any folder here, or a Hub id"
    )
    demo.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    demo.add_argument("--port", type=int, help="port (7860, or the next that is free)")
    add_backend_option(demo)
    demo.set_defaults(work=_demo)


def _demo(options: argparse.Namespace) -> int:
    from hub_cards.space.engine import DemoEngine, DemoSettings
    from hub_cards.space.page import launch

    from ..demo import emoji_settings, quickstart_students, students_by_language

    students = students_by_language(options.students, options.language) if options.students else quickstart_students()
    with tempfile.TemporaryDirectory() as scratch:
        if options.corpus or options.index:
            settings = DemoSettings(students, options.teacher, options.corpus, options.index)
        else:
            settings = emoji_settings(students, Path(scratch) / "emoji.jsonl", options.teacher)
        settings.other_students = options.other_students
        settings.backend = options.backend
        launch(DemoEngine(settings), server_name=options.host, server_port=options.port)
    return 0
