"""Two answerers against what they should compute, and a head against another package's conditional logit."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from modeling_optical import OpticalModel
from modeling_optical.evaluation.questions import answer_by_likelihood, mean_log_likelihoods, read_answers, save_answers
from modeling_optical.evaluation.questions.answers import choose
from modeling_optical.evaluation.questions.late_interaction import (
    answer,
    encode_choices,
    fit_choice_head,
    fit_conditional_logit,
    with_choice_head,
)
from modeling_optical.evaluation.questions.question import Question, question_set
from tests.conftest import TEXTS, bytelevel_tokenizer


@pytest.fixture
def student(bert):
    torch.manual_seed(0)
    return OpticalModel.from_backbone(bert, embedding_dim=16, query_length=8, document_length=32)


@pytest.fixture(scope="module")
def causal():
    tokenizer = bytelevel_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=128, n_embd=32, n_layer=2, n_head=2)
    return GPT2LMHeadModel(config).eval(), tokenizer


def questions(choices: int = 3):
    own = [
        Question(f"letters/{i}", text, (TEXTS[(i + 1) % 6], text, TEXTS[(i + 2) % 6])[:choices], 1)
        for i, text in enumerate(TEXTS[:6])
    ]
    return question_set("letters", "sw", own)


def test_a_text_chooses_itself(student):
    found = answer("optical", with_choice_head(student), questions(), question_length=32)
    assert found.chosen == {f"letters/{i}": 1 for i in range(6)}
    assert set(found.accuracy.values()) == {1.0}


def test_the_choices_may_come_from_another_encoder(student, bert):
    torch.manual_seed(1)
    other = OpticalModel.from_backbone(bert, embedding_dim=16, document_length=32)
    model = with_choice_head(student)
    theirs = encode_choices(other, questions())
    own, mixed = (answer("a", model, questions(), choices=choices).chosen for choices in (None, theirs))
    scores = {
        q.identifier: [
            (torch.from_numpy(student.encode_query([q.text])[0]) @ torch.from_numpy(other.encode_document([c])[0]).T)
            .amax(1).mean().item()
            for c in q.choices
        ]
        for q in questions().questions
    }  # fmt: skip
    assert mixed == {identifier: int(np.argmax(own)) for identifier, own in scores.items()}
    assert own != mixed


def test_a_long_question_is_read_whole_and_not_drowned_in_mask_tokens(bert):
    torch.manual_seed(0)
    model = OpticalModel.from_backbone(bert, embedding_dim=16, query_length=8, query_expansion="fixed", document_length=32)
    from modeling_optical.evaluation.questions.late_interaction import _question_vectors

    short, long = _question_vectors(model, ["the cat", TEXTS[0]], 64, 4)
    tokens = len(model.get_processor().tokenizer(TEXTS[0])["input_ids"])
    assert (len(short), len(long)) == (8, tokens)


def test_the_head_is_the_conditional_logit_of_statsmodels():
    statsmodels = pytest.importorskip("statsmodels.discrete.conditional_models", reason="statsmodels is not installed")
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, 4, 3))
    truth = np.array([2.0, 1.0, -0.5])
    right = (features @ truth + generator.gumbel(size=(200, 4))).argmax(1)
    chosen = (np.arange(4) == right[:, None]).astype(float)
    theirs = statsmodels.ConditionalLogit(chosen.ravel(), features.reshape(-1, 3), groups=np.repeat(np.arange(200), 4)).fit(
        disp=0
    )
    there = torch.ones(200, 4, dtype=torch.bool)
    ours = fit_conditional_logit(torch.from_numpy(features), there, torch.from_numpy(right), penalty=0.0)
    assert ours.squeeze(0).tolist() == pytest.approx(theirs.params.tolist(), abs=1e-4)


def test_a_head_never_lowers_the_likelihood_of_the_questions_it_was_fitted_on(student):
    weight = fit_choice_head(student, questions(), question_length=32)
    plain, fitted = with_choice_head(student), with_choice_head(student, weight)
    assert weight.shape == (1, 3)
    assert not torch.equal(weight, plain.choice_head.weight)
    assert torch.equal(fitted.choice_head.weight, weight)
    assert sum(answer("b", fitted, questions(), question_length=32).correct.values()) == 6


def test_a_question_with_fewer_choices_stands_beside_others(student):
    two = Question("letters/x", TEXTS[0], (TEXTS[1], TEXTS[0]), 1)
    mixed = question_set("letters", "sw", [*questions().questions, two])
    assert answer("a", with_choice_head(student), mixed, question_length=32).chosen["letters/x"] == 1


def test_the_likelihood_is_the_mean_over_the_continuations_tokens(causal):
    model, tokenizer = causal
    contexts, continuations = ["the cat", "paka alikaa kwenye"], [" sat on the mat", " mkeka"]
    found = mean_log_likelihoods(model, tokenizer, contexts, continuations, batch_size=2)
    for value, context, continuation in zip(found, contexts, continuations, strict=True):
        ids = tokenizer(context + continuation, return_tensors="pt")["input_ids"]
        first = len(tokenizer(context)["input_ids"])
        with torch.no_grad():
            log = model(ids).logits.log_softmax(-1)
        expected = torch.stack([log[0, t - 1, ids[0, t]] for t in range(first, ids.shape[1])]).mean()
        assert value.item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_question_beyond_the_length_loses_its_beginning(causal):
    model, tokenizer = causal
    long = mean_log_likelihoods(model, tokenizer, ["zzz " * 20 + "the cat"], [" sat"], max_length=10)
    ids = tokenizer("zzz " * 20 + "the cat sat")["input_ids"][-10:]
    added = len(ids) - (10 - (len(tokenizer("the cat sat")["input_ids"]) - len(tokenizer("the cat")["input_ids"])))
    with torch.no_grad():
        log = model(torch.tensor([ids])).logits.log_softmax(-1)[0]
    expected = np.mean([log[t - 1, ids[t]].item() for t in range(10 - added, 10)])
    assert long.item() == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="tokens; 1 to 9 can be judged"):
        mean_log_likelihoods(model, tokenizer, ["the cat"], [" " + "sat " * 20], max_length=10)


def test_a_model_that_has_learned_the_answers_gives_them(causal):
    model, tokenizer = causal
    own = questions()
    texts = [f"Question: {q.text}\nAnswer: {q.choices[q.right]}" for q in own.questions]
    torch.manual_seed(0)
    learner = GPT2LMHeadModel(model.config).train()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=3e-3)
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for _ in range(60):
        loss = learner(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = answer_by_likelihood("causal", learner, tokenizer, own, max_length=128)
    assert sum(found.correct.values()) == 6
    assert learner.training, "a model in training is left in training"


def test_answers_are_kept_and_read_again(tmp_path):
    found = choose("optical", questions(), [torch.tensor([0.1, 0.9, 0.3])] * 6)
    save_answers(tmp_path, found)
    assert read_answers(tmp_path) == [found]
    assert (tmp_path / "answers/optical.letters.sw.json").is_file()
    (tmp_path / "answers/broken.json").write_text("{")
    with pytest.raises(ValueError, match=r"broken.json holds no answers"):
        read_answers(tmp_path)


def test_a_score_that_is_no_number_is_told():
    with pytest.raises(ValueError, match="question letters/0 has no score"):
        choose("optical", questions(), [torch.tensor([0.1, float("nan"), 0.3])] * 6)
