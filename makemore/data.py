"""File -> names -> splits.

A file of names is UTF-8 text, one name a line, any language; a byte order mark, CRLF line ends,
blank lines and spaces around a name are accepted. Every other oddity is an error that says where.
What is no file of names is refused where it first shows, with no more memory than what was read by
then, however much would follow.
"""

import codecs
import hashlib
import random
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from makemore.config import DataConfig
from makemore.corpus import Corpus
from makemore.errors import DataError
from makemore.name_sources import label, whole_lines
from makemore.plain_names import plain_tokens
from makemore.vocab import MAX_CHARACTERS, Vocabulary

SPLITS = ("train", "val", "test")
# Zl and Zp break lines in some readers of our output, and control characters drive terminals.
_REFUSED_CATEGORIES = ("Cc", "Zl", "Zp")
# Characters of a line beside its name: spaces around it. What has no line ends is no list of names.
MAX_SPACES = 2**16
# Of a corpus, are decoded together.
_CHARS_AT_ONCE = 2**16
# What is encoded and copied at once: too little for torch to divide it among threads, which would
# wait for each other thousands of times.
_NAMES_AT_ONCE, _TOKENS_AT_ONCE = 2**11, 2**14


@dataclass(frozen=True)
class Splits:
    """The names of each split, in order, duplicates kept."""

    train: list[str]
    val: list[str]
    test: list[str]

    def of(self, split: str) -> list[str]:
        return {"train": self.train, "val": self.val, "test": self.test}[split]

    @property
    def digest(self) -> str:
        """16 hex digits that two splits share only if they hold the same names in each part."""
        parts = ("\n".join(self.of(split)) for split in SPLITS)
        return hashlib.sha256("\n\n".join(parts).encode()).hexdigest()[:16]


