"""What a parser may do with an input: understand it, or refuse it in words fit for a terminal."""

from collections.abc import Callable
from typing import TypeVar

from makemore.errors import MakemoreError, Problem
from makemore.messages import visible

T = TypeVar("T")


def understood(
    read: Callable[[], T], *refusals: type[MakemoreError]
) -> tuple[T | None, tuple[Problem, ...]]:
    """What was read, or what is wrong with it; any other error goes its way, and is a finding."""
    try:
        return read(), ()
    except refusals as error:
        refusal = error
    assert refusal.problems
    assert str(refusal) == "\n".join(map(str, refusal.problems))
    for problem in refusal.problems:
        lines = str(problem).split("\n")
        assert lines == list(map(visible, lines)), lines
        assert len(lines) == (2 if problem.hint else 1), lines
        assert problem.what
    return None, refusal.problems
