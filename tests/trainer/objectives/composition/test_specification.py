"""What a recipe may say of objectives, and what it is told when it says something else."""

import pytest

from trainer.objectives import ObjectiveContext, WeightSchedule, build_objectives, describe_objectives, parse_objectives


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"transprt": 1.0}, "unknown objective 'transprt'; known: transport, pooled_mse, token_mse, contrastive"),
        ({"transport": 0}, "no objective has a weight above 0"),
        ({"embedding_adversary": 1.0}, "no objective has a weight above 0"),
        ({"transport": "heavy"}, "objectives.transport is 'heavy'; a weight is a number of at least 0, or {initial"),
        ({"transport": True}, "objectives.transport is True; a weight is a number"),
        ({"transport": -1}, "objectives.transport is -1; a weight is a number of at least 0"),
        ({"transport": float("nan")}, "objectives.transport is nan"),
        ({"transport": {"initial": 1, "final": 0}}, "objectives.transport lacks the key 'steps'"),
        ({"transport": {"initial": 1, "final": 0, "steps": 0}}, "objectives.transport.steps is 0"),
        (
            {"transport": {"initial": -1, "final": 0, "steps": 5}},
            "objectives.transport.initial is -1; it must be a number of at",
        ),
        ({"transport": {"weight": 1, "temperature": 1}}, "unknown key `objectives.transport.temperature`"),
        ({"contrastive": {"temperature": 0.1}}, "objectives.contrastive lacks the key 'weight'"),
        ({"contrastive": {"weight": 1, "temprature": 0.1}}, "Did you mean 'temperature'"),
        (
            {"contrastive": {"weight": 1, "temperature": 0}},
            "objectives.contrastive.temperature is 0; it must be a number above 0",
        ),
        (
            {"contrastive": {"weight": 1, "bidirectional": 1}},
            "objectives.contrastive.bidirectional is 1; it must be true or false",
        ),
        ({"contrastive": {"weight": {"initial": 1}}}, "objectives.contrastive.weight lacks the key 'final'"),
        ({"score_kl": {"weight": 1, "passages_per_step": 1}}, "objectives.score_kl.passages_per_step is 1; it must be a whole"),
        ({"score_kl": {"weight": 1, "passages": 3}}, "objectives.score_kl.passages is 3; it must be the path of a file"),
        ({"language_adversary": {"weight": 1, "hidden_size": -1}}, "objectives.language_adversary.hidden_size is -1"),
        (
            {"transport": 1, "embedding_adversary": {"weight": 1, "method": "fgsm"}},
            "objectives.embedding_adversary.method is 'fgsm'; allowed: 'fgm', 'pgd', 'freelb'",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(asked, message):
    with pytest.raises(ValueError) as raised:
        parse_objectives(asked)
    assert message in str(raised.value)


def test_a_weight_goes_linearly_and_stays():
    schedule = WeightSchedule.parse({"initial": 1.0, "final": 0.2, "steps": 4}, "objectives.transport")
    assert [schedule.at(step, 100) for step in range(6)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    share = WeightSchedule.parse({"initial": 0.0, "final": 1.0, "steps": 0.5}, "objectives.transport")
    assert [share.at(step, 8) for step in (0, 2, 4, 7)] == pytest.approx([0.0, 0.5, 1.0, 1.0])
    assert WeightSchedule.parse(2, "objectives.transport").at(3, 8) == 2.0


def test_what_is_off_all_the_time_is_left_out_and_what_rises_is_not():
    built = build_objectives({"transport": 0, "pooled_mse": {"initial": 0, "final": 1, "steps": 0.5}}, ObjectiveContext(dim=4))
    assert list(built.weights) == ["pooled_mse"]
    assert not built.needs_plan


def test_objectives_are_described_in_a_line():
    asked = {"transport": 1.0, "contrastive": {"weight": {"initial": 0, "final": 0.5, "steps": 10}, "temperature": 0.1}}
    assert describe_objectives(asked) == "1 × transport + 0 to 0.5 × contrastive (temperature 0.1)"
