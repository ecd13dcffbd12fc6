"""Batches of one topic."""

from collections import Counter

import numpy as np
import pytest
from datasets import Dataset, IterableDataset

from trainer import OpticalTrainer, OpticalTrainingArguments, TeacherCache
from trainer.distillation.topic_batches import TopicSampler, topics_of

TOPICS = np.array([0] * 21 + [1] * 9 + [2] * 34)


def batches(sampler: TopicSampler) -> list[list[int]]:
    order = list(sampler)
    return [order[start : start + sampler.batch_size] for start in range(0, len(order), sampler.batch_size)]


def test_every_text_comes_once_in_an_epoch():
    sampler = TopicSampler(TOPICS, 4)
    assert sorted(sampler) == list(range(64))
    assert len(sampler) == 64


def test_batches_are_of_one_topic_but_for_what_is_left_of_the_topics():
    mixed = [batch for batch in batches(TopicSampler(TOPICS, 4)) if len(set(TOPICS[batch])) > 1]
    assert len(mixed) == 1  # 1 + 1 + 2 texts are left


def test_a_short_batch_comes_last():
    assert [len(batch) for batch in batches(TopicSampler(TOPICS, 5))] == [5] * 12 + [4]


def test_epochs_differ_and_the_same_epoch_is_the_same():
    sampler = TopicSampler(TOPICS, 4, seed=3)
    first = list(sampler)
    assert list(sampler) == first == list(TopicSampler(TOPICS, 4, seed=3))
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(TopicSampler(TOPICS, 4, seed=4)) != first


def test_texts_of_like_length_share_a_batch():
    lengths = np.random.default_rng(0).permutation(64).tolist()

    def spread(sampler):
        return np.mean([np.ptp([lengths[i] for i in batch]) for batch in batches(sampler)])

    assert spread(TopicSampler(TOPICS, 4, lengths=lengths)) < 0.6 * spread(TopicSampler(TOPICS, 4))


def two_topics(teacher, tmp_path) -> tuple[Dataset, TeacherCache]:
    """Sentences that say one of two words, more or less often."""
    sources = [" ".join([("cat", "translation")[index % 2]] * (5 + index // 8)) for index in range(40)]
    bitext = Dataset.from_dict({"source": sources, "target": sources, "kind": ["query", "document"] * 20})
    cache = TeacherCache(tmp_path, teacher, dtype="float32")
    for kind in ("query", "document"):
        cache.build(sources, kind, show_progress_bar=False)
    return bitext, cache


def test_sentences_about_the_same_have_the_same_topic(teacher, tmp_path):
    bitext, cache = two_topics(teacher, tmp_path)
    topics = topics_of(bitext, cache, 2)
    assert Counter(topics[::2]) in ({0: 20}, {1: 20})
    assert Counter(topics) == {0: 20, 1: 20}


def test_a_live_teacher_finds_the_topics_of_a_cached_one(teacher, tmp_path):
    bitext, cache = two_topics(teacher, tmp_path)
    assert topics_of(bitext, teacher, 2).tolist() == topics_of(bitext, cache, 2).tolist()


def test_there_are_no_more_topics_than_different_texts(teacher):
    bitext = Dataset.from_dict({"source": ["a cat", "a dog"] * 4, "target": ["paka", "mbwa"] * 4})
    assert set(topics_of(bitext, teacher, 5).tolist()) == {0, 1}


def arguments(folder, **values) -> OpticalTrainingArguments:
    return OpticalTrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none", **values)


def test_the_trainer_draws_batches_of_one_topic(student, teacher, tmp_path):
    bitext, cache = two_topics(teacher, tmp_path)
    args = arguments(tmp_path, topics=2, per_device_train_batch_size=4, remove_unused_columns=False)
    trainer = OpticalTrainer(model=student, args=args, teacher=cache, train_dataset=bitext, data_collator=lambda rows: rows)
    for batch in trainer.get_train_dataloader():
        assert len({row["kind"] for row in batch}) == 1  # of these sentences, the kind tells the topic


def test_a_topic_has_a_batch_on_average_however_few_pairs_there_are(student, teacher, tmp_path):
    bitext, cache = two_topics(teacher, tmp_path)
    args = arguments(tmp_path, topics=64, per_device_train_batch_size=16)
    trainer = OpticalTrainer(model=student, args=args, teacher=cache, train_dataset=bitext)
    assert trainer._get_train_sampler().topics.max() < 2


def test_a_stream_is_refused(student, teacher, tmp_path):
    stream = IterableDataset.from_generator(lambda: iter([{"source": "a cat", "target": "paka"}]))
    args = arguments(tmp_path, topics=2, max_steps=1)
    with pytest.raises(ValueError, match="topics need all pairs before training: give a data set"):
        OpticalTrainer(model=student, args=args, teacher=teacher, train_dataset=stream)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"topics": 1}, "topics.*at least 2"),
        ({"topics": 8, "train_sampling_strategy": "sequential"}, "topics and train_sampling_strategy='sequential'"),
    ],
)
def test_what_topics_cannot_be_is_said(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        arguments(tmp_path, **values)
