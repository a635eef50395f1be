"""The loop: its order of data, its records, and that nothing but the steps changes the weights."""

import json
import math
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from makemore import launch
from makemore.checkpoint import load_checkpoint, save_checkpoint
from makemore.config import TrainConfig
from makemore.config_loading import load_config
from makemore.corpus import Corpus
from makemore.errors import (
    CheckpointError,
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


@pytest.mark.parametrize("kind", [*SMALL, "bigram-count"])
def test_resuming_a_finished_run_changes_nothing(
    kind: str, train: Callable[..., Run], names_file: Path, tmp_path: Path
) -> None:
    if kind == "bigram-count":
        launch.train(kind, data=str(names_file), run=tmp_path / "run")
    else:
        train("run", *SMALL[kind])
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
    other = train("other")
    assert all(
        torch.equal(v, results[0].checkpoint.model[k]) for k, v in other.checkpoint.model.items()
    )


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


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("every", [1, 4])
def test_weights_that_an_update_overflows_are_never_saved(
    optimizer: str, every: int, train: Callable[..., Run], tmp_path: Path
) -> None:
    """The update itself can overflow, and an evaluation or the end may come right after it."""
    with pytest.raises(DivergedError):
        train(
            "run",
            f"train.optimizer.kind={optimizer}",
            "train.learning_rate=1e300",
            f"train.evaluate_every={every}",
        )
    assert load_checkpoint(RunDirectory(tmp_path / "run").last).step == 0
    assert load(tmp_path / "run").sample(3)


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


def test_resuming_takes_the_newer_of_best_and_last(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    """A kill can come after `best` was written and before `last` was."""
    train("whole")
    with pytest.raises(CrashError):
        train("parts", report=die_at(7))
    directory = RunDirectory(tmp_path / "parts")
    older = directory.last.read_bytes()
    with pytest.raises(CrashError):
        launch.resume(tmp_path / "parts", device="cpu", report=die_at(9))
    assert load_checkpoint(directory.best).step == 8
    directory.last.write_bytes(older)
    told: list[Mapping[str, object]] = []
    launch.resume(tmp_path / "parts", device="cpu", report=told.append)
    assert [record["step"] for record in told if record["event"] == "resume"] == [8]
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_what_a_resume_changed_survives_a_crash(train: Callable[..., Run], tmp_path: Path) -> None:
    train("run")
    with pytest.raises(CrashError):
        launch.resume(tmp_path / "run", overrides=["train.steps=20"], report=die_at(14))
    launch.resume(tmp_path / "run")
    assert load_checkpoint(RunDirectory(tmp_path / "run").last).step == 20
    assert untimed(tmp_path / "run")[0]["num_steps"] == 20
    config = load_config(RunDirectory(tmp_path / "run").config)
    assert config == load(tmp_path / "run").config


def test_records_that_are_damaged_are_passed_over(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    train("run")
    metrics = RunDirectory(tmp_path / "run").metrics
    lines = metrics.read_text().splitlines()
    lines[2:2] = ["\0\0\0", "[]", '{"event": 5, "step": 1}', '{"step": "x"}']
    metrics.write_text("\n".join(lines) + "\n{torn")
    assert len(RunDirectory(tmp_path / "run").records()) == len(lines) - 4
    launch.resume(tmp_path / "run", overrides=["train.steps=13"])
    assert [record["event"] for record in untimed(tmp_path / "run")].count("end") == 1


@pytest.mark.parametrize("first", ["adamw", "sgd"])
def test_a_run_cannot_go_on_with_another_optimizer(
    first: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    train("run", f"train.optimizer={{kind: {first}{', momentum: 0.9' * (first == 'sgd')}}}")
    before = run.config.read_bytes(), run.metrics.read_bytes(), run.last.read_bytes()
    other = {"adamw": "sgd", "sgd": "adamw"}[first]
    with pytest.raises(UsageError, match=r"train\.optimizer: cannot be changed"):
        launch.resume(run.path, overrides=[f"train.optimizer.kind={other}", "train.steps=20"])
    assert (run.config.read_bytes(), run.metrics.read_bytes(), run.last.read_bytes()) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: {name: value[:1] if value.dim() else value for name, value in state.items()},
        lambda state: {name: value.double() for name, value in state.items()},
        lambda state: {name: value for name, value in state.items() if "exp_avg_sq" not in name},
        lambda state: {},
        lambda state: {f"x{name}": value for name, value in state.items()},
    ],
)
def test_an_optimizer_state_that_does_not_fit_is_refused(
    damage: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    train: Callable[..., Run],
    tmp_path: Path,
) -> None:
    """The fused kernels read and write as much memory as the weights have."""
    train("run")
    last = RunDirectory(tmp_path / "run").last
    sound = load_checkpoint(last)
    save_checkpoint(last, replace(sound, optimizer=damage(sound.optimizer)))
    RunDirectory(tmp_path / "run").best.unlink()
    with pytest.raises(CheckpointError, match="its optimizer's state"):
        launch.resume(tmp_path / "run", overrides=["train.steps=20"])


def test_resuming_with_another_number_of_threads_says_so(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    train("run")
    told: list[object] = []
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        launch.resume(tmp_path / "run", report=lambda record: told.append(record.get("text")))
    finally:
        torch.set_num_threads(before)
    assert any(f"started with {before} threads" in str(text) for text in told)


def test_an_ignored_signal_stays_ignored(train: Callable[..., Run]) -> None:
    """A job in the background of a script ignores Ctrl-C, which means the foreground."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = train("run", report=signal_at(3, signal.SIGINT))
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)
    assert run.config.train is not None


def test_a_signal_in_the_last_step_finishes_the_run_and_then_stops_the_caller(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    with pytest.raises(InterruptedRun, match="complete") as caught:
        train("run", report=signal_at(12, signal.SIGINT))
    assert caught.value.exit_code == 130
    assert untimed(tmp_path / "run")[-1]["event"] == "end"


def test_a_preset_and_a_file_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        launch.train("mlp", config=tmp_path / "mine.yaml")


def test_a_model_that_cannot_be_built_leaves_no_directory(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    sizes = ["model.hidden_dim=65536", "model.embedding_dim=65536", "model.context_length=1024"]
    with pytest.raises(UsageError, match="the model cannot be built"):
        train("run", *sizes)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["\U0001f600.txt", 'it\'s "quoted": #1.txt', " spaced "])
def test_the_path_of_a_file_of_names_may_hold_anything(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("\n".join(NAMES))
    run = launch.train("bigram-count", data=str(tmp_path / name), run=tmp_path / "run")
    assert run.config.data.source == str(tmp_path / name)


def test_a_run_shows_itself_in_one_line_and_can_be_a_key(train: Callable[..., Run]) -> None:
    run = train("run")
    assert repr(run) == f"<Run {run.name}: mlp, step {run.checkpoint.step}>"
    assert {run: 1}[run] == 1


@pytest.mark.parametrize("steps", [5, 12])
def test_a_resume_that_would_change_nothing_but_the_config_is_refused(
    steps: int, train: Callable[..., Run], tmp_path: Path
) -> None:
    train("run")
    run = RunDirectory(tmp_path / "run")
    before = run.config.read_bytes(), run.metrics.read_bytes(), run.last.read_bytes()
    with pytest.raises(UsageError, match="at step 12 already"):
        launch.resume(run.path, overrides=[f"train.steps={steps}", "train.learning_rate=0.7"])
    assert (run.config.read_bytes(), run.metrics.read_bytes(), run.last.read_bytes()) == before


@pytest.mark.parametrize("missing", ["best", "last"])
def test_a_missing_checkpoint_is_replaced_by_the_other(
    missing: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    train("run")
    run = RunDirectory(tmp_path / "run")
    getattr(run, missing).unlink()
    launch.resume(run.path)
    assert len(run.checkpoints()) == 2
    assert untimed(run.path)[-1]["event"] == "end"


def test_a_run_is_resumed_by_a_checkpoint_in_it_too(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    run = train("run")
    launch.resume(run.path, overrides=["train.steps=13"])
    assert load_checkpoint(RunDirectory(tmp_path / "run").last).step == 13


def test_a_closed_terminal_saves_and_ends_with_129(train: Callable[..., Run]) -> None:
    with pytest.raises(InterruptedRun) as caught:
        train("run", report=signal_at(3, signal.SIGHUP))
    assert caught.value.exit_code == 129


def test_a_run_directory_has_a_printable_name(train: Callable[..., Run]) -> None:
    with pytest.raises(UsageError, match="control characters"):
        train("new\nline")
