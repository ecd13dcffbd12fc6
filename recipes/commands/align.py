"""`optical align`: which token of a translation meets which token of the sentence."""

from __future__ import annotations

import argparse
from pathlib import Path

from .encoders import device

_PICTURES = (".png", ".svg", ".pdf")
_PAGES = (".html", ".htm")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    align = commands.add_parser(
        "align",
        help="show the transport plan of a sentence and its translation",
        description="Draws which token of the translation (rows) sends its mass to which token of the sentence (columns).",
    )
    align.add_argument("model", help="the student: folder, Hub id or package:NAME/PATH")
    align.add_argument("sentence", help="in the teacher's language")
    align.add_argument("translation", help="in the student's")
    align.add_argument("-o", "--output", default="plan.png", help="plan.png, .svg, .pdf, or .html (plan.png)")
    align.add_argument("--teacher", help="folder, Hub id or package:NAME/PATH (default: the one that the student names)")
    align.add_argument("--compare", help="a second encoder of the translation beside it in .html, such as the untrained start")
    align.set_defaults(work=_align)


def _align(options: argparse.Namespace) -> int:
    output = Path(options.output).expanduser()
    if output.suffix not in _PICTURES + _PAGES:
        raise ValueError(f"--output is {options.output}: it must end in one of {', '.join(_PICTURES + _PAGES)}.")
    if options.compare and output.suffix not in _PAGES:
        raise ValueError("--compare stands side by side in a page: give an --output that ends in .html.")
    for name in ("sentence", "translation"):
        if not getattr(options, name).strip():
            raise ValueError(f"the {name} is empty: give a few words.")
    from hub_cards.drawing.alignment import align
    from hub_cards.drawing.alignment_page import write_alignment_page
    from modeling_optical import load_checkpoint
    from modeling_optical.checkpoints.names import teacher_of

    student = load_checkpoint(options.model)
    teacher = load_checkpoint(teacher_of(student.config.teacher, options.model, options.teacher))
    for model in (student, teacher):
        model.to(device())
    plans = [(options.model, align(student, teacher, options.translation, options.sentence))]
    if options.compare:
        other = load_checkpoint(options.compare)
        other.to(device())
        plans.append(
            (
                options.compare,
                align(other, teacher, options.translation, options.sentence, options=student.config.transport),
            )
        )
    if output.suffix in _PAGES:
        write_alignment_page(plans, output)
    else:
        from hub_cards.drawing.pictures import draw_alignment

        draw_alignment(plans[0][1], output)
    for name, plan in plans:
        print(f"{name}: transport cost {plan.cost:.3f}")
        for row, token in enumerate(plan.student_tokens):
            best = plan.shares[row].argmax()
            print(f"  {token:16} {plan.teacher_tokens[best]:16} {plan.shares[row, best]:.2f}")
    print(output)
    return 0
