"""The data of a run: checks against test collections, several languages, short pairs, streams."""

import json
from pathlib import Path

import pytest
from datasets import IterableDataset

from recipes.runs.data import for_updates, load_data, near_duplicate_index
from recipes.runs.provenance import file_fingerprints
from recipes.runs.recipe.distillation import Recipe

LEAK = "the quick brown fox jumps over the lazy dog near the river"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """200 Swahili and 20 Somali pairs, one of which is in the collection, too."""
    for code, word, count in (("sw", "mbweha", 200), ("so", "dawaco", 20)):
        rows = [{"en": f"fox {i} sleeps, then it runs", code: f"{word} {i} analala, kisha anakimbia"} for i in range(count)]
        rows += [{"en": LEAK, code: f"{word} mwepesi aliruka juu ya mbwa mvivu karibu na mto mkubwa"}]
        (tmp_path / f"{code}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    collection = tmp_path / "animals"
    collection.mkdir()
    (collection / "corpus.jsonl").write_text(json.dumps({"_id": "d1", "text": LEAK}) + "\n")
    for code in ("en", "sw"):
        (collection / f"queries.{code}.jsonl").write_text(json.dumps({"_id": "q1", "text": "wanyama"}) + "\n")
    (collection / "qrels.tsv").write_text("q1\td1\t1\n")
    return tmp_path


def recipe(folder: Path, *overrides: str) -> Recipe:
    values = {
        "language": "mul",
        "data": {"bitext": [{"path": str(folder / f"{code}.jsonl"), "target": code} for code in ("sw", "so")], "held_out": 0.1},
        "evaluation": {"collections": [{"path": str(folder / "animals")}]},
    }
    return Recipe.of(values, overrides)


def load(folder: Path, *overrides: str):
    lines: list[str] = []
    data = load_data(recipe(folder, *overrides), lines.append)
    return data, "\n".join(lines)


def test_a_pair_that_repeats_a_test_text_is_dropped_and_reported(folder: Path):
    data, said = load(folder)
    assert LEAK not in [*data.train["source"], *data.held_out["source"]]
    assert "repeats a test text 1" in said
    assert "(like document d1 of animals)" in said
    data, _ = load(folder, "data.near_duplicates=null")
    assert LEAK in [*data.train["source"], *data.held_out["source"]]


def test_the_teacher_encodes_no_more_pairs_than_the_longest_training_sees(folder: Path):
    short = "training={max_steps: 5, per_device_train_batch_size: 8}"
    given = recipe(folder, short, "baselines={longer: {training: {max_steps: 9}}}")
    data = load_data(given, lambda text: None)
    own, twice = for_updates(data, given), for_updates(data, given, processes=2)
    assert (len(own.train), len(twice.train)) == (72, 144)
    assert own.report.to_dict()["training pairs in updates"] == 72
    assert set(own.train["target"]) < set(twice.train["target"]) < set(data.train["target"])
    assert set(own.train["language"]) == {"sw", "so"}
    assert own.sample is data.sample, "vocabulary and translations are made from all pairs"
    assert for_updates(data, recipe(folder, "training={max_steps: 9000}")) is data
    for epochs in (0.5, 1):
        assert for_updates(data, recipe(folder, f"training={{num_train_epochs: {epochs}}}")) is data
    assert for_updates(data, recipe(folder, short, "baselines={longer: {training: {max_steps: -1}}}")) is data


def test_few_pairs_of_a_language_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch):
    data, said = load(folder)
    counts = data.report.training_pairs_by_language
    assert 180 > counts["sw"] > 100 > counts["so"] > 10
    assert f"Few pairs (sw {counts['sw']}, so {counts['so']}): below 10,000" in said
    monkeypatch.setattr("recipes.runs.data.FEW_PAIRS", 100)
    _, said = load(folder)
    assert f"Few pairs (so {counts['so']}): below 100" in said
    monkeypatch.setattr("recipes.runs.data.FEW_PAIRS", 10)
    _, said = load(folder)
    assert "Few pairs" not in said


def test_documents_are_not_checked_if_not_asked_for(folder: Path):
    _, said = load(folder, "data.near_duplicates.documents=false")
    assert "repeats a test text" not in said
    assert near_duplicate_index(None, []) is None


def test_the_languages_are_those_of_the_bitext_and_a_collection_may_lack_one(folder: Path, caplog):
    data, _ = load(folder)
    assert recipe(folder).languages == ["sw", "so"]
    assert [collection.language for collection in data.collections] == ["sw"]
    assert "animals has no queries in 'so'" in caplog.text.replace("\n", " ")
    assert data.ceilings[0].corpus is data.collections[0].corpus


