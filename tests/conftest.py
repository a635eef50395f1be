"""Fixtures that several test files share."""

import os

# Two threads that share a busy core wait for each other; tests of several threads say so.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from makemore import cli, launch
from makemore.config import Config
from makemore.config_loading import load_config
from makemore.errors import ConfigError
from makemore.run import Run
from tests.command_line import TINY, Makemore, Result
from tests.small_runs import NAMES, SHORT

# A deadline is an assertion about time, which a busy machine breaks.
settings.register_profile("makemore", deadline=None)
settings.load_profile("makemore")

SHARED = Path(__file__).parents[2] / "shared" / "data" / "karpathy-names.txt"


@pytest.fixture(scope="session")
def karpathy_path() -> Path:
    """The published names.txt that all figures of the lectures refer to."""
    path = Path(os.environ.get("MAKEMORE_KARPATHY_NAMES") or SHARED)
    if not path.is_file():
        pytest.skip(
            "the published names.txt is not part of this project; download it (README of data/) "
            "and set MAKEMORE_KARPATHY_NAMES to its path"
        )
    return path


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Load a configuration from a text as `mine.yaml`, the name that its problems then show."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str, *overrides: str) -> Config:
        Path("mine.yaml").write_text(text, encoding="utf-8")
        return load_config(Path("mine.yaml"), overrides)

    return load_text


@pytest.fixture
def problems_of(load: Callable[..., Config]) -> Callable[..., list[tuple[str, str, str]]]:
    """The problems of such a text: where, what and the hint of each."""

    def problems_of_text(text: str, *overrides: str) -> list[tuple[str, str, str]]:
        with pytest.raises(ConfigError) as caught:
            load(text, *overrides)
        return [(problem.where, problem.what, problem.hint) for problem in caught.value.problems]

    return problems_of_text


@pytest.fixture
def names_file(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES))
    return path


@pytest.fixture
def train(tmp_path: Path, names_file: Path) -> Callable[..., Run]:
    def start(run: str, *overrides: str, model: str = "mlp", **options: object) -> Run:
        return launch.train(
            model,
            data=str(names_file),
            run=tmp_path / run,
            device="cpu",
            overrides=[*SHORT, *overrides],
            **options,  # type: ignore[arg-type]
        )

    return start


@pytest.fixture
def makemore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Makemore:
    """The command, run in this process in an empty directory with a small `names.txt`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")

    def run(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["makemore", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Result(caught.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def trained(makemore: Makemore) -> Makemore:
    """The same, with a run `runs/mlp-1`."""
    result = makemore("train", "--data", "names.txt", "--device", "cpu", *TINY)
    assert result.code == 0, result.err
    return makemore
