"""What a user can cause, and the exit code of each.

Every error says where it happened, what is wrong and what to do about it. The command line prints
them as `error: where: what` and `hint: what to do`; a notebook sees the same text, in which nothing
unsafe is left either. What only a programmer can cause is an `assert`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from makemore.messages import visible


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: `where` (file, line, key; may be empty), `what`, and a `hint`."""

    what: str
    where: str = ""
    hint: str = ""

    def __str__(self) -> str:
        head = visible(f"{self.where}: {self.what}" if self.where else self.what)
        return f"{head}\nhint: {visible(self.hint)}" if self.hint else head


class MakemoreError(Exception):
    """Base of all errors that a user can cause. Holds one problem or several."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(what, where, hint),)
        super().__init__(str(self.problems[0]))


class UsageError(MakemoreError):
    """A command, option or argument that cannot be obeyed."""

    exit_code = 2


class ConfigError(MakemoreError):
    """A configuration with one or more problems, all reported together."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems
        super().__init__("")
        self.problems = tuple(problems)
        self.args = ("\n".join(str(problem) for problem in problems),)


class DataError(MakemoreError):
    """A file of names that cannot be read or used."""

    exit_code = 3


class CheckpointError(MakemoreError):
    """A run or checkpoint that is missing, damaged or of another format."""

    exit_code = 4


class DivergedError(MakemoreError):
    """A loss or gradient that is not finite."""

    exit_code = 5


class LockedError(MakemoreError):
    """A run directory that another process is writing."""

    exit_code = 6


class StorageError(MakemoreError):
    """The file system refused: no space, no permission, read-only."""

    exit_code = 7


class InterruptedRun(MakemoreError):  # noqa: N818 - not a fault: somebody asked the run to stop
    """Training stopped by a signal, its checkpoint written. The exit code is 128 + the signal."""

    def __init__(self, what: str, signal_number: int, *, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.exit_code = 128 + signal_number
