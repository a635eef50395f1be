"""Running the command line in tests: in this process, or as a process of a shell."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """stderr of a command that failed the way every command should fail."""
        assert self.err.startswith("error: "), self.err
        assert "Traceback" not in self.err
        assert self.out == ""
        return self.err


Makemore = Callable[..., Result]
TINY = (
    "--set",
    "train.steps=20",
    "--set",
    "train.evaluate_every=10",
    "--set",
    "model.hidden_dim=8",
)


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`makemore` in `command` is this interpreter's."""
    program = f"{sys.executable} -m makemore"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command.replace('makemore', program)}"],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
