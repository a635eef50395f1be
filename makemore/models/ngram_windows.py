"""How often each window of n adjacent ids occurs: what all counts of n-grams follow from.

A window is a character with what stands before it in its name, n ids at most. It is a number in
base V, the character its last digit: so a window's end is its remainder, and windows in order are
in the order of their ids. A name begins with a boundary, which is id 0; what would stand before it
is zeros, too. One pass over the tokens, a piece at a time, in memory that does not grow with them.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from makemore.vocab import BOUNDARY

# A table of all possible values is faster than sorting until it is so many times their number.
TABLE_FACTOR = 16
_LARGEST_TABLE = 2**26
# Stays in a core's cache, and is so small that torch divides it among no threads of its own.
_PIECE = 2**15 - 64
# Is sorted at once, 8 bytes an id.
_SORTED_PIECE = 2**22
# Below, a further thread costs more for its table than it saves.
_LEAST_PER_THREAD = 2**23


def fits(vocabulary_size: int, order: int) -> bool:
    """Whether every window of `order` ids is an int64."""
    return bool(vocabulary_size**order < 2**63)


def count_windows(token_N: Tensor, vocabulary_size: int, order: int) -> tuple[Tensor, Tensor]:
    """The windows of `order` ids that end at the places of a token stream, one at each: (W,) int64,
    distinct and sorted; and how often each occurs, (W,) int64."""
    assert fits(vocabulary_size, order)
    bound = vocabulary_size**order
    if bound > min(TABLE_FACTOR * len(token_N), _LARGEST_TABLE):
        return _sorted(token_N, vocabulary_size, order, 0, len(token_N))
    num_threads = min(torch.get_num_threads(), -(-len(token_N) // _LEAST_PER_THREAD))
    ends = [len(token_N) * i // num_threads for i in range(num_threads + 1)]
    with ThreadPoolExecutor(num_threads) as threads:
        tables = [
            threads.submit(_table, token_N, vocabulary_size, order, first, end)
            for first, end in pairwise(ends)
        ]
        return _entries(sum((table.result() for table in tables[1:]), start=tables[0].result()))


def tally(value_M: Tensor, count_M: Tensor, bound: int) -> tuple[Tensor, Tensor]:
    """The distinct values from [0, bound), sorted, and the sum of the counts of each."""
    if bound <= TABLE_FACTOR * len(value_M):
        return _entries(count_M.new_zeros(bound).index_add_(0, value_M, count_M))
    distinct, place_M = value_M.unique(return_inverse=True)
    return distinct, count_M.new_zeros(len(distinct)).index_add_(0, place_M, count_M)


def _entries(table: Tensor) -> tuple[Tensor, Tensor]:
    places = table.nonzero().flatten()
    return places, table[places].long()


def _table(token_N: Tensor, vocabulary_size: int, order: int, first: int, end: int) -> Tensor:
    """How often each possible window ends at the places from `first` to `end`."""
    # As narrow as the largest count allows: the table is read and written at random.
    dtype = torch.int32 if end - first < 2**31 else torch.int64
    table = torch.zeros(vocabulary_size**order, dtype=dtype, device=token_N.device)
    ones = torch.ones(_PIECE, dtype=dtype, device=token_N.device)
    for start in range(first, end, _PIECE):
        stop = min(start + _PIECE, end)
        windows = _windows(token_N, vocabulary_size, order, start, stop, torch.int32)
        table.index_add_(0, windows, ones[: stop - start])
    return table


def _sorted(
    token_N: Tensor, vocabulary_size: int, order: int, first: int, end: int
) -> tuple[Tensor, Tensor]:
    """As `count_windows`, of the places from `first` to `end`."""
    if end - first <= _SORTED_PIECE:
        windows = _windows(token_N, vocabulary_size, order, first, end, torch.int64)
        distinct, counts = windows.unique(return_counts=True)
        return distinct, counts
    middle = (first + end) // 2
    values, counts = zip(
        _sorted(token_N, vocabulary_size, order, first, middle),
        _sorted(token_N, vocabulary_size, order, middle, end),
        strict=True,
    )
    return tally(torch.cat(values), torch.cat(counts), vocabulary_size**order)


def _windows(
    token_N: Tensor, vocabulary_size: int, order: int, first: int, end: int, dtype: torch.dtype
) -> Tensor:
    """(end - first,) the windows that end at the places from `first` to `end`."""
    before = order - 1
    ids = token_N[max(first - before, 0) : end].to(dtype)
    # Before the first name there is a boundary, too.
    ids = functional.pad(ids, (max(before - first, 0), 0), value=BOUNDARY)
    # Nothing stands before the boundary that begins a name.
    factor = (ids != BOUNDARY).to(dtype) * vocabulary_size
    windows = ids
    for length in range(1, before):
        windows = torch.addcmul(ids[length:], factor[length:], windows[:-1])
    return torch.add(ids[before:], windows[:-1], alpha=vocabulary_size) if before else windows
