"""Translation models, against loops that say what they compute."""

import itertools
from collections import defaultdict

import numpy as np
import pytest

from trainer.vocabulary import agreed_translations, alignment, ibm_model_1

TARGETS, SOURCES = [[0, 1], [0], [1, 2], [2, 2, 0], []], [[0, 1], [0], [1], [2, 0], [1]]


def posteriors(generators, generated, p, empty):
    """Of every token that is generated, how surely each token of the other side or the empty word generates it."""
    links, by_empty = {}, defaultdict(float)
    for pair, (fs, es) in enumerate(zip(generators, generated, strict=True)):
        for j, e in enumerate(es):
            total = sum(p[f, e] for f in fs) + empty[e]
            links |= {(pair, i, j): p[f, e] / total for i, f in enumerate(fs)}
            by_empty[e] += empty[e] / total
    return links, by_empty


def learnt(generators, generated, links):
    counts, totals = defaultdict(float), defaultdict(float)
    for (pair, i, j), value in links.items():
        f, e = generators[pair][i], generated[pair][j]
        counts[f, e] += value
        totals[f] += value
    return defaultdict(float, {(f, e): count / totals[f] for (f, e), count in counts.items()})


def as_table(p):
    return np.array([[p[f, e] if p[f, e] > 1e-4 else 0.0 for e in range(3)] for f in range(3)])


def start():
    return defaultdict(lambda: 1.0), defaultdict(lambda: 1.0)


def shares(counts):
    return {e: count / sum(counts.values()) for e, count in counts.items()}


def test_translation_probabilities_equal_a_plain_em():
    p, empty = start()
    for _ in range(5):
        links, by_empty = posteriors(TARGETS, SOURCES, p, empty)
        p, empty = learnt(TARGETS, SOURCES, links), shares(by_empty)
    np.testing.assert_allclose(ibm_model_1(TARGETS, SOURCES, 3, 3, iterations=5).toarray(), as_table(p), atol=1e-9)


@pytest.mark.parametrize("iterations", [3, 6])
def test_two_models_that_agree_equal_plain_loops(iterations):
    (p, empty), (q, no_target) = start(), start()
    for round_ in range(iterations):
        own, by_empty = posteriors(TARGETS, SOURCES, p, empty)
        others, by_no_target = posteriors(SOURCES, TARGETS, q, no_target)
        others = {(pair, i, j): value for (pair, j, i), value in others.items()}
        if round_ >= 3:
            own = others = {link: own[link] * others[link] for link in own}
        p, empty = learnt(TARGETS, SOURCES, own), shares(by_empty)
        q, no_target = (
            learnt(SOURCES, TARGETS, {(pair, j, i): value for (pair, i, j), value in others.items()}),
            shares(by_no_target),
        )
    own, _ = posteriors(TARGETS, SOURCES, p, empty)
    others, _ = posteriors(SOURCES, TARGETS, q, no_target)
    both = learnt(TARGETS, SOURCES, {(pair, i, j): own[pair, i, j] * others[pair, j, i] for pair, i, j in own})
    found = agreed_translations(TARGETS, SOURCES, 3, 3, iterations=iterations).toarray()
    np.testing.assert_allclose(found, as_table(both), atol=1e-9)


def test_a_word_that_occurs_once_gets_what_nothing_else_explains_and_little_more():
    # 0 means 0 and 1 means 1 throughout; 2 occurs once, beside both.
    targets = [[0], [1], [0, 1]] * 6 + [[0, 1, 2]]
    rare = {model: model(targets, targets, 3, 3).toarray()[2] for model in (ibm_model_1, agreed_translations)}
    assert rare[agreed_translations][2] > 0.999 > rare[ibm_model_1][2]


@pytest.mark.parametrize("model", [ibm_model_1, agreed_translations])
def test_no_bitext_translates_nothing(model):
    for pairs in ([], [[]], [[], []]):
        assert model(pairs, pairs, 3, 4).toarray().tolist() == np.zeros((3, 4)).tolist()


def test_too_much_bitext_is_a_sample_that_is_told_of_and_stays_the_same(monkeypatch, caplog):
    monkeypatch.setattr(alignment, "_MOST_LINKS", 5)
    monkeypatch.setattr(alignment.logger, "propagate", True)
    tables = [agreed_translations(TARGETS, SOURCES, 3, 3, seed=seed).toarray() for seed in (1, 1, 2)]
    assert tables[0].any()
    assert (tables[0] == tables[1]).all()
    assert "of 5 pairs are used, to bound memory" in caplog.text
    whole = agreed_translations(TARGETS, SOURCES, 3, 3)
    assert any((table != whole.toarray()).any() for table in tables)


def test_probabilities_of_a_target_piece_sum_to_one_or_less():
    generator = np.random.default_rng(0)
    texts = [generator.integers(0, 6, generator.integers(1, 7)).tolist() for _ in range(40)]
    for model, (f, e) in itertools.product((ibm_model_1, agreed_translations), ((texts, texts[::-1]), (texts[::-1], texts))):
        assert (model(f, e, 6, 6).sum(1) <= 1 + 1e-9).all()
