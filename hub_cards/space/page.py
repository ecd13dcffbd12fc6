"""The demo's page (extra `demo`: Gradio)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..drawing.alignment_page import STYLE
from ..languages import language_name, own_name, right_to_left
from .engine import LONGEST_PAIR, LONGEST_TEXT, DemoEngine, note

if TYPE_CHECKING:
    import gradio

CSS = (
    STYLE
    + """
.optical-results { list-style: none; padding: 0; margin: 0; display: grid; gap: .5rem; }
.optical-result { display: flex; gap: .75rem; align-items: center; padding: .5rem .75rem; border-radius: .5rem;
  border: 1px solid rgba(128, 128, 128, .3); margin: 0; }
.optical-result > div { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.optical-symbol { font-size: 2.2rem; line-height: 1.2; min-width: 3rem; text-align: center; }
.optical-result mark { color: inherit; border-radius: .2rem; padding: 0 .1rem; }
.optical-met { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem .8rem; padding: 0; margin: .2rem 0 0;
  font-size: .85rem; opacity: .85; }
.optical-met li { margin: 0; }
.optical-score { font-variant-numeric: tabular-nums; opacity: .7; }
.optical-note { padding: .5rem .75rem; border-inline-start: 3px solid #d9822b; background: rgba(217, 130, 43, .1); }
"""
)
_PAIRS = 4  # they are a table, which takes room
_INTRODUCTION = """\
# Search in your language, in an index that knows English only

A student of an English retriever reads your query; the documents were read by its English teacher. What met is marked.
"""


def build_page(engine: DemoEngine) -> gradio.Blocks:
    """The page over an engine.

    Raises:
        ImportError: without Gradio.
    """
    try:
        import gradio as gr
    except ImportError as error:
        raise ImportError('the demo needs Gradio: pip install "modeling-optical[demo]"') from error
    students = engine.settings.students
    first = next(iter(students))

    def told(work: Callable[..., str]) -> Callable[..., str]:
        """Mistakes that a visitor can make become a sentence on the page."""

        def asked(language: str, other: str | None, *texts: str | None) -> str:
            try:
                if language not in students:
                    raise ValueError("This demo does not have that language.")
                name = (other or "").strip() or students[language]  # an untouched box is None
                return work(name, *(text or "" for text in texts))
            except (ValueError, OSError) as error:
                return note(str(error))

        return asked

    def changed(language: str) -> list[Any]:
        rtl = right_to_left(language)
        return [
            gr.Textbox(rtl=rtl, label=f"Query in {language_name(language)}", value=""),
            gr.Dataset(samples=_queries(engine, language)),
            gr.Textbox(rtl=rtl, label=f"The same in {language_name(language)}", value=""),
            gr.Dataset(samples=_pairs(engine, language)),
            "",
            "",
        ]

    with gr.Blocks(title="OPTICAL", analytics_enabled=False) as page:
        gr.Markdown(_INTRODUCTION)
        choices = [(f"{own_name(code)} – {language_name(code)}", code) for code in students]
        language = gr.Dropdown(choices, value=first, label="Language", elem_id="language")
        with gr.Tab("Search"):
            query = gr.Textbox(
                label=f"Query in {language_name(first)}",
                rtl=right_to_left(first),
                max_length=LONGEST_TEXT,
                autofocus=True,
                elem_id="query",
            )
            search = gr.Button("Search", variant="primary", elem_id="search")
            samples = gr.Dataset(components=[query], samples=_queries(engine, first), label="For instance")
            results = gr.HTML(elem_id="results")
        with gr.Tab("Plan"):
            sentence = gr.Textbox(label="A sentence in English", max_length=LONGEST_PAIR, elem_id="sentence")
            translation = gr.Textbox(
                label=f"The same in {language_name(first)}",
                rtl=right_to_left(first),
                max_length=LONGEST_PAIR,
                elem_id="translation",
            )
            solve = gr.Button("Show the plan", variant="primary", elem_id="solve")
            pairs = gr.Dataset(components=[sentence, translation], samples=_pairs(engine, first), label="For instance")
            plans = gr.HTML(elem_id="plans")
        with gr.Accordion("Another student", open=False, visible=engine.settings.other_students):
            other = gr.Textbox(
                label="Folder or Hub id of a student of the same teacher; empty for the one above", elem_id="other"
            )
        asked = [language, other, query]
        gr.on([query.submit, search.click], told(engine.search), asked, results, api_name="search")
        paired = [language, other, sentence, translation]
        gr.on([translation.submit, solve.click], told(engine.plan), paired, plans, api_name="plan")
        samples.click(lambda sample: sample[0], samples, query).then(told(engine.search), asked, results)
        pairs.click(lambda sample: list(sample), pairs, [sentence, translation]).then(told(engine.plan), paired, plans)
        language.change(changed, language, [query, samples, translation, pairs, results, plans])
    return page


def launch(engine: DemoEngine, **settings: Any) -> Any:
    """Serves the page; `settings` are Gradio's (server_name, server_port, prevent_thread_lock …)."""
    return build_page(engine).launch(css=CSS, footer_links=[], **settings)


def _queries(engine: DemoEngine, language: str) -> list[list[str]]:
    return [[translation] for _, translation in engine.settings.examples.get(language, [])]


def _pairs(engine: DemoEngine, language: str) -> list[list[str]]:
    return [list(pair) for pair in engine.settings.examples.get(language, [])[:_PAIRS]]
