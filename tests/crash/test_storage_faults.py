"""A disk that refuses or lies at any call: the run says so, keeps its checkpoints and goes on."""

from pathlib import Path

import pytest

from tests.crash.faults import KINDS, survive
from tests.crash.stories import MODELS


@pytest.mark.parametrize("kind", KINDS)
def test_a_fitted_run_survives_a_fault_at_every_second_call(kind: str, tmp_path: Path) -> None:
    assert survive(kind, "bigram-count", tmp_path / "runs", every=2)["faults"] >= 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_steps_survives_a_fault_at_some_calls(kind: str, tmp_path: Path) -> None:
    every = 2 if kind == "lied about" else 7
    assert survive(kind, "mlp-batchnorm", tmp_path / "runs", every=every)["faults"] >= 4


@pytest.mark.long
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_survives_every_fault_at_every_call(kind: str, model: str, tmp_path: Path) -> None:
    survive(kind, model, tmp_path / "runs")
