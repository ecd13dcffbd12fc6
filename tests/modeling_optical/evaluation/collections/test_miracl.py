"""MIRACL's raw files, as its two data sets on the Hub hold them."""

import pytest

from modeling_optical.evaluation import load_collection

FILES = {
    "miracl/miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv": "2\tMji mkuu wa Kenya ni upi?\n7\tNani alivumbua simu?\n",
    "miracl/miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-train.tsv": "9\tZiwa kubwa ni lipi?\n",
    "miracl/miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-test-a.tsv": "11\tBila majibu\n",
    "miracl/miracl-v1.0-sw/qrels/qrels.miracl-v1.0-sw-dev.tsv": "2 Q0 39#0 1\n2 Q0 39#1 0\n7\tQ0\t8#0\t1\n",
    "miracl/miracl-v1.0-sw/qrels/qrels.miracl-v1.0-sw-train.tsv": "9 Q0 8#0 1\n",
    "miracl/miracl-v1.0-fi/topics/topics.miracl-v1.0-fi-dev.tsv": "1\tMikä?\n",
    "miracl-corpus/miracl-corpus-v1.0-sw/docs-0.jsonl.gz": [
        {"docid": "39#0", "title": "Nairobi", "text": "Nairobi ni mji mkuu."},
        {"docid": "39#1", "title": "Nairobi", "text": "Ina watu wengi."},
    ],
    "miracl-corpus/miracl-corpus-v1.0-sw/docs-1.jsonl.gz": [{"docid": "8#0", "title": "Simu", "text": "Bell alivumbua simu."}],
}


def test_topics_judgements_and_packed_shards_become_a_collection(write):
    found = load_collection(write(FILES), "sw")
    assert (found.name, found.language, found.query_language, found.parallel) == ("miracl-dev", "sw", "sw", False)
    assert found.queries == {"2": "Mji mkuu wa Kenya ni upi?", "7": "Nani alivumbua simu?"}
    assert found.qrels == {"2": {"39#0": 1, "39#1": 0}, "7": {"8#0": 1}}
    assert dict(found.corpus.items()) == {
        "39#0": "Nairobi Nairobi ni mji mkuu.",
        "39#1": "Nairobi Ina watu wengi.",
        "8#0": "Simu Bell alivumbua simu.",
    }


def test_another_split_is_another_collection(write):
    found = load_collection(write(FILES), "sw", split="train")
    assert (found.name, list(found.queries)) == ("miracl-train", ["9"])


def test_a_split_without_judgements_names_those_that_have_them(write):
    with pytest.raises(FileNotFoundError, match=r"qrels\.miracl-v1\.0-sw-test-a\.tsv is missing.*here: dev, train"):
        load_collection(write(FILES), "sw", split="test-a")


def test_a_missing_language_lists_the_languages(write):
    with pytest.raises(FileNotFoundError, match=r"no queries in 'de'\. Languages here: fi, sw\."):
        load_collection(write(FILES), "de")


@pytest.mark.parametrize("missing", [["docs-0"], ["docs-0", "docs-1"]], ids=["one shard", "all"])
def test_a_missing_shard_is_named(write, missing):
    kept = {name: text for name, text in FILES.items() if not any(shard in name for shard in missing)}
    with pytest.raises(FileNotFoundError, match=r"docs-0\.jsonl\.gz is missing"):
        load_collection(write(kept), "sw")


def test_shards_are_read_in_the_order_of_their_numbers(write):
    shards = {f"miracl-corpus-v1.0-sw/docs-{n}.jsonl.gz": [{"docid": f"{n}#0", "title": "", "text": "t"}] for n in range(11)}
    files = {name: text for name, text in FILES.items() if "corpus" not in name} | shards
    assert list(dict(load_collection(write(files), "sw").corpus.items())) == [f"{n}#0" for n in range(11)]


def test_a_damaged_archive_is_refused_by_its_name(write):
    root = write(FILES)
    shard = root / "miracl-corpus/miracl-corpus-v1.0-sw/docs-1.jsonl.gz"
    shard.write_bytes(shard.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"docs-1\.jsonl\.gz is damaged or cut off"):
        load_collection(root, "sw")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "miracl/miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv",
            "2 no tab\n",
            r"sw-dev\.tsv:1: expected query id and text",
        ),
        (
            "miracl/miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv",
            "2\ta\n2\tb\n",
            r"sw-dev\.tsv:2: the id '2' appears twice",
        ),
        ("miracl/miracl-v1.0-sw/qrels/qrels.miracl-v1.0-sw-dev.tsv", "2 Q0 39#0\n", r"sw-dev\.tsv:1: expected `query 0"),
        (
            "miracl-corpus/miracl-corpus-v1.0-sw/docs-1.jsonl.gz",
            '{"docid": "39#0", "text": "t"}\n',
            r"docs-1.*:1: the id '39#0'",
        ),
        (
            "miracl-corpus/miracl-corpus-v1.0-sw/docs-1.jsonl.gz",
            '{"id": "1", "text": "t"}\n',
            r"docs-1.*:1: .*`docid` and `text`",
        ),
    ],
)
def test_a_bad_line_is_refused_with_its_file_and_line(write, name, text, message):
    with pytest.raises(ValueError, match=message):
        load_collection(write(FILES | {name: text}), "sw")
