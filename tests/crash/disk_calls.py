"""Stands between makemore and the disk: every call of `makemore.disk` goes through a handler."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import isfunction
from pathlib import Path
from typing import Any

import pytest

from makemore import disk

NAMES = tuple(name for name, value in vars(disk).items() if isfunction(value))


@dataclass(frozen=True)
class Call:
    """One call: the `number` of the first one is 1, `path` is what it changes."""

    number: int
    name: str
    path: Path
    arguments: tuple[Any, ...]
    function: Callable[..., Any]

    def perform(self) -> Any:
        return self.function(*self.arguments)

    def __str__(self) -> str:
        return f"{self.number}: {self.name} {self.path}"


# Decides what becomes of a call, and gives what it returns.
Handler = Callable[[Call], Any]


@contextmanager
def intercepted(handler: Handler) -> Iterator[None]:
    """While it lasts, makemore's calls of `disk` are what `handler` makes of them."""
    paths: dict[int, Path] = {}
    directories: set[Path] = set()
    number = 0

    def path_of(descriptor: int) -> Path:
        """What a descriptor was opened by; that of a directory `storage` has by itself, after it
        changed something there."""
        if descriptor in paths:
            return paths[descriptor]
        status = os.fstat(descriptor)
        return next(path for path in directories if os.path.samestat(os.stat(path), status))

    def through_handler(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any) -> Any:
            nonlocal number
            number += 1
            # Of a replacement, the target.
            subject = arguments[1] if name == "replace" else arguments[0]
            path = path_of(subject) if isinstance(subject, int) else subject
            if not isinstance(subject, int):
                directories.add(path.parent)
            result = handler(Call(number, name, path, arguments, function))
            if name in ("create", "open_to_append"):
                paths[result] = path
            elif name == "close":
                paths.pop(subject, None)
            return result

        return act

    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.setattr(disk, name, through_handler(name, getattr(disk, name)))
        yield


@contextmanager
def without_waiting() -> Iterator[None]:
    """While it lasts, nothing is synced: for tests in which the power stays on, or is lost in a
    model of the disk alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "sync", lambda descriptor: None)
        yield
