"""The command line at work: what each command prints, and where."""

import json
import re
from pathlib import Path

import pytest

from makemore import cli
from makemore.checkpoint import load_checkpoint
from makemore.run_directory import RunDirectory
from tests.command_line import TINY, Makemore, shell


def test_train_prints_the_path_of_the_run_and_says_what_comes_next(makemore: Makemore) -> None:
    result = makemore("train", "--data", "names.txt", *TINY)
    assert result.code == 0
    assert result.out == "runs/mlp-1\n"
    assert re.search(
        r"best validation loss \d\.\d{4} ± \d\.\d{4} nats/char at step \d+", result.err
    )
    assert "makemore sample runs/mlp-1" in result.err
    assert makemore("train", "--data", "names.txt", *TINY).out == "runs/mlp-2\n"


def test_train_writes_a_run_directory_that_reloads(trained: Makemore) -> None:
    run = Path("runs/mlp-1")
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "lock",
        "metrics.jsonl",
    ]
    again = trained("config", run / "config.yaml")
    assert again.out == (run / "config.yaml").read_text()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events[0] == "start"
    assert events[-1] == "end"


def test_train_json_has_the_loss_and_where_the_run_is(makemore: Makemore) -> None:
    result = makemore("train", "--data", "names.txt", "--json", *TINY)
    record = json.loads(result.out)
    assert record["run"] == "runs/mlp-1"
    assert {"loss", "standard_error", "best_step", "seconds"} <= record.keys()


def test_sample_prints_names_and_nothing_else(trained: Makemore) -> None:
    result = trained("sample", "-n", "7", "--seed", "1", "--prompt", "al")
    assert result.err == ""
    lines = result.out.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("al") for line in lines)
    assert trained("sample", "runs/mlp-1", "-n", "7", "--seed", "1", "--prompt", "al") == result
    assert trained("sample", "mlp-1", "-n", "7", "--seed", "1", "--prompt", "al") == result


def test_sample_without_a_seed_draws_other_names_each_time(trained: Makemore) -> None:
    assert trained("sample").out != trained("sample").out


def test_sample_json_has_name_log_probability_and_novel(trained: Makemore) -> None:
    result = trained("sample", "-n", "50", "--seed", "1", "--json")
    records = [json.loads(line) for line in result.out.splitlines()]
    assert len(records) == 50
    assert all(record.keys() == {"name", "log_probability", "novel"} for record in records)
    names = trained("sample", "-n", "50", "--seed", "1").out.splitlines()
    assert [record["name"] for record in records] == names


def test_sample_says_when_the_filters_leave_too_few(trained: Makemore) -> None:
    result = trained("sample", "-n", "5", "--temperature", "0", "--unique")
    assert result.code == 0
    assert len(result.out.splitlines()) == 1
    assert "only 1 unique" in result.err


def test_eval_prints_one_table_for_several_runs(trained: Makemore) -> None:
    assert trained("train", "--model", "bigram-count", "--data", "names.txt").code == 0
    result = trained("eval", "runs/mlp-1", "runs/bigram-count-1")
    header, *rows = result.out.splitlines()
    assert header.split()[0] == "run"
    assert [row.split()[0] for row in rows] == ["runs/mlp-1", "runs/bigram-count-1"]


def test_eval_json_has_the_keys_of_the_contract(trained: Makemore) -> None:
    for split in ("train", "val", "test"):
        record = json.loads(trained("eval", "--split", split, "--json").out)
        assert list(record) == [
            *("run", "split", "num_names", "num_chars", "nats_per_char", "standard_error"),
            *("bits_per_char", "perplexity", "split_digest", "unseen"),
        ]
        assert record["split"] == split


def test_eval_of_another_file_and_of_leaky_splits_tells_the_unseen_names_apart(
    trained: Makemore,
) -> None:
    Path("other.txt").write_text("ada\nben\nmarlene\nlinda\n")
    record = json.loads(trained("eval", "--data", "other.txt", "--json").out)
    assert record["num_names"] == 4
    assert record["num_chars"] == 4 + 4 + 8 + 6
    assert 2 <= record["unseen"]["num_names"] < 4
    assert "unseen names" in trained("eval", "--data", "other.txt").out


def test_eval_reads_standard_input_once_for_all_runs(trained: Makemore, tmp_path: Path) -> None:
    trained("train", "--model", "bigram-count", "--data", "names.txt")
    done = shell("echo ada | makemore eval mlp-1 bigram-count-1 --data - --json", tmp_path)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["num_names"] for record in records] == [1, 1]
    assert all(record["standard_error"] is None for record in records)


def test_two_checkpoints_of_one_run_have_two_names(trained: Makemore) -> None:
    paths = [f"runs/mlp-1/checkpoints/{name}.safetensors" for name in ("best", "last")]
    records = [json.loads(line) for line in trained("eval", *paths, "--json").out.splitlines()]
    assert [record["run"] for record in records] == ["runs/mlp-1", paths[1]]


def test_eval_warns_where_losses_cannot_be_compared(trained: Makemore) -> None:
    other = ("--set", "data.seed=5", "--data", "names.txt")
    assert trained("train", "--model", "bigram-count", *other).code == 0
    result = trained("eval", "runs/mlp-1", "runs/bigram-count-1")
    assert "cannot be compared" in result.err


