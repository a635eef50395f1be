"""Several runs as one on the command line: `eval --ensemble` and `sample --mix`."""

import json
from pathlib import Path
from typing import Any

import pytest

from makemore.data import Splits
from makemore.ensemble import mix
from makemore.run import load
from tests.command_line import Makemore, shell
from tests.test_ensemble import SPLITS, write_run

OTHER = Splits(SPLITS.val, SPLITS.train, SPLITS.test)
NAMES = ["runs/a", "runs/b", "runs/c"]


@pytest.fixture
def written(makemore: Makemore) -> Makemore:
    """The command beside three runs of one split, one of another split and one in French."""
    write_run("a", "bigram")
    write_run("b", "mlp", seed=1)
    write_run("c", "transformer", seed=2)
    write_run("split", splits=OTHER)
    write_run("french", splits=Splits(["zoé", "ada"], ["zoé"], []))
    return makemore


def mixed(weights: Any = "equal", names: list[str] = NAMES) -> Any:
    return mix([load(name, device="cpu") for name in names], weights)


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ([], "equal"),
        (["--weights", "equal"], "equal"),
        (["--weights", "tuned"], "tuned"),
        (["--weights", "3,2,5"], [0.3, 0.2, 0.5]),
    ],
)
def test_eval_gives_a_record_for_each_run_and_one_for_the_ensemble(
    written: Makemore, options: list[str], weights: Any
) -> None:
    result = written("eval", "a", "b", "c", "--ensemble", *options, "--json")
    assert result.code == 0
    *members, ensemble = records(result.out)
    assert members == records(written("eval", "a", "b", "c", "--json").out)
    expected = mixed(weights)
    assert ensemble.pop("weights") == pytest.approx(list(expected.weights))
    assert ensemble == expected.evaluate("val").to_dict()
    assert ensemble["run"] == "ensemble of runs/a, runs/b, runs/c"
    assert list(ensemble) == list(members[0])


def test_eval_prints_the_weights_beside_the_runs(written: Makemore) -> None:
    result = written("eval", "a", "b", "c", "--ensemble", "--weights", "5,3,2", "--split", "test")
    assert result.err == ""
    header, *rows = [line.split() for line in result.out.splitlines()]
    assert header[:4] == ["run", "weight", "split", "names"]
    assert [row[:3] for row in rows] == [
        ["runs/a", "0.5000", "test"],
        ["runs/b", "0.3000", "test"],
        ["runs/c", "0.2000", "test"],
        ["ensemble", "-", "test"],
    ]
    loss = mixed([0.5, 0.3, 0.2]).evaluate("test").loss
    assert rows[-1][5:7] == [f"{loss.nats_per_char:.4f}", f"{loss.standard_error:.4f}"]
    assert "weight" not in written("eval", "a", "b").out


def test_eval_says_where_the_weights_were_tuned_on_the_names_of_the_loss(
    written: Makemore,
) -> None:
    tuned = ("eval", "a", "b", "--ensemble", "--weights", "tuned")
    assert "tuned on these same names" in written(*tuned).err
    assert "tuned on these same names" in written(*tuned, "--split", "val").err
    assert written(*tuned, "--split", "test").err == ""
    Path("two.txt").write_text("ada\nabe\n")
    assert written(*tuned, "--data", "two.txt").err == ""
    assert written("eval", "a", "b", "--ensemble").err == ""


def test_eval_of_a_file_mixes_runs_of_different_splits(written: Makemore) -> None:
    Path("two.txt").write_text("ada\nabe\n")
    result = written("eval", "a", "split", "--ensemble", "--data", "two.txt", "--json")
    *_, ensemble = records(result.out)
    expected = mixed(names=["a", "split"]).evaluate_names(["ada", "abe"], "two.txt")
    assert ensemble["nats_per_char"] == expected.loss.nats_per_char
    assert ensemble["weights"] == [0.5, 0.5]
    assert result.err == ""


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("0.7,0.3", [0.7, 0.3]), ("7,3", [0.7, 0.3]), ("equal", "equal"), ("tuned", "tuned")],
)
def test_sample_draws_from_the_mixture(written: Makemore, weights: str, expected: Any) -> None:
    options = ("sample", "a", "b", "--mix", weights, "-n", "30", "--seed", "4")
    drawn = list(mixed(expected, ["a", "b"]).draw(30, seed=4))
    result = written(*options)
    assert result.out.splitlines() == [sample.name for sample in drawn]
    assert records(written(*options, "--json").out) == [sample._asdict() for sample in drawn]
    if weights == "tuned":
        first, second = mixed("tuned", ["a", "b"]).weights
        assert result.err == f"weights: runs/a {first:.4f}, runs/b {second:.4f}\n"
    else:
        assert result.err == ""


