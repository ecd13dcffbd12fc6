"""Cards made of other people's words, and cards that others wrote: no word becomes a heading, a link, HTML or metadata."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from test_model_card import CARD, ROWS

from hub_cards.card_file import card_metadata, merge_card, sections
from hub_cards.licences import CardInput
from hub_cards.markdown import code, plain
from hub_cards.model_card import CardData, Cost, render_model_card
from hub_cards.retriever_card import RetrieverCard, write_retriever_card

markdown_it = pytest.importorskip("markdown_it")

PIECES = [
    "\n",
    "\r",
    "\u2028",
    "\n\n# Heading",
    "\n---\n",
    "<!-- /optical:summary -->",
    "\n<!-- /optical:licences -->\n",
    "<script>alert(1)</script>",
    "![x](https://evil.example/x.png)",
    "[click](https://evil.example)",
    "<https://evil.example>",
    "`",
    "```",
    "|",
    "\\",
    '"); import os; ("',
    "{{ 7 * 7 }}",
    "{% raw %}",
    "*",
    "_",
    "~~",
    "&lt;",
    "name: x",
    "# ",
    "- ",
    "1. ",
    "===",
    "\x1b[31m",
    "\ud800",
    "a",
]
WORDS = some.text(max_size=30) | some.lists(some.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
HARMLESS = "harmless"
FIELDS = ("name", "language", "teacher", "revision", "licence", "bitext", "system", "what", "collection", "metric",
          "objectives", "transport", "version", "command", "recipe", "device")  # fmt: skip


def card_with(field: str, value: str) -> CardData:
    """A card in which one field is a stranger's."""

    def of(name: str, other: str) -> str:
        return value if name == field else other

    inputs = [
        CardInput("teacher", of("teacher", "t"), of("revision", "r"), of("licence", "cc-by-nc-4.0")),
        CardInput("bitext", of("bitext", "b"), license="mit"),
    ]
    rows = [
        replace(row, system="optical", collection=of("collection", "c"), metric=f"m {of('metric', 'x')}", language="sw")
        for row in ROWS[:1]
    ]
    rows.append(replace(rows[0], system=f"other {of('system', 'x')}"))
    return replace(
        CARD,
        name=of("name", "n"),
        languages=["sw", of("language", "zz")],
        inputs=inputs,
        systems={rows[1].system: of("what", "it")},
        rows=rows,
        objectives=of("objectives", "o"),
        transport={of("transport", "k"): of("transport", "v")},
        versions={of("version", "torch"): of("version", "2")},
        command=of("command", "c"),
        recipe=f"name: n\nx: {json.dumps(of('recipe', 'x'))}\n",
        cost=Cost(1.0, 2.0, of("device", "cpu")),
    )


def structure(card: str) -> list[str]:
    """Everything that a Markdown reader makes of a card but its words: blocks, cells, links, code, and HTML as it stands."""
    found = []
    parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for token in parser.parse(card[card.index("\n---\n") + 5 :]):
        found.append(f"{token.type} {token.tag}" + (token.content if token.type == "html_block" else ""))
        for child in token.children or ():
            if child.type not in ("text", "text_special"):
                found.append(f"{child.type} {child.attrs}" + (child.content if child.type == "html_inline" else ""))
    return found


@pytest.mark.parametrize("field", FIELDS)
def test_whatever_a_value_holds_it_stays_words_in_its_place(field: str, tmp_path: Path):
    usual = render_model_card(card_with(field, HARMLESS), tmp_path)
    place = tmp_path / "README.md"

    @settings(max_examples=max(settings().max_examples // 8, 1))
    @given(value=WORDS)
    def stays(value: str):
        text = render_model_card(card_with(field, value), tmp_path)
        assert structure(text) == structure(usual)
        assert list(sections(text)) == list(sections(usual))
        assert not set(text) & {"\x1b", "\u2028", "\u202e"}
        place.write_text(text, encoding="utf-8")
        assert set(card_metadata(place)) == {*card_metadata(place)} - {"name"}
        assert merge_card(text, text).rstrip() == text.rstrip()

    stays()


def test_a_retrievers_card_keeps_words_in_their_places_too(tmp_path: Path):
    @given(value=WORDS)
    def stays(value: str):
        pages = []
        for one in (value, HARMLESS):
            (tmp_path / "README.md").unlink(missing_ok=True)
            rows = [replace(ROWS[0], collection=f"c {one}", system=f"s {one}")]
            card = RetrieverCard(f"n {one}", "en", f"./{one}", f"./{one}", one, 3, [one], rows, {one: "1"}, precision="fp32")
            pages.append(write_retriever_card(tmp_path, card).read_text(encoding="utf-8"))
        assert structure(pages[0]) == structure(pages[1])
        assert list(sections(pages[0])) == list(sections(pages[1]))

    stays()


@given(value=WORDS)
def test_text_and_code_are_read_back_as_what_they_stand_for(value: str):
    parser = markdown_it.MarkdownIt("commonmark")
    words = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    for shown in (plain(f"x{value}x"), code(f"x{value}x")):
        (_, inline, _) = parser.parse(shown.replace("\\|", "|") if shown.startswith("`") else shown)
        read = "".join(child.content for child in inline.children)
        assert "".join(c for c in read if c.isascii() and c.isalnum()) == "".join(
            c for c in f"x{words}x" if c.isascii() and c.isalnum()
        )


LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))]
)


@pytest.mark.parametrize(
    "metadata",
    [
        LAUGHS + "\nlicense: *a8",
        "license: &a [*a]",
        "license: " + "[" * 5000,
        "license: !!python/object/apply:os.mkdir [ran]",
        "x: " + "y" * 3_000_000,
        "- 1",
        "license: !!bool maybe",
    ],
    ids=["aliases", "itself", "depth", "code", "size", "a list", "a tag"],
)
def test_metadata_that_is_made_to_hang_is_refused_at_once(metadata: str, tmp_path: Path):
    (tmp_path / "README.md").write_text(f"---\n{metadata}\n---\n\n# Teacher\n")
    start = time.process_time()
    with pytest.raises(ValueError, match=r"README\.md: the (metadata at the top of the )?card"):
        card_metadata(tmp_path / "README.md")
    assert time.process_time() - start < 5
    assert not Path("ran").exists()


@given(text=some.text(max_size=200) | some.lists(some.sampled_from([*PIECES, "---\n", "license: "]), max_size=20).map("".join))
def test_any_file_is_a_card_or_refused_by_its_name(text: str, tmp_path_factory):
    place = tmp_path_factory.getbasetemp() / "any-card.md"
    place.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(card_metadata(place), dict)
    except ValueError as error:
        assert "any-card.md" in str(error)  # noqa: PT017