def test_runs_are_grouped_by_split_and_best_first(trained: Makemore) -> None:
    trained("train", "--model", "bigram-count", "--data", "names.txt")
    trained("train", "--model", "bigram-count", "--data", "names.txt", "--set", "data.seed=5")
    result = trained("runs", "--json")
    records = [json.loads(line) for line in result.out.splitlines()]
    assert len(records) == 3
    digests = [record["split_digest"] for record in records]
    assert len(set(digests)) == 2
    groups = [[r for r in records if r["split_digest"] == d] for d in dict.fromkeys(digests)]
    assert [record for group in groups for record in group] == records
    for group in groups:
        losses = [record["nats_per_char"] for record in group]
        assert losses == sorted(losses)
    table = trained("runs").out
    assert all(run in table for run in ("runs/mlp-1", "runs/bigram-count-1", "runs/bigram-count-2"))


def test_runs_without_runs_says_how_to_start(makemore: Makemore) -> None:
    result = makemore("runs")
    assert result.code == 0
    assert result.out == ""
    assert "makemore train" in result.err


def test_runs_show_an_unfinished_run(makemore: Makemore, tmp_path: Path) -> None:
    assert makemore("train", "--data", "names.txt", *TINY).code == 0
    metrics = tmp_path / "runs/mlp-1/metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    assert "unfinished" in makemore("runs").out


def test_runs_without_records_are_listed_all_the_same(trained: Makemore, tmp_path: Path) -> None:
    metrics = tmp_path / "runs/mlp-1/metrics.jsonl"
    metrics.write_text('{"event": "start", "step": 0}\n{"event": "evaluation", "step": 0}\n[]\n')
    assert "runs/mlp-1" in trained("runs").out
    record = json.loads(trained("runs", "--json").out)
    assert record["num_parameters"] is None
    metrics.unlink()
    assert "runs/mlp-1" in trained("runs").out


def test_a_run_that_never_improved_says_so(makemore: Makemore) -> None:
    quiet = ("--set", "train.learning_rate=1e6", "--set", "train.steps=3")
    result = makemore("train", "--data", "names.txt", *quiet)
    assert result.code == 0
    assert "no step was better than the untrained model" in result.err
    counted = makemore("train", "--model", "bigram-count", "--set", "model.k=0")
    assert "best validation loss infinite" in counted.err


def test_the_hint_for_an_odd_path_can_be_typed(makemore: Makemore, tmp_path: Path) -> None:
    result = makemore("train", "--model", "bigram-count", "--run=-a b")
    assert "makemore sample './-a b'" in result.err
    assert makemore("sample", "./-a b").code == 0


def test_config_prints_a_resolved_config_that_trains(makemore: Makemore) -> None:
    result = makemore("config", "mlp", "--set", "train.steps=3", "--set", "model.hidden_dim=5")
    Path("mine.yaml").write_text(result.out)
    trained = makemore("train", "--config", "mine.yaml", "--data", "names.txt")
    assert trained.out == "runs/mine-1\n"
    assert makemore("config", "mine.yaml").out == result.out


def test_config_reads_a_file_whatever_its_name(makemore: Makemore) -> None:
    Path("mine").write_text("model: {kind: bigram}\n")
    assert makemore("config", "mine").code == 0
    Path("mlp").write_text("model: {kind: bigram}\n")
    assert "kind: mlp" in makemore("config", "mlp").out


def test_config_lists_presets_and_prints_schema_and_reference(makemore: Makemore) -> None:
    presets = makemore("config").out.split()
    assert presets[:3] == ["best", "bigram", "bigram-count"]
    # Folders come after what stands above them.
    first = presets.index("lectures/eureka-4gram")
    assert presets[:first] == sorted(name for name in presets if "/" not in name)
    assert presets[first:] == sorted(name for name in presets if "/" in name)
    schema = json.loads(makemore("config", "--schema").out)
    assert "train" in schema["properties"]
    repository = Path(cli.__file__).parents[2]
    assert (
        makemore("config", "--reference").out == (repository / "configs/reference.yaml").read_text()
    )


def test_data_counts_what_is_in_a_file(makemore: Makemore) -> None:
    Path("twice.txt").write_text("ada\nben\nada\ncora\n")
    record = json.loads(makemore("data", "twice.txt", "--json").out)
    assert record["num_names"] == 4
    assert record["num_distinct"] == 3
    assert record["num_duplicates"] == 1
    assert record["num_chars"] == 3 + 3 + 3 + 4 + 4
    assert record["alphabet"] == "abcdenor"
    text = makemore("data", "twice.txt").out
    assert "duplicates  1 (25.0%)" in text


def test_standard_input_trains_and_evaluates_afterwards(makemore: Makemore, tmp_path: Path) -> None:
    options = " ".join(TINY)
    trained = shell(f"cat names.txt | makemore train --data - {options}", tmp_path)
    assert trained.stdout == "runs/mlp-1\n", trained.stderr
    assert makemore("eval").code == 0


def test_resume_goes_on_and_refuses_what_it_would_ignore(trained: Makemore) -> None:
    result = trained("train", "--resume", "runs/mlp-1", "--set", "train.steps=30")
    assert result.code == 0
    assert load_checkpoint(RunDirectory(Path("runs/mlp-1")).last).step == 30
    refused = trained("train", "--resume", "runs/mlp-1", "--seed", "3")
    assert refused.code == 2
    assert "--seed has no effect with --resume" in refused.error


@pytest.mark.parametrize("command", ["train", "sample", "eval", "runs", "config", "data"])
def test_every_command_has_help(makemore: Makemore, command: str) -> None:
    assert command in makemore("--help").out
    result = makemore(command, "--help")
    assert result.code == 0
    assert "Usage:" in result.out