def test_sample_takes_all_other_options_with_mix(written: Makemore) -> None:
    options = ("-n", "9", "--prompt", "ab", "--novel", "--unique", "--max-length", "6")
    result = written("sample", "a", "b", "c", "--mix", "equal", *options)
    names = result.out.splitlines()
    assert len(set(names)) == 9
    assert all(name.startswith("ab") and len(name) <= 6 for name in names)
    assert not set(names) & set(SPLITS.train)


def test_the_same_run_twice_is_that_run(written: Makemore) -> None:
    options = ("-n", "20", "--seed", "1")
    assert written("sample", "a", "a", "--mix", "1,9", *options) == written("sample", "a", *options)
    *_, last = written("eval", "a", "a", "--ensemble").out.splitlines()
    (_, alone) = written("eval", "a").out.splitlines()
    assert last.split()[2:] == alone.split()[1:]


def test_nobody_reads_on_and_nothing_is_said(written: Makemore, tmp_path: Path) -> None:
    done = shell("makemore sample a b --mix equal -n 100000 | head -1", tmp_path)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.parametrize("command", [["eval", "--ensemble", "--weights"], ["sample", "--mix"]])
@pytest.mark.parametrize(
    ("runs", "weights", "message"),
    [
        (["a", "b"], "best", 'weights: expected numbers, `equal` or `tuned`, got "best"'),
        (["a", "b"], "", 'got ""'),
        (["a", "b"], "0.5,,0.5", 'got "0.5,,0.5"'),
        (["a", "b"], "0.5;0.5", 'got "0.5;0.5"'),
        (["a", "b"], "1", "weights: 1 for 2 runs"),
        (["a", "b"], "1,1,1", "weights: 3 for 2 runs"),
        (["a", "b"], "-1,2", "weights: must not be negative, got -1"),
        (["a", "b"], "nan,1", "weights: must be finite, got nan, 1"),
        (["a", "b"], "1e999,1", "weights: must be finite, got inf, 1"),
        (["a", "b"], "0,0", "weights: must not all be 0"),
        (["a"], "1", "runs: at least two are needed for a mixture, got 1"),
        (["a"], "equal", "runs: at least two are needed for a mixture, got 1"),
        (
            ["a", "french"],
            "equal",
            "runs/a alone knows 'b' 'c' 'e', runs/french alone knows 'o' 'z' 'é'",
        ),
        (["a", "split"], "tuned", f"runs/split has {OTHER.digest}"),
    ],
)
def test_what_cannot_be_mixed_ends_with_2(
    written: Makemore, command: list[str], runs: list[str], weights: str, message: str
) -> None:
    name, *options = command
    result = written(name, *runs, *options, weights)
    assert result.code == 2
    assert message in result.error
    assert "hint: " in result.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "a", "b", "--weights", "equal"], "--weights has no effect without --ensemble"),
        (["eval", "a", "split", "--ensemble"], f"runs/a has {SPLITS.digest}, runs/split has"),
        (["sample", "a", "b"], "2 runs without --mix"),
        (["sample", "a", "b", "--mix"], "'--mix' requires an argument"),
    ],
)
def test_what_asks_for_no_clear_thing_ends_with_2(
    written: Makemore, arguments: list[str], message: str
) -> None:
    result = written(*arguments)
    assert result.code == 2
    assert message in result.error
    assert "hint: " in result.error


@pytest.mark.parametrize("command", [["eval", "--ensemble"], ["sample", "--mix", "equal"]])
def test_a_missing_run_among_several_ends_with_4(written: Makemore, command: list[str]) -> None:
    name, *options = command
    result = written(name, "a", "b", "runs/bb", *options)
    assert result.code == 4
    assert "runs/bb" in result.error


def test_without_a_run_the_newest_alone_is_no_ensemble(written: Makemore) -> None:
    for arguments in (["eval", "--ensemble"], ["sample", "--mix", "equal"]):
        result = written(*arguments)
        assert result.code == 2
        assert "at least two are needed" in result.error
