"""What the targets share: running under atheris, decisions out of bytes, and what a refusal is.

A target is a function of bytes that raises where makemore breaks a promise. Only `fuzz` and
`instrumented` need atheris, so that the targets can be checked without it.
"""

import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# Of the processor, whose time other processes do not take; a loop without end is left to libFuzzer.
MAX_SECONDS = 1.0
_MAX_WALL_SECONDS = 20
_MAX_MORE_MEGABYTES = 512


class SlowError(Exception):
    """An input that takes too long."""


def instrumented(is_script: bool, *, has_tensors: bool) -> AbstractContextManager[object]:
    """Where imports of makemore are counted branch by branch, if a target runs as a script.

    What is compared with what is followed only where no tensors are compared: atheris 3.0.0 never
    frees the result of a comparison.
    """
    if not is_script:
        return nullcontext()
    from atheris.import_hook import HookManager

    # As atheris.instrument_imports, which always follows comparisons.
    found: AbstractContextManager[object] = HookManager(
        include_packages={"makemore"},
        exclude_modules=set(),
        enable_loader_override=True,
        trace_dataflow=not has_tensors,
    )
    return found


def fuzz(check: Callable[[bytes], None], seeds: Iterable[bytes], words: Iterable[str]) -> None:
    """Run `check` on mutations of the seeds, as the command line says; does not come back.

    The command line is libFuzzer's. The first folder on it is made where it is missing, and gets
    the seeds. `words` are put into inputs as they are.
    """
    import atheris

    warnings.simplefilter("error")
    targets = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if not any(Path(target).is_file() for target in targets):
        for target in targets[:1]:
            _write_seeds(Path(target), seeds)
    # What is imported and built at first use is no input's time or memory.
    for seed in seeds:
        check(seed)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 + _MAX_MORE_MEGABYTES
    dictionary = MemoryFile("words")
    dictionary.write("".join(map(_dictionary_line, words)).encode())
    options = [f"-timeout={_MAX_WALL_SECONDS}", f"-rss_limit_mb={most}", f"-dict={dictionary.path}"]

    def timed(data: bytes) -> None:
        start = time.process_time()
        check(data)
        seconds = time.process_time() - start
        if seconds > MAX_SECONDS:
            raise SlowError(f"{seconds:.2f} s")

    # Of two equal options, libFuzzer takes the later one.
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:]], timed)
    atheris.Fuzz()


def _write_seeds(folder: Path, seeds: Iterable[bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / f"seed-{number:02}").write_bytes(seed)


def _dictionary_line(word: str) -> str:
    escaped = "".join(f"\\x{byte:02x}" for byte in word.encode("utf-8", "surrogatepass"))
    return f'"{escaped}"\n'


class MemoryFile:
    """A file that has a path, but stands on no disk, and ends with its process."""

    def __init__(self, name: str) -> None:
        self._descriptor = os.memfd_create(name)
        self.path = f"/proc/self/fd/{self._descriptor}"

    def write(self, content: bytes) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)


class Choices:
    """Decisions read from the bytes of an input, one after another; 0 where it has ended."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def number(self, num_bytes: int = 1) -> int:
        return int.from_bytes(self._next(num_bytes), "little")

    def one_of(self, options: Sequence[T]) -> T:
        return options[self.number(1 if len(options) <= 256 else 2) % len(options)]

    def piece(self) -> bytes:
        """A few bytes, whose number stands before them."""
        return self._next(self.number())

    def rest(self) -> bytes:
        return self._next(len(self._data))

    def _next(self, num_bytes: int) -> bytes:
        found = self._data[self._position : self._position + num_bytes]
        self._position += len(found)
        return found


@contextmanager
def changed(module: object, **values: object) -> Iterator[None]:
    """The module with other bounds for a while."""
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
