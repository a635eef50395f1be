"""The loop: its order of data, its records, and that nothing but the steps changes the weights."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from makemore import launch, training
from makemore.checkpoint import load_checkpoint
from makemore.clipping import Clipping
from makemore.config import MLPConfig, TrainConfig
from makemore.config_loading import config_from_dict
from makemore.corpus import Corpus
from makemore.errors import (
    DataError,
    DivergedError,
    UsageError,
)
from makemore.models import Mixture, build_model
from makemore.models.batch_norm import recompute_statistics
from makemore.run import Run, load
from makemore.run_directory import RunDirectory
from tests.small_runs import NAMES, SMALL, CrashError, die_at, untimed
from tests.test_models import NAMES as NAMES_OF_MODELS
from tests.test_models import batch_of, random_model, small


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
    assert not torch.allclose(
        last["hidden.0.norm.running_mean"], found["hidden.0.norm.running_mean"]
    )
    assert run.checkpoint.best_loss == run.evaluate("val").loss.nats_per_char


def test_batch_norm_keeps_running_statistics_where_they_are_asked_for(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    run = train("run", *SMALL["mlp-batchnorm"], "model.norm_statistics=running")
    last = load_checkpoint(RunDirectory(tmp_path / "run").last).model
    assert run.checkpoint.step == 12
    assert torch.equal(
        last["hidden.0.norm.running_mean"], run.checkpoint.model["hidden.0.norm.running_mean"]
    )


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


def test_a_closed_form_model_is_fitted_and_saved_like_the_others(
    train: Callable[..., Run], names_file: Path, tmp_path: Path
) -> None:
    run = launch.train("bigram-count", data=str(names_file), run=tmp_path / "run")
    events = [record["event"] for record in untimed(tmp_path / "run")]
    assert events == ["start", "fitted", "evaluation", "end"]
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


def test_a_run_directory_has_a_printable_name(train: Callable[..., Run]) -> None:
    with pytest.raises(UsageError, match="control characters"):
        train("new\nline")


def test_an_l1_penalty_reports_the_share_of_weights_at_zero(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    """The proximal step brings weights to exactly zero; the subgradient only jitters around it."""
    shares = {}
    for method in ("proximal", "subgradient"):
        penalty = ["train.l1_penalty=0.5", f"train.l1_method={method}"]
        run = train(method, *penalty, "train.optimizer={kind: sgd}", "train.learning_rate=0.1")
        weights = [p.detach() for p in run.model.parameters() if p.dim() >= 2]
        end = untimed(tmp_path / method)[-1]
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        shares[method] = zeros / sum(weight.numel() for weight in weights)
        assert end["share_of_zeros"] == shares[method]
        evaluations = [r for r in untimed(tmp_path / method) if r["event"] == "evaluation"]
        assert all("share_of_zeros" in record for record in evaluations)
    assert shares["proximal"] > 0.3
    assert shares["subgradient"] == 0
    train("none")
    assert not any("share_of_zeros" in record for record in untimed(tmp_path / "none"))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_with_an_average_the_run_keeps_the_average_and_trains_the_weights(
    norm: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    """The weights in training are those of a run without an average; the model is their average."""
    options = [f"model.norm={norm}", "train.evaluate_every=1", "train.average_decay=0.6"]
    train("averaged", *options)
    train("plain", *options[:2])
    averaged = load_checkpoint(tmp_path / "averaged/checkpoints/last.safetensors")
    plain = load_checkpoint(tmp_path / "plain/checkpoints/last.safetensors")
    assert averaged.trained.keys() == plain.model.keys()
    assert all(torch.equal(averaged.trained[name], plain.model[name]) for name in plain.model)
    assert not torch.equal(averaged.model["output.weight"], averaged.trained["output.weight"])
    end = untimed(tmp_path / "averaged")[-1]
    best = load(tmp_path / "averaged", device="cpu")
    assert end["loss"] == best.evaluate("val").loss.nats_per_char
    assert plain.trained == {}


def test_members_of_an_ensemble_are_clipped_apart(train: Callable[..., Run]) -> None:
    """A member learns beside another one what it learns alone."""
    sgd = ["train.optimizer={kind: sgd}", "train.learning_rate=1.0", "train.max_gradient_norm=0.05"]
    alone = train("alone", "model={kind: bigram}", *sgd)
    wild = "{kind: mlp, hidden_dim: 8, initialization: {method: unit_normal, output_factor: 1.0}}"
    both = train(
        "both", f"model={{kind: ensemble, members: [{{kind: bigram}}, {wild}]}}", *sgd, model="mlp"
    )
    assert isinstance(both.model, Mixture)
    (table,) = alone.model.parameters()
    (member,) = both.model.members[0].parameters()
    assert torch.equal(member, table)


def test_the_recorded_loss_is_that_of_the_targets_whatever_is_minimized(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    losses = []
    for smoothing in (0.0, 0.5):
        run = f"smoothing {smoothing}"
        train(run, f"train.label_smoothing={smoothing}", "train.l2_penalty=0.1")
        losses.append([r["loss"] for r in untimed(tmp_path / run) if r["event"] == "train"])
    # The first batch is seen by the same weights; the second no longer.
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_patience_without_validation_names_is_an_error(names_file: Path, tmp_path: Path) -> None:
    names_file.write_text("ada\nben\ncora\n")
    with pytest.raises(DataError, match=r"which train\.patience is about"):
        launch.train(
            "mlp",
            data=names_file,
            run=tmp_path / "run",
            overrides=["data.split=lecture", "train.patience=1"],
        )
    assert not (tmp_path / "run").exists()


def test_label_smoothing_mixes_the_target_with_the_uniform_distribution() -> None:
    """Szegedy et al. 2016, section 7: (1 - s) of the target's nats, s of the mean over all ids."""
    model = random_model(small(MLPConfig))
    batch = batch_of(NAMES_OF_MODELS)
    with torch.no_grad():
        plain, minimized = training._losses(model, batch, batch.targets, 0.3)
        nats_NV = -model(batch).log_softmax(1)
    target = nats_NV.gather(1, batch.targets[:, None]).mean()
    assert plain.item() == pytest.approx(target.item(), rel=1e-12)
    expected = 0.7 * target + 0.3 * nats_NV.mean()
    assert minimized.item() == pytest.approx(expected.item(), rel=1e-12)


