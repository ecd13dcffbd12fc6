"""Which keys are neighbours, on the usual keyboard of a language: where a finger that misses its key may land."""

from __future__ import annotations

import math
from functools import cache

import langcodes
import regex

# Letters and marks of the keys, row by row from the digits down, without and (scripts without case) with shift; a blank is
# a key of something else. They are what X.Org's xkeyboard-config has as the default of each language or country (the Indic
# ones are InScript), read from it with libxkbcommon. The last row begins with the key left of it that ISO keyboards have.
_LAYOUTS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "en": (("", "qwertyuiop", "asdfghjkl", " zxcvbnm"),),
    "de": (("          ß", "qwertzuiopü", "asdfghjklöä", " yxcvbnm"),),
    "fr": ((" é    è çà", "azertyuiop", "qsdfghjklmù", " wxcvbn"),),
    "es": (("", "qwertyuiop", "asdfghjklñ ç", " zxcvbnm"),),
    "it": (("           ì", "qwertyuiopè", "asdfghjklòàù", " zxcvbnm"),),
    "fi": (("", "qwertyuiopå", "asdfghjklöä", " zxcvbnm"),),
    "hu": (("         öüó", "qwertzuiopőú", "asdfghjkléáű", "íyxcvbnm"),),
    "tr": (("", "qwertyuıopğü", "asdfghjklşi", " zxcvbnmöç"),),
    "ru": (("", "йцукенгшщзхъ", "фывапролджэ", " ячсмитьбю"),),
    "uk": (("", "йцукенгшщзхї", "фівапролджєґ", " ячсмитьбю"),),
    "el": (("", " ςερτυθιοπ", "ασδφγηξκλ", " ζχψωβνμ"),),
    "ar": (
        ("", "ضصثقفغعهخحجد", "شسيبلاتنمكط", " ئءؤر ىةوزظ"),
        ("", "ًٌَُ إ", "ٍِ   أ", "  ْ   آ"),
    ),
    "fa": (
        ("", "ضصثقفغعهخحجچ", "شسیبلاتنمکگ", " ظطزرذدپو"),
        ("", "ًٌٍَُِّْ", "ؤئيإأآة", " كٓژٰ ٔء"),
    ),
    "he": (("", "  קראטוןםפ", "שדגכעיחלךף", " זסבהנמצתץ"),),
    "hi": (
        ("           ृ", "ौैाीूबहगदजड़", "ोे्िुपरकतचटॉ", " ॆंमनवलस  य"),
        ("ऍॅ        ःऋ", "औऐआईऊभङघधझढञ", "ओएअइउफऱखथछठऑ", " ऎँणऩऴळशष य़"),
    ),
    "bn": (
        ("           ঋ", "ৌৈাীূবহগদজড়", "োে্িুপরকতচট", "  ংমনবলস  য়"),
        ("          ঃৃ", "ঔঐআঈঊভঙঘধঝঢঞ", "ওএঅইউফঢ়খথছঠ", "  ঁণনবলশষ য"),
    ),
    "ta": (
        ("", "ௌைாீூ ஹ  ஜ ஞ", "ோே்ிுபரகதசட", " ெஂமநவலஸ  ய"),
        ("          ஃ", "ஔஐஆஈஊ ங", "ஓஏஅஇஉ ற", " எ ணனழளஶஷ"),
    ),
    "te": (
        ("          ఃృ", "ౌైాీూబహగదజడఞ", "ోే్ిుపరకతచట", " ెంమనవలస  య"),
        ("           ఋ", "ఔఐఆఈఊభఙఘధఝఢ", "ఓఏఅఇఉఫఱఖథఛఠ", " ఎఁణ  ళశష"),
    ),
    "th": (
        ("ๅ  ภถุึคตจขช", " ไำพะัีรนยบล", "ฟหกดเ้่าสวงฃ", " ผปแอิืทมใฝ"),
        ("     ู", "  ฎฑธํ๊ณฯญฐ", "ฤฆฏโฌ็๋ษศซ ฅ", "   ฉฮฺ์ ฒฬฦ"),
    ),
}
# By script, for languages without a layout above.
_OF_SCRIPT = {
    "Latin": "en",
    "Cyrillic": "ru",
    "Greek": "el",
    "Arabic": "ar",
    "Hebrew": "he",
    "Devanagari": "hi",
    "Bengali": "bn",
    "Tamil": "ta",
    "Telugu": "te",
    "Thai": "th",
}
_OF_LANGUAGE = {"sv": "fi", "mr": "hi", "ne": "hi"}
# How far each row stands to the right, in widths of a key.
_OFFSETS = (0.0, 0.5, 0.75, 0.25)
_REACH = 1.3
_SCRIPTS = {name: regex.compile(rf"\p{{Script={name}}}") for name in _OF_SCRIPT}


def script_of(character: str) -> str | None:
    """The script of a letter, of those with a layout here; None for others.

    Example:

    ```python
    >>> script_of("к"), script_of("字")
    ('Cyrillic', None)
    ```
    """
    return next((name for name, pattern in _SCRIPTS.items() if pattern.match(character)), None)


def layout_of(language: str, character: str) -> str | None:
    """The layout on which a language's texts have a letter: the language's own if it has the script, else the script's usual.

    Args:
        language: code of the language.
        character: the letter.

    Returns:
        The code of the language whose layout it is; None where none is known (Han, Hangul, Ethiopic …).
    """
    script = script_of(character)
    if script is None:
        return None
    code = langcodes.Language.get(language).language or language
    code = _OF_LANGUAGE.get(code, code)
    own = code in _LAYOUTS and script_of(_some_letter(code)) == script
    return code if own else _OF_SCRIPT[script]


def neighbours(layout: str, character: str) -> str:
    """The characters on the keys around a character's: letters around a letter, marks around a mark; "" without a key.

    Example:

    ```python
    >>> neighbours("en", "g"), neighbours("de", "h"), neighbours("hi", "क")
    ('tyfhvb', 'zugjbn', 'गदरतस')
    ```
    """
    return _neighbours(layout).get(character, "")


def _some_letter(layout: str) -> str:
    return _LAYOUTS[layout][0][2].strip()[-1]


@cache
def _neighbours(layout: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for rows in _LAYOUTS[layout]:
        places = {
            character: (column + offset, row)
            for row, (keys, offset) in enumerate(zip(rows, _OFFSETS, strict=True))
            for column, character in enumerate(keys)
            if character != " "
        }
        for one, (x, y) in places.items():
            near = [other for other, (u, v) in places.items() if other != one and math.hypot(u - x, v - y) < _REACH]
            found.setdefault(one, "".join(other for other in near if _is_mark(other) == _is_mark(one)))
    return found


def _is_mark(character: str) -> bool:
    return regex.match(r"\p{M}", character) is not None
