"""The transport plan of a pair, as a picture and as a page."""

from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from hub_cards.drawing.alignment import Alignment, align
from hub_cards.drawing.alignment_page import write_alignment_page
from hub_cards.drawing.fonts import font_of, fonts_for, missing_fonts
from hub_cards.drawing.pictures import draw_alignment, draw_languages, draw_training
from modeling_optical import OpticalModel
from modeling_optical.evaluation import ResultRow

PAIR = Alignment(
    ["paka", "<b>"], ["cat", "sat", "&"], np.array([[0.4, 0.1, 0.0], [0.0, 0.2, 0.3]]), np.full((2, 3), 0.25), 0.25, "a", "b"
)


@pytest.fixture
def encoder(bert):
    torch.manual_seed(0)
    return OpticalModel.from_backbone(bert, embedding_dim=8)


def test_a_sentence_and_itself_meet_token_by_token(encoder):
    found = align(encoder, encoder, "the cat sat", "the cat sat")
    assert found.student_tokens == found.teacher_tokens == ["the", "cat", "sat"]
    assert found.plan.argmax(1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.student_marginal, 1 / 3, atol=1e-2)
    np.testing.assert_allclose(found.teacher_marginal, 1 / 3, atol=1e-2)
    np.testing.assert_allclose((found.plan * found.costs).sum(), found.cost, atol=1e-5)


def test_dollars_in_a_text_are_no_formula(tmp_path):
    """What lies between two of them would be read as one, and often is none."""
    texts = "It costs $20, 50% less than $40_a {b}", "Bei ni $20, 50% chini ya $40"
    alignment = Alignment(["$20", "$40_a"], ["$20", "$40"], np.full((2, 2), 0.25), np.zeros((2, 2)), 0.0, *texts)
    picture = tmp_path / "plan.svg"
    draw_alignment(alignment, picture)
    assert picture.stat().st_size > 1000


def test_a_text_without_a_token_is_told(encoder):
    with pytest.raises(ValueError, match="has no token that takes mass: give a sentence with words"):
        align(encoder, encoder, "   ", "the cat")


def test_a_teacher_of_another_dimension_is_told(encoder, bert):
    with pytest.raises(ValueError, match="8 dimensions, the teacher's 4: give the teacher that the student was distilled from"):
        align(encoder, OpticalModel.from_backbone(bert, embedding_dim=4), "a", "b")


class _Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.pairs, self.headers, self.inside = [], [], False

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.inside = tag == "th"
        if "data-pair" in values:
            self.pairs.append(values["data-pair"])

    def handle_data(self, data):
        if self.inside:
            self.headers.append(data)

    def handle_endtag(self, tag):
        self.inside = False


def test_the_page_has_a_cell_for_every_pair_and_every_token_as_it_is(tmp_path):
    page = write_alignment_page([("student", PAIR)], tmp_path / "plan.html").read_text(encoding="utf-8")
    cells = _Cells()
    cells.feed(page)
    assert len(cells.pairs) == 6
    assert cells.pairs[0] == "paka – cat\n80% of its mass, cost 0.25"
    assert cells.pairs[5].startswith("<b> – &\n60%")
    assert cells.headers == ["cat", "sat", "&", "mass", "paka", "<b>", "mass"]
    assert "http" not in page  # nothing to load from elsewhere
    assert 'dir="auto"' in page


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_plan_is_drawn(tmp_path, ending):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = draw_alignment(PAIR, tmp_path / "new" / f"plan.{ending}")
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(start)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_ending_that_is_no_picture_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"plan.doc has no ending of a picture: .png, .svg, .pdf"):
        draw_alignment(PAIR, tmp_path / "plan.doc")


@pytest.mark.parametrize(
    ("character", "font"),
    [
        ("ድ", "Noto Sans Ethiopic"),
        ("ب", "Noto Sans Arabic"),
        ("क", "Noto Sans Devanagari"),
        ("搜", "Noto Sans CJK"),
        ("か", "Noto Sans CJK"),
        ("ж", "Noto Sans"),
        ("𞤀", "Noto Sans Adlam"),
        ("😀", "Noto Emoji"),
    ],
)
def test_a_missing_font_has_a_name(character, font):
    pytest.importorskip("fontTools", reason="fontTools is not installed")
    assert font_of(character) == font
    assert font in missing_fonts([ord(character)])


def test_a_character_that_no_installed_font_has_is_warned_about_once_with_the_fonts_name(monkeypatch, caplog):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.setattr("hub_cards.drawing.fonts._characters", lambda path: frozenset(range(128)))
    assert fonts_for("cat ድመት") == ["DejaVu Sans"]
    (record,) = caplog.records
    assert "Noto Sans Ethiopic" in record.message
    assert "apt-get install fonts-noto-core" in record.message


def test_losses_are_drawn_and_a_log_without_two_steps_is_not(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    log = [{"loss": 3 - s, "transport": 2 - s, "pooled_mse": 1.0, "learning_rate": 1, "step": s} for s in (1, 2)]
    text = draw_training(log, tmp_path / "t.svg").read_text()
    assert "<svg" in text
    assert draw_training(log[:1], tmp_path / "no.svg") is None
    assert not (tmp_path / "no.svg").exists()


def test_effective_ranks_have_axes_of_their_own_and_cosines_are_no_losses(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from matplotlib.axes import Axes

    drawn: dict[int, list[str]] = {}
    original = Axes.plot

    def plot(self, *args, **kwargs):
        drawn.setdefault(id(self), []).append(kwargs["label"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Axes, "plot", plot)
    spread = {"effective_rank": 200.0, "teacher_effective_rank": 210.0, "cosine_between_own_tokens": 0.1}
    log = [{"loss": 1.5, "transport": 0.5, "contrastive": 1.0, "step": step} | spread for step in (1, 2)]
    draw_training(log, tmp_path / "t.svg")
    assert list(drawn.values()) == [["transport", "contrastive", "sum"], ["student", "teacher"]]


def test_every_system_has_a_bar_in_every_language_that_it_was_measured_in(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from matplotlib.axes import Axes

    drawn = {}
    original = Axes.bar

    def bar(self, at, height, *args, **kwargs):
        drawn[kwargs["label"]] = list(height)
        return original(self, at, height, *args, **kwargs)

    monkeypatch.setattr(Axes, "bar", bar)
    rows = [
        ResultRow("optical", "sw", "emoji", "nDCG@10", 0.5, 0.4, 0.6, 99),
        ResultRow("optical", "so", "emoji", "nDCG@10", 0.3, 0.2, 0.4, 99),
        ResultRow("floor", "sw", "emoji", "nDCG@10", 0.1, 0.0, 0.2, 99),
        ResultRow("ceiling", "en", "emoji", "nDCG@10", 0.9, 0.8, 1.0, 99),
        ResultRow("optical", "sw", "emoji", "R@10", 0.7, 0.6, 0.8, 99),
    ]
    assert draw_languages(rows, tmp_path / "languages.png").is_file()
    assert list(drawn) == ["floor", "optical", "ceiling"]
    assert drawn == {"floor": [0.1], "optical": [0.5, 0.3], "ceiling": [0.9, 0.9]}
    assert draw_languages([], tmp_path / "none.png") is None
