"""McNemar's test: do two systems answer the same questions equally often right?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class McNemar:
    """Two systems on the same questions.

    Attributes:
        questions: how many.
        only_first, only_second: questions that only one of them answers rightly.
        p: of the exact test, two-sided; 1 where no question tells them apart.
    """

    questions: int
    only_first: int
    only_second: int
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """The exact test (McNemar 1947, with the binomial distribution) by statsmodels.

    Args:
        first, second: (seeds, questions) of 1 and 0, the questions in the same order. With several seeds a system answers a
            question rightly if more than half of its seeds do: the test is of questions, which the seeds share.

    Raises:
        ImportError: without statsmodels; says how to install it. ValueError: if the questions differ in number.
    """
    try:
        from statsmodels.stats.contingency_tables import mcnemar as exact_test
    except ImportError as error:
        raise ImportError('this report needs statsmodels: pip install "modeling-optical[studies]"') from error
    one, two = (np.atleast_2d(values).mean(0) > 0.5 for values in (first, second))
    if one.shape != two.shape:
        raise ValueError(f"{one.size} and {two.size} questions cannot be paired.")
    table = [[int(np.sum((one == a) & (two == b))) for b in (True, False)] for a in (True, False)]
    p = float(exact_test(table, exact=True).pvalue) if table[0][1] + table[1][0] else 1.0
    return McNemar(one.size, table[0][1], table[1][0], p)
