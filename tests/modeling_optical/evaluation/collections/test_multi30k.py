"""Multi30k captions in the files of its repository."""

import pytest

from modeling_optical.evaluation import load_collection

FILES = {
    "data/task1/raw/test_2016_flickr.en.gz": "A man in an orange hat.\nA dog runs.\n",
    "data/task1/raw/test_2016_flickr.de.gz": "Ein Mann mit einem orangefarbenen Hut.\nEin Hund rennt.\n",
    "data/task1/raw/val.en.gz": "A girl.\n",
    "data/task1/raw/val.de.gz": "Ein Mädchen.\n",
    "data/task2/raw/test_2016.1.en.gz": "one a\none b\n",
    "data/task2/raw/test_2016.2.en.gz": "two a\ntwo b\n",
    "data/task2/raw/test_2016.1.de.gz": "eins a\neins b\n",
    "data/task2/raw/test_2016.2.de.gz": "zwei a\nzwei b\n",
}


def test_a_caption_finds_the_english_one_of_its_line(write):
    found = load_collection(write(FILES), "de")
    assert (found.name, found.parallel) == ("multi30k-test_2016_flickr", True)
    assert found.queries == {"0-0": "Ein Mann mit einem orangefarbenen Hut.", "1-0": "Ein Hund rennt."}
    assert dict(found.corpus.items()) == {"0-0": "A man in an orange hat.", "1-0": "A dog runs."}
    assert found.qrels == {"0-0": {"0-0": 1}, "1-0": {"1-0": 1}}


def test_every_description_of_the_image_is_relevant_in_task_two(write):
    found = load_collection(write(FILES), "de", split="task2-test_2016")
    assert len(found.queries) == len(found.corpus) == 4
    assert found.queries["1-1"] == "zwei b"
    assert found.qrels["1-1"] == {"1-0": 1, "1-1": 1}


def test_an_unknown_set_lists_the_sets(write):
    with pytest.raises(FileNotFoundError, match=r"no set 'test'\. Sets here: task2-test_2016, test_2016_flickr, val"):
        load_collection(write(FILES), "de", split="test")


def test_a_missing_language_lists_the_languages(write):
    with pytest.raises(FileNotFoundError, match=r"no queries in 'fr'\. Languages here: de, en\."):
        load_collection(write(FILES), "fr")


def test_files_that_do_not_run_in_parallel_are_refused(write):
    with pytest.raises(ValueError, match=r"flickr\.de\.gz has 1 lines and .*flickr\.en\.gz has 2"):
        load_collection(write(FILES | {"data/task1/raw/test_2016_flickr.de.gz": "Ein Mann.\n"}), "de")
