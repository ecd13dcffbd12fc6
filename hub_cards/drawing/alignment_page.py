"""Transport plans as a page: heat maps in plain HTML, which show any script that the reader's browser has a font for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from modeling_optical.files.atomic_write import write_text

from .alignment import Alignment

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; margin: 1rem auto; max-width: 70rem; padding: 0 1rem; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #16181c; color: #e6e6e6; }} }}
{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
# `currentColor` and a transparent blue: the same table on a light page and on a dark one.
STYLE = """
.optical-plans { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }
.optical-plan { flex: 1 1 18rem; min-width: 0; margin: 0; }
.optical-plan figcaption { margin-bottom: .5rem; }
.optical-plan .optical-scroll { overflow-x: auto; padding-bottom: .25rem; }
.optical-plan table { border-collapse: separate; border-spacing: 2px; width: auto; margin: 0; border: 0 !important; }
.optical-plan th, .optical-plan td { border: 0 !important; font-weight: normal; padding: 0 !important; line-height: 1.4; }
.optical-plan thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: .3rem 0 !important;
  white-space: nowrap; height: auto; vertical-align: top; }
.optical-plan tbody th, .optical-plan tfoot th { text-align: end; white-space: nowrap; padding: 0 .4rem !important; }
.optical-plan td { min-width: 1.7rem; width: 1.7rem; height: 1.7rem; text-align: center !important;
  font-size: .68rem; border-radius: 3px;
  position: relative; }
.optical-plan td.mass { opacity: .75; }
.optical-plan tbody tr:hover th { font-weight: bold; }
.optical-plan td[data-pair]:hover, .optical-plan td[data-pair]:focus { outline: 2px solid #d9822b; z-index: 1; }
.optical-plan td[data-pair]:hover::after, .optical-plan td[data-pair]:focus::after { content: attr(data-pair);
  position: absolute; inset-inline-start: 0;
  top: 105%; z-index: 2; background: #222; color: #fff; padding: .25rem .5rem; border-radius: 4px;
  white-space: pre; font-size: .75rem; text-align: start; pointer-events: none; }
"""


def alignment_fragment(plans: Sequence[tuple[str, Alignment]]) -> str:
    """Heat maps side by side (one below the other on a phone), as HTML to put into a page; `STYLE` goes with it.

    A cell tells its pair, its mass and its cost when it is pointed at or has the focus. No script is needed.

    Args:
        plans: a caption and a solved pair each.
    """
    return f'<div class="optical-plans">{"".join(_plan(caption, alignment) for caption, alignment in plans)}</div>'


def write_alignment_page(plans: Sequence[tuple[str, Alignment]], path: str | os.PathLike) -> Path:
    """Writes the heat maps as a separate page, with nothing to load from elsewhere."""
    title = escape(plans[0][1].translation if plans else "transport plan")
    return write_text(path, _PAGE.format(title=title, style=STYLE, body=alignment_fragment(plans)))


def _plan(caption: str, alignment: Alignment) -> str:
    columns = "".join(f'<th scope="col" dir="auto">{escape(token)}</th>' for token in alignment.teacher_tokens)
    rows = []
    for row, token in enumerate(alignment.student_tokens):
        cells = "".join(_cell(alignment, row, column) for column in range(len(alignment.teacher_tokens)))
        mass = alignment.student_marginal[row]
        rows.append(f'<tr><th scope="row" dir="auto">{escape(token)}</th>{cells}<td class="mass">{mass:.2f}</td></tr>')
    masses = "".join(f'<td class="mass">{mass:.2f}</td>' for mass in alignment.teacher_marginal)
    return (
        f'<figure class="optical-plan"><figcaption><strong>{escape(caption)}</strong><br>'
        f'<span dir="auto">{escape(alignment.translation)}</span><br><span dir="auto">{escape(alignment.text)}</span><br>'
        f"transport cost {alignment.cost:.3f}</figcaption>"
        f'<div class="optical-scroll"><table><thead><tr><td></td>{columns}<th scope="col">mass</th></tr></thead>'
        f'<tbody>{"".join(rows)}</tbody><tfoot><tr><th scope="row">mass</th>{masses}<td></td></tr></tfoot></table></div>'
        "</figure>"
    )


def _cell(alignment: Alignment, row: int, column: int) -> str:
    share = float(alignment.shares[row, column])
    pair = (
        f"{alignment.student_tokens[row]} – {alignment.teacher_tokens[column]}\n"
        f"{share:.0%} of its mass, cost {alignment.costs[row, column]:.2f}"
    )
    colour = f"background: rgba(31, 111, 180, {0.06 + 0.94 * min(share, 1.0):.2f})" + ("; color: #fff" if share > 0.45 else "")
    shown = f"{share * 100:.0f}" if share >= 0.1 else ""
    return f'<td tabindex="0" data-pair="{escape(pair)}" style="{colour}">{shown}</td>'
