"""The textbook way of counting n-grams: loops over the names, and a `Counter` of their pieces.

The rival of `count.py`, as honest as that of `textbook.py`: of several ways to write it in plain
Python, the fastest. `tests/test_ngram_windows.py` shows that its counts are ours.
"""

from collections import Counter
from pathlib import Path

BOUNDARY = "\n"


def count_ngrams(path: Path, order: int) -> Counter[str]:
    """How often each n-gram of 1 to `order` characters occurs in the names of a file, one a line.

    A name stands between two boundaries, of which the first follows nothing and is not counted.
    """
    names = path.read_text(encoding="utf-8").split("\n")
    texts = [f"{BOUNDARY}{name}{BOUNDARY}" for name in names if name]
    counts = Counter(character for text in texts for character in text[1:])
    for n in range(2, order + 1):
        counts.update(text[i : i + n] for text in texts for i in range(len(text) - n + 1))
    return counts
