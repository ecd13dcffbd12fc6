"""Noise in queries: the same every time, as much as asked for, whole grapheme clusters, and never a silent no-op."""

import unicodedata
from collections import Counter

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from recipes.studies.query_noise import KINDS, add_noise, strip_diacritics
from recipes.studies.query_noise.keyboards import layout_of, neighbours

GERMAN = {f"q{i}": f"Wie viele Punkte gab die Verteidigung der Panthers in Zürich im Jahr {1900 + i} ab?" for i in range(200)}
HINDI = {f"q{i}": f"पैंथर्स की रक्षा ने कितने अंक छोड़े और कब {i}" for i in range(100)}
CHINESE = {f"q{i}": "黑豹队的防守丢了多少分" for i in range(100)}
WORDS = {"wie": "how", "viele": "many", "punkte": "points", "der": "of", "panthers": "panthers"}


def noisy(queries, kind, level, language="de", **options):
    return add_noise(queries, kind, level, language=language, translations=WORDS, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_what_happens_to_a_query_depends_on_nothing_but_itself_the_kind_and_the_seed(kind):
    all_of_them = noisy(GERMAN, kind, 0.5).texts
    alone = noisy({"q7": GERMAN["q7"]}, kind, 0.5).texts
    assert alone["q7"] == all_of_them["q7"]
    assert noisy(GERMAN, kind, 0.5, seed=1).texts != all_of_them


@pytest.mark.parametrize("kind", ["case", "diacritics", "code_switching"])
def test_a_higher_level_changes_all_that_a_lower_one_does(kind):
    queries = {f"q{i}": "Führt Zürich viele Punkte über München oder Köln" for i in range(50)}
    levels = [noisy(queries, kind, level).texts for level in (0.25, 0.5, 0.75, 1.0)]
    for query, text in queries.items():
        before: set[int] = set()
        for texts in levels:
            changed = {i for i, pair in enumerate(zip(text.split(), texts[query].split(), strict=True)) if len(set(pair)) > 1}
            assert before <= changed
            before = changed


def test_the_share_of_units_that_change_is_the_level():
    for level in (0.1, 0.5):
        texts = noisy(GERMAN, "case", level).texts
        changed = sum(a != b for q, t in GERMAN.items() for a, b in zip(t.split(), texts[q].split(), strict=True))
        assert changed / noisy(GERMAN, "case", level).units == pytest.approx(level, abs=0.02)


def test_typos_land_on_keys_beside_the_right_one():
    assert set(neighbours("en", "g")) == set("tyfhvb")
    assert set(neighbours("de", "ä")) == set("öü")
    assert set(neighbours("ru", "п")) == set("енарми")
    assert neighbours("en", "é") == ""
    for query, text in noisy(GERMAN, "typos", 0.1).texts.items():
        old, new = Counter(GERMAN[query].lower()), Counter(text.lower())
        for wrong in new - old:
            assert any(wrong in neighbours("de", right) for right in old), wrong


def test_a_language_is_typed_on_its_own_keyboard_and_foreign_letters_on_theirs():
    assert [layout_of("fr", "a"), layout_of("mr", "क"), layout_of("sw", "a"), layout_of("ru", "q")] == ["fr", "hi", "en", "en"]
    assert layout_of("zh", "字") is None


def test_typos_in_devanagari_leave_whole_clusters_and_signs_take_the_places_of_signs():
    for text in noisy(HINDI, "typos", 0.3, "hi").texts.values():
        for cluster in regex.findall(r"\X", text):
            assert not unicodedata.category(cluster[0]).startswith("M")
            assert len(cluster) <= 5


def test_without_a_keyboard_letters_are_doubled_left_out_or_exchanged():
    found = noisy(CHINESE, "typos", 0.3, "zh")
    assert len(found.changed) > 90
    for text in found.texts.values():
        assert set(text) <= set(CHINESE["q0"])


def test_a_word_of_one_letter_is_never_lost():
    assert all(text.split() for text in noisy({f"q{i}": "y" for i in range(50)}, "typos", 1.0).texts.values())


def test_capitals_follow_the_language():
    queries = {"q": "istanbul ıspanak IBM"}
    assert add_noise(queries, "case", 1.0, language="tr").texts["q"] == "İSTANBUL ISPANAK ıbm"
    assert add_noise(queries, "case", 1.0, language="en").texts["q"] == "ISTANBUL ISPANAK ibm"


@pytest.mark.parametrize(
    ("word", "bare"),
    [
        ("Führungskräfte", "Fuhrungskrafte"),
        ("żółty", "zolty"),
        ("Điện", "Dien"),
        ("ёлка", "елка"),
        ("йод", "йод"),
        ("مُحَمَّد", "محمد"),
        ("أحمد", "احمد"),
        ("שָׁלוֹם", "שלום"),
        ("क़लम", "कलम"),
        ("किताब", "किताब"),
        ("が", "が"),
        ("น้ำ", "น้ำ"),
        ("cafe\u0301", "cafe"),
    ],
)
def test_marks_that_people_leave_out_go_and_those_that_make_the_word_stay(word, bare):
    assert strip_diacritics(word) == bare


@pytest.mark.parametrize(
    ("queries", "kind", "language", "reason"),
    [
        (HINDI, "case", "hi", "no letter of these queries has case"),
        (CHINESE, "word_order", "zh", "no query has two words divided by a space"),
        ({"q": "habari za asubuhi"}, "diacritics", "sw", "no letter of these queries has a diacritic that is left out"),
        (CHINESE, "code_switching", "zh", "no word of these queries has a translation"),
        ({"q": "1984 ?"}, "typos", "de", "no query has a letter"),
    ],
)
def test_a_noise_that_cannot_apply_says_so_and_changes_nothing(queries, kind, language, reason):
    found = noisy(queries, kind, 1.0, language)
    assert found.texts == queries
    assert (found.changed, found.applicable, found.units) == (frozenset(), 0, 0)
    assert reason in found.why_not


def test_words_move_within_windows_of_three_and_punctuation_stays_at_the_end():
    for query, text in noisy(GERMAN, "word_order", 1.0).texts.items():
        old, new = GERMAN[query].rstrip("?").split(), text.rstrip("?").split()
        assert text.endswith("?")
        assert sorted(old) == sorted(new)
        assert old != new
        assert all(abs(old.index(word) - new.index(word)) <= 2 for word in set(old) if old.count(word) == 1)


def test_two_words_can_change_places_and_one_cannot():
    assert noisy({f"q{i}": "guten Tag" for i in range(9)}, "word_order", 1.0).texts["q3"] == "Tag guten"
    assert noisy({"q": "Hallo!"}, "word_order", 1.0).applicable == 0


def test_words_are_written_together_and_nothing_else_changes():
    found = noisy({"q": "Wie viele Punkte gab es, 2016?"}, "spaces", 1.0)
    assert (found.texts["q"], found.units) == ("WievielePunktegabes, 2016?", 4), "a space behind a mark stays"
    texts = noisy(GERMAN, "spaces", 0.25).texts
    assert all(texts[query].replace(" ", "") == text.replace(" ", "") for query, text in GERMAN.items())
    assert noisy(CHINESE, "spaces", 1.0, "zh").why_not == "no query has two words divided by a space"


def test_words_are_switched_by_the_dictionary_alone_and_keep_their_capital():
    assert noisy({"q": "Wie viele Punkte gab es?"}, "code_switching", 1.0).texts["q"] == "How many Points gab es?"
    found = noisy({"q": "Panthers"}, "code_switching", 1.0)
    assert (found.applicable, found.changed) == (0, frozenset()), "a word that is its own translation is no switch"


@pytest.mark.parametrize(
    ("kind", "level", "message"),
    [("typo", 0.1, "there are: typos, case"), ("typos", 0, "it is a share"), ("typos", 1.5, "it is a share")],
)
def test_a_slip_is_named(kind, level, message):
    with pytest.raises(ValueError, match=message):
        add_noise({}, kind, level, language="de")
    with pytest.raises(ValueError, match="needs `translations`"):
        add_noise({"q": "a"}, "code_switching", 0.5, language="de")


@given(st.text(max_size=60), st.sampled_from(KINDS), st.sampled_from(["de", "hi", "zh", "ar", "th", "tr"]), st.floats(0.01, 1))
def test_any_text_survives_and_what_is_counted_is_what_changed(text, kind, language, level):
    found = noisy({"q": text}, kind, level, language)
    assert (found.texts["q"] != text) == ("q" in found.changed)
    assert found.applicable == (found.units > 0)
    if not found.applicable:
        assert found.texts["q"] == text


def test_the_noise_is_the_same_on_every_machine():
    text = add_noise({"q1": "Wer erfand das Telefon?"}, "case", 0.5, language="de").texts["q1"]
    assert text == "Wer ERFAND das TELEFON?"