def test_a_collection_with_none_of_the_languages_is_an_error(folder: Path):
    (folder / "animals" / "queries.sw.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match="there are no queries in"):
        load(folder)


def test_small_languages_are_repeated_in_training_and_never_held_out_twice(folder: Path):
    plain, _ = load(folder)
    mixed, said = load(folder, "data.temperature=3")
    shares = [data.train["language"].count("so") / len(data.train) for data in (plain, mixed)]
    assert shares[1] > 2 * shares[0]
    assert mixed.held_out["target"][:] == plain.held_out["target"][:]
    assert mixed.report.training_pairs == plain.report.training_pairs < mixed.report.training_pairs_with_repetitions
    assert "small languages repeated" in said


def test_short_pairs_are_cut_from_training_pairs_only(folder: Path):
    plain, _ = load(folder)
    data, said = load(folder, "data.shortened.share=1.0")
    assert data.report.short_pairs == len(data.train) - len(plain.train) > 100
    assert f"Short pairs added: {data.report.short_pairs:,}" in said
    assert "then it runs" in data.train["source"]
    assert data.held_out["source"][:] == plain.held_out["source"][:]
    assert data.train["length"][:] == [len(text) for text in data.train["target"]]


@pytest.mark.parametrize("more", [[], ["data.streaming.sample=500", "teacher.live=true", "training.max_steps=2"]])
def test_no_short_pair_repeats_a_test_text_or_a_held_out_one(folder: Path, more: list[str]):
    query = {"_id": "q1", "text": "mbuzi hula nyasi kavu"}
    (folder / "animals" / "queries.sw.jsonl").write_text(json.dumps(query) + "\n")
    animals = [f"{kind} {n}" for kind in ("goats", "sheep") for n in range(40)]
    rows = [{"en": f"{one} drink water", "sw": f"{one} hunywa maji"} for one in animals]
    rest = ", and then they rest", ", na kisha hupumzika"
    rows += [{"en": f"{one} drink water{rest[0]}", "sw": f"{one} hunywa maji{rest[1]}"} for one in animals]
    rows += [{"en": "goats eat dry grass, but not here in town", "sw": f"{query['text']}, lakini si hapa mjini"}]
    (folder / "sw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data, _ = load(folder, "data.shortened.share=1.0", "data.shortened.max_words=4", "data.held_out=0.3", *more)
    seen = {text for row in data.train for text in (row["source"], row["target"])}
    held = {*data.held_out["source"], *data.held_out["target"]}
    assert "and then they rest" in seen, "other clauses are cut"
    assert len(held) > 50
    assert not seen & held
    assert query["text"] not in seen


def test_every_file_of_training_data_has_a_name_of_its_own(tmp_path: Path):
    paths = [tmp_path / name for name in ("a/train.jsonl", "b/train.jsonl", "x/en/text.txt", "y/en/text.txt", "other.tsv")]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    found = file_fingerprints([*paths, paths[0]])
    assert list(found) == ["a/train.jsonl", "b/train.jsonl", "x/en/text.txt", "y/en/text.txt", "other.tsv"]
    assert len(set(found.values())) == 5


def test_a_stream_leaves_out_what_is_held_out_and_what_repeats_a_test(folder: Path):
    data, _ = load(folder, "data.streaming.sample=100", "teacher.live=true", "training.max_steps=2")
    assert isinstance(data.train, IterableDataset)
    assert len(data.sample) + len(data.held_out) <= 100
    seen = {row["source"] for row in data.train}
    assert len(seen) > 150
    assert not seen & ({LEAK} | set(data.held_out["source"]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.streaming.sample=9"], "data.streaming needs `training.max_steps`"),
        (["data.streaming.sample=9", "training.max_steps=3"], "data.streaming needs teacher.live=true"),
        (["data.streaming.sample=0"], "data.streaming: streaming.sample is 0"),
        (["data.streaming.sampel=9"], "unknown key `data.streaming.sampel`. Did you mean 'sample'?"),
        (["data.temperature=0.5"], "data: temperature is 0.5"),
        (["data.script_share=2"], "data: script_share is 2"),
        (["data.shortened.share=0"], "data.shortened: shortened.share is 0"),
        (["data.near_duplicates.words=0"], "data.near_duplicates: near_duplicates.words is 0"),
        (["data.bitext.0.scripts=[latin]"], "data.bitext.0: scripts: 'latin' is no ISO 15924 code"),
        (["data.bitext.0.max_pairs=0"], "data.bitext.0: max_pairs is 0"),
        (["student.vocabulary.mode=both"], "student.vocabulary: vocabulary.mode is 'both'"),
    ],
)
def test_a_wrong_value_is_told_with_its_key(folder: Path, overrides: list[str], message: str):
    with pytest.raises(ValueError) as error:
        recipe(folder, *overrides)
    assert message in str(error.value)


def test_fewer_training_pairs_are_a_part_of_more_and_the_held_out_pairs_stay(folder: Path):
    all_pairs, few, fewer = (load(folder, f"data.max_training_pairs={n}")[0] for n in ("null", 50, 20))
    assert (len(few.train), len(fewer.train), few.report.training_pairs) == (50, 20, 50)
    assert set(fewer.train["target"]) < set(few.train["target"]) < set(all_pairs.train["target"])
    assert few.held_out["target"] == all_pairs.held_out["target"]
    other, _ = load(folder, "data.max_training_pairs=20", "seed=1")
    assert set(other.train["target"]) != set(fewer.train["target"])


def test_more_pairs_than_there_are_are_all(folder: Path):
    assert load(folder, "data.max_training_pairs=100000")[0].train["target"] == load(folder)[0].train["target"]


@pytest.mark.parametrize("value", ["0", "-3"])
def test_no_training_pairs_are_refused(folder: Path, value: str):
    with pytest.raises(ValueError, match="max_training_pairs"):
        recipe(folder, f"data.max_training_pairs={value}")


def by_language(folder: Path) -> Path:
    """Documents of their own for Swahili and Somali, with the same ids."""
    root = folder / "own"
    for code in ("sw", "so", "fi"):
        place = root / code
        place.mkdir(parents=True)
        texts = [{"_id": f"d{i}", "text": f"{code} {i}"} for i in range(8)]
        (place / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
        queries = [{"_id": f"q{i}", "text": f"swali {code} {i}"} for i in range(6)]
        (place / f"queries.{code}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
        (place / "qrels.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(6)))
    return root


def test_documents_of_one_language_are_never_searched_by_queries_of_another(folder: Path):
    data, _ = load(folder, f"evaluation.collections=[{{path: {by_language(folder)}}}]")
    assert {one.language: one.corpus["d1"] for one in data.collections} == {"sw": "sw 1", "so": "so 1"}
    parallel, _ = load(folder)
    assert len({id(one.corpus) for one in [*parallel.collections, *parallel.ceilings]}) == 1, "encoded once"


def test_languages_without_bitext_are_tested_where_they_are_named(folder: Path):
    own = f"evaluation.collections=[{{path: {by_language(folder)}, languages: [so, fi]}}]"
    assert [one.language for one in load(folder, own)[0].collections] == ["so"]
    data, _ = load(folder, own, "evaluation.languages=[sw, so, fi]")
    assert [one.language for one in data.collections] == ["so", "fi"]
    assert set(data.report.training_pairs_by_language) == {"sw", "so"}
    assert load(folder, own.replace("so, fi", "de"))[0].collections == []


def test_fewer_queries_and_documents_are_the_same_ones_in_every_language_and_keep_the_relevant_ones(folder: Path):
    root = by_language(folder)
    few, _ = load(folder, f"evaluation.collections=[{{path: {root}, max_queries: 2, max_documents: 3}}]")
    fewer, _ = load(folder, f"evaluation.collections=[{{path: {root}, max_queries: 1, max_documents: 1}}]")
    queries = {tuple(one.queries) for one in few.collections}
    assert len(queries) == 1, "the same in both languages"
    for one, less in zip(few.collections, fewer.collections, strict=True):
        assert (len(one.queries), len(one.corpus)) == (2, 3)
        assert set(one.qrels) == set(one.queries)
        assert {d for grades in one.qrels.values() for d in grades} <= set(one.corpus)
        assert set(less.queries) < set(one.queries), "fewer are a part of more"
        assert one.notes == [f"{one.name}: 2 of 6 queries were drawn.", f"{one.name}: 3 of 8 documents were drawn."]
    with pytest.raises(ValueError, match=r"max_queries is 0; it must be at least 1"):
        load(folder, f"evaluation.collections=[{{path: {root}, max_queries: 0}}]")


def test_bitext_of_some_groups_alone_is_trained_on(folder: Path):
    grouped = [f"data.bitext.{place}.group={name}" for place, name in enumerate(("news", "stories"))]
    data, _ = load(folder, *grouped, "data.groups=stories", "evaluation.collections=[]")
    assert set(data.report.training_pairs_by_language) == {"so"}
    both, _ = load(folder, *grouped, "data.groups=news+stories", "evaluation.collections=[]")
    assert set(both.report.training_pairs_by_language) == {"sw", "so"}
    with pytest.raises(ValueError, match=r"unknown key `data\.groups`\. Did you mean 'stories'"):
        load(folder, *grouped, "data.groups=story")
