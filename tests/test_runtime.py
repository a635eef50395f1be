"""What only makes training faster: compiled forward passes and products of less precision."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from makemore import launch
from makemore.errors import UsageError
from makemore.run import Run
from makemore.runtime import precision

has_compiler = shutil.which("g++") or shutil.which("clang++")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, about itself
@pytest.mark.skipif(not has_compiler, reason="needs a C++ compiler")
def test_a_compiled_model_learns_the_same_and_keeps_its_names(train: Callable[..., Run]) -> None:
    compiled, plain = (
        train(run, "train.steps=3", f"train.compile={value}")
        for run, value in (("compiled", "true"), ("plain", "false"))
    )
    weights = plain.model.state_dict()
    assert list(compiled.model.state_dict()) == list(weights)
    for name, tensor in compiled.model.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-4, atol=1e-5)


def test_without_a_compiler_training_says_so_and_goes_on(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    messages = []

    def note(record: object) -> None:
        assert isinstance(record, dict)
        messages.append(record.get("text"))

    train("run", "train.steps=3", "train.compile=true", report=note)
    assert "training without train.compile: no C++ compiler was found" in messages


def test_bfloat16_is_refused_where_there_is_no_cuda_before_a_run_is_made(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="bfloat16 is for CUDA alone"):
        train("run", "train.precision=bfloat16")
    assert not (tmp_path / "run").exists()
    train("run")
    with pytest.raises(UsageError, match="bfloat16 is for CUDA alone"):
        launch.resume(tmp_path / "run", device="cpu", overrides=["train.precision=bfloat16"])


def test_products_of_less_precision_are_those_of_torch() -> None:
    with precision("float32", torch.device("cpu")):
        assert not torch.is_autocast_enabled("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where there is no CUDA
        assert isinstance(precision("bfloat16", torch.device("cuda")), torch.autocast)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("model", ["mlp", "gru", "lstm", "rnn", "transformer", "wavenet", "bow"])
def test_bfloat16_learns_about_the_same_on_cuda(
    model: str, names_file: Path, tmp_path: Path
) -> None:
    losses = []
    for name in ("float32", "bfloat16"):
        run = launch.train(
            model,
            data=str(names_file),
            run=tmp_path / name,
            device="cuda",
            overrides=["train.steps=20", f"train.precision={name}"],
        )
        assert all(p.dtype == torch.float32 for p in run.model.parameters())
        losses.append(run.evaluate("train").loss.nats_per_char)
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
