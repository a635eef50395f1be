"""Two ways of doing the same, timed side by side: what is compared is their ratio."""

import statistics
from collections.abc import Callable


def ratios(
    ours: Callable[[], float], theirs: Callable[[], float], num_pairs: int = 5
) -> dict[str, float]:
    """Both give a rate, such as characters a second; each pair runs one right after the other, in
    turn first, so that what slows the machine slows both.

    Returns the medians of both, and of the ratio ours / theirs the median, minimum and maximum.
    """
    pairs = []
    for number in range(num_pairs):
        if number % 2:
            second, first = theirs(), ours()
        else:
            first, second = ours(), theirs()
        pairs.append((first, second))
    quotients = [first / second for first, second in pairs]
    return {
        "ours": statistics.median(first for first, _ in pairs),
        "textbook": statistics.median(second for _, second in pairs),
        "ratio": statistics.median(quotients),
        "minimum": min(quotients),
        "maximum": max(quotients),
    }
