"""Folding batch normalization: `makemore fold`, and the same model without the layer."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from makemore.checkpoint import save_checkpoint
from makemore.config_loading import config_from_dict, config_to_dict
from makemore.errors import UsageError
from makemore.folding import fold_batch_norm
from makemore.models import build_model, hidden
from makemore.models.batch_norm import BatchNorm, fold
from makemore.run import Run, load
from tests.command_line import Makemore

BATCH = ["model.hidden_dim=16", "model.norm=batch"]
TREE = ["model={kind: wavenet-tree, context_length: 4, embedding_dim: 6, hidden_dim: 8}"]
WITH_BATCH_NORM = {
    "one layer": BATCH,
    "residual": [*BATCH, "model.num_layers=3", "model.residual=true"],
    "running": [*BATCH, "model.norm_statistics=running"],
    "tree": TREE,
    "ensemble": [
        "model={kind: ensemble, members: [{kind: mlp, norm: batch, hidden_dim: 8},"
        " {kind: mlp, hidden_dim: 6}, {kind: wavenet-tree, context_length: 4, hidden_dim: 8}]}"
    ],
}


@pytest.mark.parametrize("options", WITH_BATCH_NORM.values(), ids=WITH_BATCH_NORM)
def test_a_folded_checkpoint_is_the_same_model_without_the_layer(
    options: list[str], train: Callable[..., Run], tmp_path: Path
) -> None:
    run = train("run", *options)
    folded = fold_batch_norm(run)
    num_layers = sum(isinstance(module, BatchNorm) for module in run.model.modules())
    assert folded.num_folded == num_layers > 0
    assert 0 < folded.largest_difference < 1e-5
    save_checkpoint(tmp_path / "folded.safetensors", folded.checkpoint)
    loaded = load(tmp_path / "folded.safetensors", device="cpu")
    assert not any(isinstance(module, BatchNorm) for module in loaded.model.modules())
    batch = run.corpora["train"].batch(torch.arange(20))
    torch.testing.assert_close(loaded.model(batch), run.model(batch), atol=1e-5, rtol=1e-5)
    # What it was folded from is as it was.
    assert any(isinstance(module, BatchNorm) for module in run.model.modules())
    assert config_to_dict(run.config) != config_to_dict(loaded.config)


def test_the_largest_difference_is_that_of_the_logits(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer that is folded without its bias is found out by it."""
    run = train("run", *BATCH)

    def without_bias(linear: torch.nn.Linear, norm: BatchNorm) -> torch.nn.Linear:
        folded = fold(linear, norm)
        torch.nn.init.zeros_(folded.bias)
        return folded

    monkeypatch.setattr(hidden, "fold", without_bias)
    folded = fold_batch_norm(run)
    monkeypatch.undo()
    config = config_from_dict(folded.checkpoint.config, "folded")
    other = build_model(config.model, run.vocabulary.size).eval()
    other.load_state_dict(folded.checkpoint.model)
    corpus = run.corpora["val"]
    batch = corpus.batch(torch.arange(corpus.num_names))
    expected = (other(batch) - run.model(batch)).abs().max().item()
    assert folded.largest_difference == pytest.approx(expected, rel=1e-4)
    assert expected > 0.01


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["model.hidden_dim=16"], "there is no batch normalization to fold"),
        (
            [TREE[0].replace("hidden_dim: 8", "hidden_dim: 8, norm_over: batch")],
            "`norm_over: batch` normalizes each node apart, which no one layer can do",
        ),
    ],
)
def test_what_cannot_be_folded_is_an_error(
    options: list[str], what: str, train: Callable[..., Run]
) -> None:
    run = train("run", *options)
    with pytest.raises(UsageError) as caught:
        fold_batch_norm(run)
    assert (caught.value.problems[0].what, caught.value.problems[0].where) == (what, run.name)


def test_the_command_prints_the_difference_and_the_file_that_it_wrote(
    makemore: Makemore, tmp_path: Path
) -> None:
    options = [f"--set={option}" for option in (*BATCH, "train.steps=5")]
    assert makemore("train", "--data", "names.txt", "--device", "cpu", *options).code == 0
    done = makemore("fold")
    assert (done.code, done.out) == (0, "runs/mlp-1/folded.safetensors\n")
    assert done.err.startswith("folded 1 layer; the largest difference of a logit is ")
    assert makemore("sample", done.out.strip(), "-n", "3").code == 0
    record = json.loads(makemore("fold", "runs/mlp-1", "--out", "mine.safetensors", "--json").out)
    assert record["checkpoint"] == "mine.safetensors"
    assert record["num_folded"] == 1
    assert 0 < record["largest_difference"] < 1e-5
    assert load(tmp_path / "mine.safetensors", device="cpu").sample(1, seed=1)
    for taken in ("mine.safetensors", "runs/mlp-1/checkpoints/last.safetensors", "/"):
        refused = makemore("fold", "runs/mlp-1", "--out", taken)
        assert (refused.code, refused.out) == (2, "")
        assert f"--out {taken}: it exists already" in refused.err
    # It is no state to go on from, and no other takes its place unasked.
    assert makemore("train", "--resume", "runs/mlp-1/folded.safetensors").code == 4
    again = makemore("fold", "mine.safetensors")
    assert (again.code, again.out) == (2, "")
    assert "there is no batch normalization to fold" in again.err