def load_names(
    source: str,
    *,
    max_length: int = 256,
    fewest: int = 3,
    announce: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """The names of an embedded list, of the `karpathy` file, of a path, or of `-` (standard input).

    Raises DataError for what is missing, not text, or not at least `fewest` distinct names: three
    are the least that a model can be trained on, one is enough to evaluate it. `announce` is told
    when something is downloaded.
    """
    vocabulary, corpus = load_corpus(
        source, max_length=max_length, fewest=fewest, announce=announce
    )
    return list(decoded(vocabulary, corpus))


def load_corpus(
    source: str,
    *,
    max_length: int = 256,
    fewest: int = 3,
    announce: Callable[[str], None] = lambda text: None,
) -> tuple[Vocabulary, Corpus]:
    """The names of `load_names` as one corpus, with the vocabulary of all of them.

    It takes a byte of memory for each character, or as few as tell them apart, and as much more
    while it is read.
    """
    where = label(source)
    # A character has four bytes at most, and the last one of a line that is cut may be cut.
    most_bytes = 4 * (max_length + MAX_SPACES + 1)
    parts: list[tuple[Vocabulary, Tensor]] = []
    known: set[str] = set()
    first = 1
    for lines, is_cut in whole_lines(source, most_bytes, announce):
        plain = None if is_cut else plain_tokens(lines, max_length)
        if plain is not None:
            found, tokens, num_lines = plain
            parts.append((found, tokens))
        else:
            names = _parse(lines, where, max_length, first, is_cut=is_cut)
            found, num_lines = Vocabulary.of(names), lines.count(b"\n")
            for start in range(0, len(names), _NAMES_AT_ONCE):
                parts.append((found, found.encode(names[start : start + _NAMES_AT_ONCE])))
        before, known = known, known.union(found.characters)
        if len(known) > MAX_CHARACTERS:
            _refuse_characters(lines, where, first, before)
        first += num_lines
    vocabulary = Vocabulary.of(known)
    corpus = Corpus.of(_joined(parts, vocabulary))
    _require_distinct(vocabulary, corpus, fewest, where)
    return vocabulary, corpus


def _joined(parts: list[tuple[Vocabulary, Tensor]], vocabulary: Vocabulary) -> Tensor:
    """The tokens of all parts with the ids of `vocabulary`. Empties the list as it goes."""
    tokens = torch.empty(sum(len(part) for _, part in parts), dtype=vocabulary.token_dtype)
    parts.reverse()
    end = 0
    while parts:
        own, part = parts.pop()
        # What each of its ids is here; the boundary stays 0.
        ids = None
        if own != vocabulary:
            ids = vocabulary.encode(["".join(own.characters)]).roll(1)
        for piece in part.split(_TOKENS_AT_ONCE):
            start, end = end, end + len(piece)
            tokens[start:end] = piece if ids is None else ids.index_select(0, piece.int())
    return tokens


def decoded(vocabulary: Vocabulary, corpus: Corpus) -> Iterator[str]:
    """The names of a corpus one by one, of which few are there at a time."""
    for stream in corpus.streams(_CHARS_AT_ONCE):
        yield from vocabulary.decode(stream)


def _require_distinct(vocabulary: Vocabulary, corpus: Corpus, fewest: int, where: str) -> None:
    distinct: set[str] = set()
    for stream in corpus.streams(_TOKENS_AT_ONCE):
        distinct.update(vocabulary.decode(stream))
        if len(distinct) >= fewest:
            return
    found = f"{len(distinct)} distinct name{'' if len(distinct) == 1 else 's'}"
    what = f"{found}, at least {fewest} needed" if distinct else "no names"
    raise DataError(what, where=where, hint="one name a line")


def parse_names(data: bytes, where: str, max_length: int) -> list[str]:
    """The names in the bytes of a file. Raises DataError with the line, and byte or column."""
    return _parse(data, where, max_length)


def _parse(
    data: bytes, where: str, max_length: int, first_line: int = 1, *, is_cut: bool = False
) -> list[str]:
    """The names in lines of a file, of which the first has this number, and the last may be cut."""
    names = []
    most = f"{'at least ' if is_cut else ''}%s characters, more than %s"
    for number, line in enumerate(_lines(data, where, first_line, is_cut), start=first_line):
        name = line.removesuffix("\r").strip(" ")
        if not name.isprintable():
            _refuse_control_characters(name, f"{where}:{number}")
        if len(name) > max_length:
            what = most % (f"{len(name):,}", f"{max_length:,}")
            hint = "one name a line; --set data.max_name_length=N allows longer ones"
            raise DataError(what, where=f"{where}:{number}", hint=hint)
        if len(line) > max_length + MAX_SPACES:
            what = most % (f"{len(line):,}", f"{max_length + MAX_SPACES:,} with all spaces")
            raise DataError(what, where=f"{where}:{number}", hint="one name a line")
        if name:
            names.append(name)
    return names


def _lines(data: bytes, where: str, first_line: int, is_cut: bool = False) -> list[str]:
    if first_line == 1 and data.startswith((b"\xff\xfe", b"\xfe\xff")):
        hint = "convert it to UTF-8, for example with `iconv -f UTF-16 -t UTF-8`"
        raise DataError("UTF-16 text, not UTF-8", where=f"{where}:1", hint=hint)
    try:
        text, _ = codecs.utf_8_decode(data, "strict", not is_cut)
    except UnicodeDecodeError as error:
        line_start = data.rfind(b"\n", 0, error.start) + 1
        line = data.count(b"\n", 0, error.start) + first_line
        column = error.start - line_start + 1
        what = f"not UTF-8: byte 0x{data[error.start]:02x}, byte {column} of the line"
        hint = "names are read as UTF-8 text; is this a text file, and in another encoding?"
        raise DataError(what, where=f"{where}:{line}", hint=hint) from error
    # Not splitlines(), which also splits at eight rarer characters, nor strip(), which also takes
    # no-break spaces.
    return (text.removeprefix("\ufeff") if first_line == 1 else text).split("\n")


def is_refused(character: str) -> bool:
    """Whether a name must not hold this character: controls, and separators of lines."""
    return unicodedata.category(character) in _REFUSED_CATEGORIES


def _refuse_control_characters(name: str, where: str) -> None:
    for column, character in enumerate(name, start=1):
        if is_refused(character):
            what = f"control character U+{ord(character):04X}, character {column} of the name"
            hint = {
                "\0": "is this a text file? names are UTF-8 text, one a line",
                "\t": "one name a line, without further columns",
                "\r": "a lone carriage return; lines end with LF or CRLF",
            }.get(character, "remove it; names are UTF-8 text, one a line")
            raise DataError(what, where=where, hint=hint)


def _refuse_characters(data: bytes, where: str, first_line: int, known: set[str]) -> NoReturn:
    """Of lines that have, with the characters `known` before, more than a vocabulary may hold."""
    found = set(known)
    for number, line in enumerate(_lines(data, where, first_line), start=first_line):
        for column, character in enumerate(line.removesuffix("\r").strip(" "), start=1):
            found.add(character)
            if len(found) > MAX_CHARACTERS:
                what = f"U+{ord(character):04X}, character {column} of the name, makes more than "
                what += f"{MAX_CHARACTERS:,} different characters"
                hint = "is this a file of names? no script has as many"
                raise DataError(what, where=f"{where}:{number}", hint=hint)
    raise AssertionError("the lines have no more characters than that")


def split_names(names: Sequence[str], config: DataConfig) -> Splits:
    """Train, validation and test names.

    hash: a name's own hash decides, so that no name is in two splits, duplicates cannot leak, and
    no name moves when others are added.
    lecture: one shuffle of the lines with `random.seed(42)`, 80/10/10, as in the notebooks of
    "Neural Networks: Zero to Hero".
    makemore: `torch.randperm` with seed 3407, the last min(1000, 10 %) lines are test, as in
    makemore.py, and as many before them validation (makemore.py has none).
    """
    return Splits(*([names[i] for i in part] for part in _parts(names, len(names), config)))


def split_corpus(
    vocabulary: Vocabulary, corpus: Corpus, config: DataConfig
) -> tuple[dict[str, Corpus], str]:
    """The corpora of the splits that `split_names` would give, and the digest of these."""
    parts = _parts(decoded(vocabulary, corpus), corpus.num_names, config)
    corpora = {
        split: corpus.select(torch.tensor(part, dtype=torch.int64))
        for split, part in zip(SPLITS, parts, strict=True)
    }
    return corpora, split_digest(vocabulary, corpora)


def split_digest(vocabulary: Vocabulary, corpora: Mapping[str, Corpus]) -> str:
    """As `Splits.digest`, of names that are not all there at once."""
    digest = hashlib.sha256()
    for number, split in enumerate(SPLITS):
        separator = "\n\n" if number else ""
        for stream in corpora[split].streams(_CHARS_AT_ONCE):
            digest.update((separator + "\n".join(vocabulary.decode(stream))).encode())
            separator = "\n"
        if corpora[split].num_names == 0:
            digest.update(separator.encode())
    return digest.hexdigest()[:16]


def _parts(names: Iterable[str], num_names: int, config: DataConfig) -> Sequence[Sequence[int]]:
    """The numbers of the names of each split."""
    train_share, val_share, _ = config.fractions or (0.8, 0.1, 0.1)
    # 0.7 + 0.2 is a little less than 0.9; and a test that began below val would share its names.
    val_start, test_start = train_share, max(train_share, round(train_share + val_share, 12))
    if config.split == "hash":
        return _hash_parts(names, config.seed or 0, val_start, test_start)
    if config.split == "lecture":
        order = list(range(num_names))
        random.Random(42 if config.seed is None else config.seed).shuffle(order)
        bounds = int(val_start * num_names), int(test_start * num_names)
    else:
        generator = torch.Generator().manual_seed(3407 if config.seed is None else config.seed)
        order = torch.randperm(num_names, generator=generator).tolist()
        num_test = min(1000, int(num_names * 0.1))
        bounds = num_names - 2 * num_test, num_names - num_test
    return order[: bounds[0]], order[bounds[0] : bounds[1]], order[bounds[1] :]


def _hash_parts(
    names: Iterable[str], seed: int, val_start: float, test_start: float
) -> Sequence[Sequence[int]]:
    # Not lists: 8 bytes a number.
    train, val, test = array("q"), array("q"), array("q")
    for number, name in enumerate(names):
        digest = hashlib.blake2b(f"{seed}\n{name}".encode(), digest_size=8).digest()
        bucket = int.from_bytes(digest, "big")
        if bucket < val_start * 2**64:
            train.append(number)
        elif bucket < test_start * 2**64:
            val.append(number)
        else:
            test.append(number)
    return train, val, test


def describe(names: Sequence[str], config: DataConfig) -> dict[str, object]:
    """What is in a file of names, in numbers (JSON-ready): the data of `makemore data`."""
    splits = split_names(names, config)
    train = set(splits.train)
    lengths = sorted(map(len, names))
    return {
        "source": config.source,
        "num_names": len(names),
        "num_distinct": len(set(names)),
        "num_duplicates": len(names) - len(set(names)),
        "num_chars": sum(lengths) + len(lengths),
        "shortest": lengths[0],
        "median_length": lengths[len(lengths) // 2],
        "mean_length": sum(lengths) / len(lengths),
        "longest": lengths[-1],
        "alphabet": "".join(sorted(set().union(*names))),
        "split": config.split,
        "split_digest": splits.digest,
        "num_names_by_split": {split: len(splits.of(split)) for split in SPLITS},
        "num_chars_by_split": {
            split: sum(len(name) + 1 for name in splits.of(split)) for split in SPLITS
        },
        "num_also_in_train": {
            split: sum(name in train for name in splits.of(split)) for split in SPLITS[1:]
        },
    }
