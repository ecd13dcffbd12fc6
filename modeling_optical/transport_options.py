"""The transport's settings: one object from a recipe or a `config.json` to the solver, checked where it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

SOLVERS = ["sinkhorn", "ipot", "exact", "greedy", "unbalanced", "partial"]
"""Names that `solver` may have: a list, to which you may add (docs/extending.md)."""
ANNEALING = ("none", "geometric")
TOKEN_SETS = ("content", "with_markers", "with_expansion")
MARGINALS = ("uniform", "idf", "norm", "attention")
PLAN_SOURCES = ("student", "ema", "lexical")
SOLVER_SETTINGS = ("solver", "epsilon", "max_iterations", "tolerance", "annealing", "marginal_penalty", "moved_share")
"""Options that `solve_transport` takes by name, too."""

_INFINITE = float("inf")
_CHOICES: dict[str, Sequence[str]] = {
    "solver": SOLVERS,
    "tokens": TOKEN_SETS,
    "marginals": MARGINALS,
    "plan_from": PLAN_SOURCES,
    "annealing": ANNEALING,
}
_NUMBERS: dict[str, tuple[Callable[[float], bool], str]] = {
    "epsilon": (lambda value: 0 < value < _INFINITE, "number above 0"),
    "max_iterations": (lambda value: value >= 1, "whole number of at least 1"),
    "tolerance": (lambda value: 0 <= value < _INFINITE, "number of at least 0"),
    "marginal_penalty": (lambda value: 0 < value < 1e6, "number above 0 and below 1e6"),
    "moved_share": (lambda value: 0 < value <= 1, "number above 0 and at most 1"),
    "position_prior": (lambda value: 0 <= value < _INFINITE, "number of at least 0"),
    "lexical_prior": (lambda value: 0 <= value < _INFINITE, "number of at least 0"),
    "ema_decay": (lambda value: 0 <= value < 1, "number from 0 to below 1"),
}


@dataclass(frozen=True)
class TransportOptions:
    """Options of the transport loss (docs/method.md §3), stored in `OpticalConfig.transport`.

    Args:
        solver: one of `SOLVERS`, see `solve_transport`.
        epsilon: entropic regularisation, in units of the cost; for `ipot` the length of a proximal step.
        max_iterations: the most iterations.
        tolerance: L1 error of the marginals at which a problem is solved. Both this and `max_iterations` are looser than the
            defaults of `solve_transport`: a training step needs the plan less exactly than an analysis does.
        tokens: which tokens take mass: `"content"` (no special, marker or expansion token), `"with_markers"` (all that score),
            `"with_expansion"` (all, both sides padded with mask tokens to the same number, as a bijection needs it).
        marginals: what a token's mass is proportional to: `"uniform"`, `"idf"` (inverse document frequency of the token in the
            training bitext), `"norm"` (length of the vector before normalisation), `"attention"` (attention that the token
            receives in the last layer, mean over heads).
        plan_from: source of the cost that the plan is solved on: `"student"`, `"ema"` (a moving average of the student),
            `"lexical"` (`1 - p` with the translation table's probabilities). The loss always takes the student's cost.
        ema_decay: of the moving average, per update.
        position_prior: weight w >= 0 of `w * (i/n - j/m)^2`, added to the cost when solving only, never to the loss.
        lexical_prior: weight w >= 0 of a translation table, subtracted from the cost when solving only, never in the loss.
        annealing: `"none"`, or `"geometric"`: a few iterations at ever smaller epsilons first (for a small epsilon).
        marginal_penalty: weight of the marginals' Kullback-Leibler terms (`unbalanced`), in units of the cost.
        moved_share: share of the mass that moves (`partial`).

    Raises:
        ValueError: naming the option, its value and the allowed values.
    """

    solver: str = "sinkhorn"
    epsilon: float = 0.05
    max_iterations: int = 1000
    tolerance: float = 1e-3
    tokens: str = "content"
    position_prior: float = 0.0
    lexical_prior: float = 0.0
    annealing: str = "none"
    marginal_penalty: float = 1.0
    moved_share: float = 0.9
    marginals: str = "uniform"
    plan_from: str = "student"
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"transport.{name} is {getattr(self, name)!r}; allowed: {', '.join(map(repr, allowed))}.")
        for name, (holds, rule) in _NUMBERS.items():
            value = getattr(self, name)
            kinds = int if name == "max_iterations" else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not holds(value):
                raise ValueError(f"transport.{name} is {value!r}; it must be a {rule}.")

    @classmethod
    def of(cls, values: TransportOptions | Mapping[str, Any] | None) -> TransportOptions:
        """Options from a mapping, the defaults for None; options are returned as they are.

        Raises:
            ValueError: for a wrong value, or an unknown key; it lists the known ones.
        """
        if isinstance(values, TransportOptions):
            return values
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values or ()) - known)
        if unknown:
            raise ValueError(f"unknown transport option {unknown[0]!r}; known: {', '.join(sorted(known))}.")
        return cls(**(values or {}))

    def solving(self, **settings: Any) -> TransportOptions:
        """The same options with other settings of the solver.

        Raises:
            TypeError: for a name that is not a setting of the solver. ValueError: for a wrong value.
        """
        if unknown := sorted(set(settings) - set(SOLVER_SETTINGS)):
            raise TypeError(f"{unknown[0]!r} is not a setting of a solver; these are: {', '.join(SOLVER_SETTINGS)}.")
        return replace(self, **settings) if settings else self

    def to_dict(self) -> dict[str, Any]:
        """The options as plain values, for `config.json`."""
        return asdict(self)
