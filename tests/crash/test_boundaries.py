"""A stop at every boundary of every change of the disk, and inside the writes: nothing is lost."""

from pathlib import Path

import pytest

from tests.crash.boundaries import STOPS, STORIES, survive
from tests.crash.stories import MODELS, end, start
from tests.small_runs import untimed

WHOLE = ("start", "mlp-batchnorm")


@pytest.mark.parametrize("model", MODELS)
def test_the_small_runs_change_best_and_last_at_different_times(
    model: str, names_file: Path, tmp_path: Path
) -> None:
    """Else their stops would prove less than they are meant to."""
    ending = end(start(MODELS[model], names_file), tmp_path / "whole")
    evaluations = [record for record in untimed(ending.run) if record["event"] == "evaluation"]
    chosen = [bool(record["best"]) for record in evaluations]
    if model == "bigram-count":
        assert chosen == [True]
    else:
        assert chosen[0]
        assert any(chosen[1:])
        assert not all(chosen)
    reason = {"bigram-count": "fitted", "patience": "patience"}.get(model, "steps")
    assert untimed(ending.run)[-1]["reason"] == reason
    # It gets exact statistics when the run ends, which averaged weights have from the first.
    assert len(ending.versions[0]) == sum(chosen) + (model == "mlp-batchnorm")
    assert len(ending.versions[1]) == len(chosen)


def test_a_run_killed_at_any_boundary_goes_on_bitwise(tmp_path: Path) -> None:
    """Each write torn at three places, too."""
    counts = survive("kill", *WHOLE, tmp_path / "story")
    assert counts["resumed"] == counts["states"] > 100


@pytest.mark.parametrize(("command", "model"), [story for story in STORIES if story != WHOLE])
def test_other_runs_killed_at_any_boundary_are_whole_and_go_on_from_some(
    command: str, model: str, tmp_path: Path
) -> None:
    assert survive("kill", command, model, tmp_path / "story", every=17)["states"] > 15


@pytest.mark.parametrize(("command", "model"), STORIES)
def test_runs_are_whole_after_a_loss_of_power_and_go_on_from_some(
    command: str, model: str, tmp_path: Path
) -> None:
    assert survive("power loss", command, model, tmp_path / "story", every=41)["states"] > 50


@pytest.mark.long
@pytest.mark.parametrize(("command", "model"), STORIES)
@pytest.mark.parametrize("stop", STOPS)
def test_a_run_stopped_at_any_boundary_goes_on_bitwise(
    stop: str, command: str, model: str, tmp_path: Path
) -> None:
    survive(stop, command, model, tmp_path / "story")
