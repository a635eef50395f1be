"""The loop: its order of data, its records, and that nothing but the steps changes the weights."""

import json
import math
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from makemore import launch
from makemore.checkpoint import load_checkpoint
from makemore.config import TrainConfig
from makemore.corpus import Corpus
from makemore.errors import (
    ConfigError,
    DataError,
    DivergedError,
    InterruptedRun,
    LockedError,
    UsageError,
)
from makemore.models.batch_norm import recompute_statistics
from makemore.run import Run, load
from makemore.run_directory import RunDirectory
from makemore.training import batch_indices, num_steps

# fmt: off
NAMES = [
    "ada", "adele", "alan", "alma", "amos", "anna", "arlo", "asa", "astrid",
    "ben", "bela", "boris", "bram", "carl", "cora", "dana", "dora", "edda",
    "egon", "elias", "ella", "emil", "emma", "erik", "esra", "ezra", "fay",
    "felix", "fred", "gale", "gina", "greta", "hana", "hugo", "ida", "ilse",
    "ines", "iris", "isak", "ivan", "jana", "joel", "jona", "kai", "karl",
    "lara", "lea", "lena", "leo", "lina", "linus", "lola", "luca", "mara",
    "mats", "maya", "mila", "mina", "nora", "odin", "olga", "omar", "otto",
    "pola", "rhea", "rosa", "ruben", "sara", "sila", "tara", "theo", "tilda",
    "uma", "vera", "willa", "yara", "yves", "zara", "zeno",
]
# fmt: on

SMALL = {
    "bigram": ["model.kind=bigram"],
    "mlp": ["model.hidden_dim=16"],
    "mlp-batchnorm": ["model.hidden_dim=16", "model.norm=batch"],
    "transformer": [
        "model={kind: transformer, num_layers: 2, num_heads: 2, embedding_dim: 8, dropout: 0.2}"
    ],
    "sgd": ["model.hidden_dim=16", "train.optimizer={kind: sgd, momentum: 0.9, nesterov: true}"],
}
SHORT = [
    "train.steps=12",
    "train.batch_size=20",
    "train.evaluate_every=4",
    "train.log_every=1",
    "train.num_samples=2",
]


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


def untimed(directory: Path) -> list[dict[str, object]]:
    """The records of a run without what a clock or a path says."""
    clocks = ("seconds", "tokens_per_second", "run")
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in clocks} for record in records]


def assert_equal_runs(first: Path, second: Path) -> None:
    for name in ("last", "best"):
        files = [path / "checkpoints" / f"{name}.safetensors" for path in (first, second)]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert untimed(first) == untimed(second)


def signal_at(step: int, number: int) -> Callable[[Mapping[str, object]], None]:
    """A report that sends this process a signal when `step` was taken."""

    def report(record: Mapping[str, object]) -> None:
        if record["event"] == "train" and record["step"] == step:
            os.kill(os.getpid(), number)

    return report


class CrashError(Exception):
    pass


def die_at(step: int) -> Callable[[Mapping[str, object]], None]:
    """A report at which the loop is torn down where it stands, unsaved, as by a crash."""

    def report(record: Mapping[str, object]) -> None:
        if record["event"] == "train" and record["step"] == step:
            raise CrashError

    return report


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("step", [1, 6, 11])
def test_a_run_stopped_by_a_signal_and_resumed_ends_bitwise_like_one_that_never_stopped(
    kind: str, step: int, train: Callable[..., Run], tmp_path: Path
) -> None:
    train("whole", *SMALL[kind])
    with pytest.raises(InterruptedRun) as caught:
        train("parts", *SMALL[kind], report=signal_at(step, signal.SIGINT))
    assert caught.value.exit_code == 130
    assert load_checkpoint(RunDirectory(tmp_path / "parts").last).step == step
    launch.resume(tmp_path / "parts", device="cpu")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("kind", ["mlp-batchnorm", "transformer"])