def test_clipping_by_value_cuts_every_component_of_the_gradient() -> None:
    model = random_model(small(MLPConfig))
    batch = batch_of(NAMES_OF_MODELS)
    functional.cross_entropy(model(batch), batch.targets).backward()
    before = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    norm = Clipping(TrainConfig(max_gradient_value=0.01), [model]).clip()
    after = [p.grad for p in model.parameters() if p.grad is not None]
    assert norm == pytest.approx(math.sqrt(sum(float(g.square().sum()) for g in before)))
    assert max(float(g.abs().max()) for g in before) > 0.02
    for was, now in zip(before, after, strict=True):
        assert torch.equal(now, was.clamp(-0.01, 0.01))


@pytest.mark.parametrize("kind", ["mlp", "gru", "transformer", "wavenet", "bow"])
def test_dropout_drops_its_share_and_scales_the_rest(kind: str) -> None:
    """Srivastava et al. 2014: over many draws, each module keeps its input's mean."""
    values = {"model": {"kind": kind, "dropout": 0.3}}
    model = build_model(config_from_dict(values, "mine").model, 27)
    modules = [m for m in model.modules() if isinstance(m, nn.Dropout) and m.p > 0]
    assert modules
    for module in modules:
        dropped = module.train()(torch.ones(100_000))
        kept = dropped[dropped != 0]
        assert 1 - len(kept) / 100_000 == pytest.approx(0.3, abs=0.01)
        assert torch.equal(kept, torch.full_like(kept, 1 / 0.7))
