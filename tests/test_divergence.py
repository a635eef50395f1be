"""A loss or gradient that is not finite never reaches the weights, and is named."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor
from torch.nn import functional

from makemore import launch
from makemore.batching import batch_of_step
from makemore.checkpoint import load_checkpoint
from makemore.errors import DivergedError
from makemore.run import Run, load
from makemore.run_directory import RunDirectory
from tests.small_runs import SMALL, assert_equal_runs

cross_entropy = functional.cross_entropy


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the loss number `call`, counted from 1, or its gradient, be `value`."""

    def install(quantity: str, call: int, value: float) -> None:
        calls = 0

        def poisoned(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
            nonlocal calls
            calls += 1
            loss = cross_entropy(logits, targets, label_smoothing=label_smoothing)
            if calls == call and quantity == "loss":
                loss = loss * value
            elif calls == call:
                loss.register_hook(lambda gradient: gradient * value)
            return loss

        monkeypatch.setattr(functional, "cross_entropy", poisoned)

    return install


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("quantity", ["loss", "gradient"])
@pytest.mark.parametrize("step", range(1, 13))
def test_at_any_step_it_ends_the_run_before_the_update(
    step: int,
    quantity: str,
    value: float,
    train: Callable[..., Run],
    poison: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train("whole")
    poison(quantity, step, value)
    with pytest.raises(DivergedError, match=f"the {quantity} is ") as caught:
        train("parts")
    monkeypatch.undo()
    assert caught.value.exit_code == 5
    (problem,) = caught.value.problems
    assert problem.where == f"step {step}"
    last = RunDirectory(tmp_path / "parts").last
    assert str(last) in problem.hint
    # The last evaluation before it: nothing later was written.
    assert load_checkpoint(last).step == (step - 1) // 4 * 4
    launch.resume(tmp_path / "parts", device="cpu")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("kind", ["transformer", "ensemble with muon", "averaged", "lbfgs"])
def test_whatever_the_optimizer_remembers_stays_as_it_was(
    kind: str,
    train: Callable[..., Run],
    poison: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train("whole", *SMALL[kind])
    poison("gradient", 10, math.nan)
    with pytest.raises(DivergedError):
        train("parts", *SMALL[kind])
    monkeypatch.undo()
    launch.resume(tmp_path / "parts", device="cpu")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_an_optimizer_that_looks_around_itself_is_stopped_at_the_first_look_that_fails(
    train: Callable[..., Run], poison: Callable[..., None], tmp_path: Path
) -> None:
    """L-BFGS would go on from where the loss was no number."""
    lbfgs = ["train.batch_size=null", "train.optimizer={kind: lbfgs, max_iterations: 8}"]
    poison("loss", 5, math.nan)
    with pytest.raises(DivergedError, match="the loss is nan on its batch of 58 names"):
        train("run", *lbfgs)
    assert load_checkpoint(RunDirectory(tmp_path / "run").last).step == 0


def test_a_penalty_that_overflows_is_a_loss_that_is_not_finite(train: Callable[..., Run]) -> None:
    with pytest.raises(DivergedError, match="the loss is inf on its batch of 20 names"):
        train("run", "train.l2_penalty=1e300")


def test_the_names_of_the_batch_are_named(
    train: Callable[..., Run], poison: Callable[..., None]
) -> None:
    poison("loss", 3, math.nan)
    with pytest.raises(DivergedError) as caught:
        train("run")
    run = load(Path(caught.value.problems[0].hint.rpartition(" ")[2]), device="cpu")
    assert run.config.train is not None
    batch = batch_of_step(run.config.train, run.config.seed, 2, run.corpora["train"])
    names = run.vocabulary.decode(batch.targets)
    what = caught.value.problems[0].what
    assert what == f"the loss is nan on its batch of 20 names: {', '.join(names[:5])}, ..."


def test_of_a_batch_of_windows_the_names_that_hold_them_are_named(
    train: Callable[..., Run], poison: Callable[..., None]
) -> None:
    poison("loss", 1, math.nan)
    options = ["train.batch_unit=windows", "train.batch_size=3"]
    with pytest.raises(DivergedError) as caught:
        train("run", *options)
    run = load(Path(caught.value.problems[0].hint.rpartition(" ")[2]), device="cpu")
    assert run.config.train is not None
    corpus = run.corpora["train"]
    rows = batch_of_step(run.config.train, run.config.seed, 0, corpus).rows
    assert rows is not None
    all_names = run.vocabulary.decode(corpus.tokens)
    # By hand: the name in which the character at each row stands.
    ends = [sum(len(name) + 1 for name in all_names[: i + 1]) for i in range(len(all_names))]
    holders = [next(i for i, end in enumerate(ends) if row < end) for row in rows.tolist()]
    expected = ", ".join(all_names[i] for i in holders)
    what = caught.value.problems[0].what
    assert what == f"the loss is nan on its batch of 3 windows, in the names: {expected}"


def test_weights_that_overflow_between_evaluations_are_never_saved(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    with pytest.raises(DivergedError):
        train("run", "train.learning_rate=1e38", "train.schedule.kind=constant")
    for path in RunDirectory(tmp_path / "run").checkpoints():
        assert all(bool(t.isfinite().all()) for t in load_checkpoint(path).model.values())