def test_a_run_that_crashed_between_checkpoints_takes_the_lost_steps_again(
    kind: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    train("whole", *SMALL[kind])
    with pytest.raises(CrashError):
        train("parts", *SMALL[kind], report=die_at(7))
    assert load_checkpoint(RunDirectory(tmp_path / "parts").last).step == 4
    launch.resume(tmp_path / "parts", device="cpu")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("kind", SMALL)
def test_a_finished_run_resumed_with_more_steps_equals_the_longer_run(
    kind: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    constant = "train.schedule.kind=constant"
    train("long", *SMALL[kind], constant)
    train("short", *SMALL[kind], constant, "train.steps=8")
    launch.resume(tmp_path / "short", device="cpu", overrides=["train.steps=12"])
    long, short = (RunDirectory(tmp_path / name) for name in ("long", "short"))
    for path in ("last", "best"):
        assert getattr(long, path).read_bytes() == getattr(short, path).read_bytes()


def test_resuming_a_finished_run_changes_nothing(train: Callable[..., Run], tmp_path: Path) -> None:
    train("run", *SMALL["mlp-batchnorm"])
    before = (
        {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()},
        untimed(tmp_path / "run"),
    )
    launch.resume(tmp_path / "run", device="cpu")
    after = (
        {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()},
        untimed(tmp_path / "run"),
    )
    assert before == after


def test_sigterm_ends_with_143(train: Callable[..., Run]) -> None:
    with pytest.raises(InterruptedRun) as caught:
        train("run", report=signal_at(3, signal.SIGTERM))
    assert caught.value.exit_code == 143


def test_signal_handlers_are_given_back(train: Callable[..., Run]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train("run")
    with pytest.raises(InterruptedRun):
        train("other", report=signal_at(3, signal.SIGTERM))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_training_works_outside_the_main_thread(train: Callable[..., Run]) -> None:
    results: list[Run] = []
    thread = threading.Thread(target=lambda: results.append(train("run")))
    thread.start()
    thread.join()
    assert results[0].checkpoint.config == train("other").checkpoint.config


@pytest.mark.parametrize("kind", SMALL)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    kind: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    train("first", *SMALL[kind], seed=3)
    torch.rand(7)  # The caller's generator has no say.
    train("second", *SMALL[kind], seed=3)
    train("third", *SMALL[kind], seed=4)
    last = [RunDirectory(tmp_path / run).last for run in ("first", "second", "third")]
    assert last[0].read_bytes() == last[1].read_bytes()
    tensors = [load_checkpoint(path).model for path in (last[0], last[2])]
    assert any(not torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_training_leaves_the_callers_generator_alone(train: Callable[..., Run]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train("run", *SMALL["transformer"])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", SMALL)
def test_evaluating_more_often_changes_no_weight(
    kind: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    runs = [
        train(f"every-{every}", *SMALL[kind], f"train.evaluate_every={every}") for every in (1, 5)
    ]
    states = [load_checkpoint(RunDirectory(Path(run.name)).last) for run in runs]
    assert states[0].model.keys() == states[1].model.keys()
    for group in ("model", "optimizer"):
        first, second = (getattr(state, group) for state in states)
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_best_is_the_state_of_the_lowest_validation_loss(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    overrides = ["train.steps=120", "train.evaluate_every=10", "train.learning_rate=0.01"]
    run = train("run", *overrides)
    evaluations = [r for r in untimed(tmp_path / "run") if r["event"] == "evaluation"]
    lowest = min(evaluations, key=lambda record: float(str(record["loss"])))
    assert 0 < int(str(lowest["step"])) < 120  # It overfits, so the last state is not the best.
    assert run.checkpoint.step == lowest["step"]
    assert run.evaluate("val").loss.nats_per_char == lowest["loss"]
    assert load_checkpoint(RunDirectory(tmp_path / "run").last).step == 120


def test_patience_ends_a_run_that_no_longer_improves(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    overrides = ["train.steps=500", "train.evaluate_every=10", "train.learning_rate=0.01"]
    run = train("run", *overrides, "train.patience=3")
    end = untimed(tmp_path / "run")[-1]
    assert end["event"] == "end"
    assert end["reason"] == "patience"
    assert int(str(end["step"])) == run.checkpoint.step + 3 * 10


@pytest.mark.parametrize(
    ("steps", "max_epochs", "batch_size", "expected"),
    [
        (100, None, 20, 100),
        (100, 1.0, 20, 4),  # 70 names: three whole batches and a part
        (100, 0.01, 20, 1),
        (3, 10.0, 20, 3),
        (100, 2.0, 1000, 2),  # a batch is at most one epoch
    ],
)
def test_a_run_ends_after_steps_or_epochs_whichever_comes_first(
    steps: int, max_epochs: float | None, batch_size: int, expected: int
) -> None:
    config = TrainConfig(steps=steps, max_epochs=max_epochs, batch_size=batch_size)
    assert num_steps(config, num_names=70) == expected


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10, 64])
def test_every_epoch_takes_every_name_once(batch_size: int) -> None:
    size = min(batch_size, 10)
    stream = torch.cat([batch_indices(1, step, batch_size, 10) for step in range(30)])
    assert len(stream) == 30 * size
    epochs = [sorted(epoch.tolist()) for epoch in stream.split(10) if len(epoch) == 10]
    assert epochs == [list(range(10))] * len(epochs)


def test_the_order_of_names_is_a_function_of_seed_and_step() -> None:
    orders = {
        (seed, epoch): tuple(batch_indices(seed, epoch, 50, 50).tolist())
        for seed in (1, 2)
        for epoch in (1, 0)
    }
    assert len(set(orders.values())) == 4
    assert tuple(batch_indices(2, 0, 50, 50).tolist()) == orders[2, 0]


def test_without_validation_names_the_newest_state_is_the_best(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    run = train("run", "data.fractions=[1, 0, 0]")
    assert run.checkpoint.step == 12
    end = untimed(tmp_path / "run")[-1]
    assert end["split"] == "train"
    assert end["loss"] == run.evaluate("train").loss.nats_per_char
    with pytest.raises(UsageError, match=r"the val split .* is empty"):
        run.evaluate("val")


def test_no_names_in_the_training_split_is_a_data_error(names_file: Path, tmp_path: Path) -> None:
    names_file.write_text("ada\nben\ncora\n")
    with pytest.raises(DataError, match="no names in the training split"):
        launch.train(
            data=str(names_file), run=tmp_path / "run", overrides=["data.fractions=[1e-10, 1, 0]"]
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_a_loss_that_is_not_finite_stops_before_the_update(
    kind: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    with pytest.raises(
        DivergedError, match=r"step \d+: the (loss|gradient) is (nan|inf)"
    ) as caught:
        train("run", *SMALL[kind], "train.learning_rate=1e38")
    assert caught.value.exit_code == 5
    last = RunDirectory(tmp_path / "run").last
    assert str(last) in caught.value.problems[0].hint
    assert load(last).sample(3, seed=1)


def test_gradient_clipping_bounds_the_update(train: Callable[..., Run], tmp_path: Path) -> None:
    """One step of plain SGD moves the weights by rate times the gradient's norm, clipped."""
    sgd = ["train.optimizer.kind=sgd", "train.steps=1", "train.learning_rate=0.5"]
    for run, clip in (("free", "null"), ("clipped", "0.01")):
        train(run, *sgd, f"train.max_gradient_norm={clip}")

    def moved(run: str) -> float:
        directory = RunDirectory(tmp_path / run)
        after = load_checkpoint(directory.last).model
        with pytest.raises(CrashError):
            train(f"{run}-start", *sgd, report=die_at(1))
        before = load_checkpoint(RunDirectory(tmp_path / f"{run}-start").last).model
        return math.sqrt(sum(float((after[k] - before[k]).square().sum()) for k in after))

    record = next(r for r in untimed(tmp_path / "free") if r["event"] == "train")
    assert moved("free") == pytest.approx(0.5 * float(str(record["gradient_norm"])), rel=1e-4)
    assert moved("clipped") == pytest.approx(0.5 * 0.01, rel=1e-4)


def test_batch_norm_ends_with_the_statistics_of_the_whole_training_split(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    run = train("run", *SMALL["mlp-batchnorm"])
    found = {name: run.model.state_dict()[name].clone() for name in run.model.state_dict()}
    assert recompute_statistics(run.model, run.corpora["train"], 7) == 1
    for name, value in run.model.state_dict().items():
        torch.testing.assert_close(found[name], value)
    last = load_checkpoint(RunDirectory(tmp_path / "run").last).model
    assert not torch.allclose(last["norm.running_mean"], found["norm.running_mean"])
    assert run.checkpoint.best_loss == run.evaluate("val").loss.nats_per_char


def test_batch_norm_keeps_running_statistics_where_they_are_asked_for(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    run = train("run", *SMALL["mlp-batchnorm"], "model.norm_statistics=running")
    last = load_checkpoint(RunDirectory(tmp_path / "run").last).model
    assert run.checkpoint.step == 12
    assert torch.equal(last["norm.running_mean"], run.checkpoint.model["norm.running_mean"])


def test_the_learned_bigram_agrees_with_the_counted_one(tmp_path: Path) -> None:
    """The presets as shipped, on the embedded names: one optimum, found in two ways."""
    whole = ["data.fractions=[1, 0, 0]"]
    counted = launch.train("bigram-count", run=tmp_path / "c", overrides=[*whole, "model.k=0"])
    learned = launch.train("bigram", run=tmp_path / "l", overrides=whole)
    losses = [run.evaluate("train").loss.nats_per_char for run in (counted, learned)]
    assert losses[0] <= losses[1] < losses[0] + 1e-3
    tables = []
    for run in (counted, learned):
        every_character = Corpus.of(torch.arange(27).flip(0)).batch(torch.tensor([0]))
        tables.append(run.model(every_character).double().softmax(1)[1:])
    counts = torch.bincount(counted.corpora["train"].tokens.long(), minlength=27)
    frequent = counts[torch.arange(26, 0, -1)] > 500
    assert (tables[0] - tables[1]).abs()[frequent].max() < 0.02


def test_a_resumed_run_takes_changes_of_its_training_only(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    train("run")
    with pytest.raises(UsageError, match=r"model\.hidden_dim: cannot be changed"):
        launch.resume(tmp_path / "run", overrides=["model.hidden_dim=17"])
    with pytest.raises(ConfigError, match=r"train\.stepz: unknown key"):
        launch.resume(tmp_path / "run", overrides=["train.stepz=17"])
    resumed = launch.resume(tmp_path / "run", overrides=["train.steps=14"])
    assert resumed.config.train is not None
    assert resumed.config.train.steps == 14


def test_a_run_that_is_being_trained_is_locked(train: Callable[..., Run], tmp_path: Path) -> None:
    def report(record: Mapping[str, object]) -> None:
        if record["event"] == "train":
            launch.resume(tmp_path / "run")

    with pytest.raises(LockedError) as caught:
        train("run", report=report)
    assert caught.value.exit_code == 6


def test_a_closed_form_model_is_fitted_and_saved_like_the_others(
    train: Callable[..., Run], names_file: Path, tmp_path: Path
) -> None:
    run = launch.train("bigram-count", data=str(names_file), run=tmp_path / "run")
    events = [record["event"] for record in untimed(tmp_path / "run")]
    assert events == ["start", "evaluation", "end"]
    assert RunDirectory(tmp_path / "run").last.is_file()
    assert run.evaluate("val").loss.nats_per_char == run.checkpoint.best_loss


def test_a_count_table_without_smoothing_may_have_an_infinite_validation_loss(
    names_file: Path, tmp_path: Path
) -> None:
    run = launch.train(
        "bigram-count", data=str(names_file), run=tmp_path / "run", overrides=["model.k=0"]
    )
    assert run.evaluate("val").loss.nats_per_char == math.inf
    assert untimed(tmp_path / "run")[-1]["loss"] is None
    assert math.isfinite(run.evaluate("train").loss.nats_per_char)


def test_a_signal_before_the_first_step_leaves_a_run_that_can_be_resumed(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    def report(record: Mapping[str, object]) -> None:
        if record["event"] == "evaluation" and record["step"] == 0:
            os.kill(os.getpid(), signal.SIGINT)

    train("whole")
    with pytest.raises(InterruptedRun):
        train("parts", report=report)
    launch.resume(tmp_path / "parts", device="cpu")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", SMALL)
def test_a_checkpoint_from_a_gpu_loads_on_a_cpu(
    kind: str, names_file: Path, tmp_path: Path
) -> None:
    run = launch.train(
        "mlp",
        data=str(names_file),
        run=tmp_path / "run",
        device="cuda",
        overrides=[*SHORT, *SMALL[kind]],
    )
    on_cpu = load(tmp_path / "run", device="cpu")
    for name in ("train", "val"):
        gpu, cpu = (each.evaluate(name).loss.nats_per_char for each in (run, on_cpu))
        assert gpu == pytest.approx(cpu, abs=1e-4)
    assert run.sample(50, seed=1) == on_cpu.sample(50, seed=1)


def test_two_threads_give_the_same_bytes_twice_and_through_a_resume(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    """At the preset's sizes, so that torch does divide the work among threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        sizes = ["train.batch_size=64", "train.steps=4", "train.evaluate_every=2"]
        train("first", *sizes, model="transformer")
        train("second", *sizes, model="transformer")
        with pytest.raises(InterruptedRun):
            train("parts", *sizes, model="transformer", report=signal_at(3, signal.SIGINT))
        launch.resume(tmp_path / "parts", device="cpu")
    finally:
        torch.set_num_threads(before)
    assert_equal_runs(tmp_path / "first", tmp_path / "second")
    assert_equal_runs(tmp_path / "first", tmp_path / "parts")
