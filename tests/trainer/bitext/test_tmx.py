"""TMX: languages, markup, and files that are cut off or made to harm."""

import gzip
from pathlib import Path

import pytest

from trainer.bitext import BitextSource, load_bitext
from trainer.bitext.readers import read_pairs

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n<tmx version="1.4">'
HEAD += '<header srclang="en"/><body>\n'
TAIL = "</body></tmx>\n"


def unit(**texts: str) -> str:
    return "<tu>" + "".join(f'<tuv xml:lang="{k.replace("_", "-")}"><seg>{v}</seg></tuv>' for k, v in texts.items()) + "</tu>\n"


def load(folder: Path, content: str, target: str = "sw", name: str = "x.tmx"):
    path = folder / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    bitext, report = load_bitext([BitextSource(path=str(path), source="en", target=target)])
    return list(zip(bitext["source"], bitext["target"], strict=True)), report


@pytest.mark.parametrize("name", ["x.tmx", "X.TMX", "x.tmx.gz"])
def test_units_are_pairs(tmp_path: Path, name: str):
    pairs, _ = load(tmp_path, HEAD + unit(en="a fox", sw="mbweha") + unit(sw="mbwa", en="a dog") + TAIL, name=name)
    assert pairs == [("a fox", "mbweha"), ("a dog", "mbwa")]


@pytest.mark.parametrize("code", ["sw", "SW", "sw_KE"])
def test_a_language_takes_its_narrower_tags_in_any_case(tmp_path: Path, code: str):
    assert load(tmp_path, HEAD + unit(en_US="a fox", **{code: "mbweha"}) + TAIL)[0] == [("a fox", "mbweha")]


def test_a_narrower_tag_takes_only_itself_and_the_exact_tag_goes_first(tmp_path: Path):
    units = unit(en="a fox", sw_TZ="wa Tanzania", sw="mbweha", sw_KE="wa Kenya") + unit(en="a dog", sw="mbwa")
    assert load(tmp_path, HEAD + units + TAIL)[0] == [("a fox", "mbweha"), ("a dog", "mbwa")]
    pairs, report = load(tmp_path, HEAD + units + TAIL, target="sw-KE")
    assert pairs == [("a fox", "wa Kenya")]
    assert report.examples == {"no segment in 'sw-KE'": [f"{tmp_path / 'x.tmx'}:unit 2"]}


def test_markup_of_the_translated_document_is_no_text_and_highlighted_text_is(tmp_path: Path):
    seg = 'a <bpt i="1">&lt;b&gt;</bpt>red<ept i="1">&lt;/b&gt;</ept> <hi>fox<ph>&lt;br/&gt;</ph></hi>&amp; co'
    assert load(tmp_path, HEAD + unit(en=seg, sw="mbweha") + TAIL)[0] == [("a red fox& co", "mbweha")]


def test_a_language_that_is_not_there_is_told_with_those_that_are(tmp_path: Path):
    with pytest.raises(ValueError, match=r"x\.tmx has no segment in 'so'\. Languages there: en, sw-KE"):
        load(tmp_path, HEAD + unit(en="a fox", sw_KE="mbweha") + TAIL, target="so")


def test_a_file_that_is_cut_off_is_told_with_its_line(tmp_path: Path):
    with pytest.raises(ValueError, match=r"x\.tmx:6: not well-formed XML after 2 units"):
        load(tmp_path, HEAD + unit(en="a fox", sw="mbweha") + unit(en="a dog", sw="mbwa") + "<tu><tuv")


def test_a_packed_file_that_is_cut_off_is_told_by_name(tmp_path: Path):
    path = tmp_path / "x.tmx.gz"
    content = HEAD + "".join(unit(en=f"fox {i}", sw=f"mbweha {i * 7919}") for i in range(2000)) + TAIL
    path.write_bytes(gzip.compress(content.encode())[:3000])
    with pytest.raises(ValueError, match=r"x\.tmx\.gz is damaged or cut off"):
        load_bitext([BitextSource(path=str(path), target="sw")])


def test_entities_that_would_fill_the_memory_are_refused(tmp_path: Path):
    lol = '<!ENTITY l0 "ha">' + "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    content = f"<?xml version='1.0'?><!DOCTYPE tmx [{lol}]><tmx><body>" + unit(en="&l9;", sw="x") + TAIL
    with pytest.raises(ValueError, match=r"x\.tmx declares entities, which is refused"):
        load(tmp_path, content)


def test_memory_does_not_grow_with_the_units(tmp_path: Path):
    import tracemalloc

    from trainer.bitext.readers import read_pairs

    path = tmp_path / "x.tmx"
    path.write_text(HEAD + "".join(unit(en=f"fox {i} " + "x" * 200, sw=f"mbweha {i}") for i in range(4000)) + TAIL)
    tracemalloc.start()
    count = sum(1 for _ in read_pairs(BitextSource(path=str(path), target="sw")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 4000
    assert peak < path.stat().st_size / 2


UNIT = '<{p}tu><{p}tuv xml:lang="en">{en}</{p}tuv><{p}tuv xml:lang="sw">{sw}</{p}tuv></{p}tu>'


@pytest.mark.parametrize("prefix", ["", "t:"])
@pytest.mark.parametrize("space", ["", "http://www.lisa.org/tmx14"])
def test_the_namespace_of_a_file_does_not_matter(prefix, space, tmp_path):
    declared = f' xmlns{":" if prefix else ""}{prefix.rstrip(":")}="{space or "urn:x"}"' if prefix or space else ""
    segments = {
        code: f"<{prefix}seg>{text} <{prefix}bpt i='1'>x</{prefix}bpt></{prefix}seg>"
        for code, text in (("en", "fox"), ("sw", "mbweha"))
    }
    unit = UNIT.format(p=prefix, **segments)
    (tmp_path / "x.tmx").write_text(f"<{prefix}tmx{declared}><{prefix}body>{unit}</{prefix}body></{prefix}tmx>")
    found = list(read_pairs(BitextSource(path=str(tmp_path / "x.tmx"), source="en", target="sw")))
    assert [pair for _, pair, _ in found] == [("fox", "mbweha", "")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            f"<tmx><body>{UNIT.format(p='', en='fox', sw='mbweha')}</body></tmx>",
            r"variants in 'en' have no <seg>.*there: en, sw",
        ),
        (f"<tmx><body>{UNIT.format(p='', en='<seg>fox</seg>', sw='')}</body></tmx>", r"variants in 'sw' have no <seg>"),
        ("<tmx><body><tu><tuv><seg>fox</seg></tuv></tu></body></tmx>", r"no segment in 'en'. Languages there: \(no code\)"),
        ("<xliff><file/></xliff>", r"no translation unit.*outermost element is <xliff>"),
    ],
    ids=["no segments", "no segment in one language", "no codes", "another format"],
)
def test_a_file_without_the_texts_is_told_what_it_lacks(content, problem, tmp_path):
    (tmp_path / "x.tmx").write_text(content)
    with pytest.raises(ValueError, match=problem):
        list(read_pairs(BitextSource(path=str(tmp_path / "x.tmx"), source="en", target="sw")))
