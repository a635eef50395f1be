"""The command line: what it prints where, its exit codes, and what it says to bad input."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from makemore import __version__, cli
from makemore.checkpoint import load_checkpoint, save_checkpoint
from makemore.run_directory import RunDirectory
from tests.test_training import NAMES


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """stderr of a command that failed the way every command should fail."""
        assert self.err.startswith("error: "), self.err
        assert "Traceback" not in self.err
        assert self.out == ""
        return self.err


Makemore = Callable[..., Result]
TINY = (
    "--set",
    "train.steps=20",
    "--set",
    "train.evaluate_every=10",
    "--set",
    "model.hidden_dim=8",
)


@pytest.fixture
def makemore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Makemore:
    """The command, run in this process in an empty directory with a small `names.txt`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")

    def run(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["makemore", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Result(caught.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def trained(makemore: Makemore) -> Makemore:
    """The same, with a run `runs/mlp-1`."""
    result = makemore("train", "--data", "names.txt", "--device", "cpu", *TINY)
    assert result.code == 0, result.err
    return makemore


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`makemore` in `command` is this interpreter's."""
    program = f"{sys.executable} -m makemore"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command.replace('makemore', program)}"],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# The main job


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
    assert presets == ["bigram", "bigram-count", "mlp", "mlp-batchnorm", "transformer"]
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


# Help


def test_help_and_version_load_neither_torch_nor_pydantic(tmp_path: Path) -> None:
    code = (
        "import sys; from makemore import cli; sys.argv = ['makemore', '{}']\n"
        "try: cli.main()\n"
        "finally: print([m for m in ('torch', 'pydantic', 'yaml', 'rich') if m in sys.modules])"
    )
    for option, expected in (("--version", f"makemore {__version__}\n"), ("--help", "")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(option)], capture_output=True, text=True, check=False
        )
        assert done.stdout.endswith("[]\n"), done.stdout
        assert done.stdout.startswith(expected)


@pytest.mark.parametrize("command", ["train", "sample", "eval", "runs", "config", "data"])
def test_every_command_has_help(makemore: Makemore, command: str) -> None:
    assert command in makemore("--help").out
    result = makemore(command, "--help")
    assert result.code == 0
    assert "Usage:" in result.out


# Bad input


def test_an_unknown_command_names_the_nearest(makemore: Makemore) -> None:
    result = makemore("trian")
    assert result.code == 2
    assert "trian" in result.error
    assert "train" in result.error


def test_an_unknown_option_names_the_nearest(makemore: Makemore) -> None:
    result = makemore("sample", "--temprature", "1")
    assert result.code == 2
    assert "--temperature" in result.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "mpl"], "did you mean `mlp`"),
        (["--config", "absent.yaml"], "absent.yaml"),
        (["--model", "mlp", "--config", "x.yaml"], "exclude each other"),
        (["--set", "train.stepz=5"], "did you mean `steps`"),
        (["--set", "train.steps=many"], "expected an integer"),
        (["--set", "train.learning_rate=-1"], "greater than 0"),
        (["--set", "steps"], "KEY=VALUE"),
        (["--seed", "-1"], "seed"),
        (["--device", "tpu"], "unknown device `tpu`"),
        (["--device", "cuda:99"], "no device `cuda:99`"),
        (["--device", "cuda:" + "9" * 5000], "unknown device"),
        (["--set", "train.max_epochs=1e308"], "at most 1e+09"),
        (["--set", "model.hidden_dim=1000000000000"], "at most 65536"),
        (["--resume", "x" * 5000], "no such run"),
        (["--resume", "runs/none"], "no such run"),
    ],
)
def test_bad_arguments_of_train_end_with_2_or_4_and_write_nothing(
    makemore: Makemore, arguments: list[str], message: str
) -> None:
    result = makemore("train", *arguments)
    assert result.code == (4 if "--resume" in arguments else 2)
    assert message in result.error
    assert "hint: " in result.error
    assert not Path("runs").exists()


def test_a_bad_config_reports_every_problem_with_its_line(makemore: Makemore) -> None:
    Path("bad.yaml").write_text(
        "model:\n  kind: mlp\n  num_heads: 4\ntrain:\n  stepz: 5\n  batch_size: big\n"
        "  learning_rate: 0\n"
    )
    result = makemore("train", "--config", "bad.yaml", "--set", "seed=x")
    assert result.code == 2
    problems = [line for line in result.error.splitlines() if line.startswith("error: ")]
    assert [problem.split(": ")[1] for problem in problems] == [
        *(f"bad.yaml:{line}" for line in (3, 5, 6, 7)),
        "--set seed",
    ]


def test_duplicate_keys_are_an_error(makemore: Makemore) -> None:
    Path("twice.yaml").write_text("model: {kind: mlp}\nseed: 1\nseed: 2\n")
    result = makemore("config", "twice.yaml")
    assert result.code == 2
    assert "twice.yaml:3" in result.error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "no names"),
        (b"ada\nben\nada\n", "2 distinct names"),
        (b"ada\nben\xff\ncora\n", "bad.txt:2: not UTF-8: byte 0xff, byte 4"),
        (b"ada\nb\x00n\ncora\n", "bad.txt:2: control character U+0000"),
        (b"ada\n\x1b[31mben\ncora\n", "bad.txt:2: control character U+001B"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "bad.txt:1: not UTF-8"),
        (b"ada\nben\n" + b"x" * 257 + b"\n", "bad.txt:3: 257 characters"),
    ],
)
def test_a_bad_file_of_names_ends_with_3_and_writes_nothing(
    makemore: Makemore, content: bytes | None, message: str
) -> None:
    if content is not None:
        Path("bad.txt").write_bytes(content)
    for command in (["train", "--data"], ["data"]):
        result = makemore(*command, "bad.txt")
        assert result.code == 3
        assert message in result.error
        assert "hint: " in result.error
    assert not Path("runs").exists()


def test_bom_and_crlf_are_accepted(makemore: Makemore) -> None:
    Path("windows.txt").write_bytes("\ufeffada\r\nben\r\n\r\ncora\r\n".encode())
    record = json.loads(makemore("data", "windows.txt", "--json").out)
    assert record["num_names"] == 3
    assert record["alphabet"] == "abcdenor"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "aé"], "'é' is not in the model's alphabet"),
        (["--prompt", "a" * 200, "--max-length", "5"], "200 characters"),
        (["--temperature", "-1"], "temperature"),
        (["--temperature", "nan"], "temperature"),
        (["--top-k", "0"], "error: --top-k: must be 1 or more, got 0"),
        (["--top-p", "1.5"], "top-p"),
        (["--min-p", "-0.5"], "min-p"),
        (["--max-length", "0"], "max-length"),
        (["-n", "-3"], "count"),
        (["-n", "many"], "'--count' / '-n'"),
    ],
)
def test_bad_arguments_of_sample_end_with_2(
    trained: Makemore, arguments: list[str], message: str
) -> None:
    result = trained("sample", *arguments)
    assert result.code == 2
    assert message in result.error


def test_an_unknown_prompt_character_shows_the_alphabet(trained: Makemore) -> None:
    assert "hint: its alphabet: abcdefgh" in trained("sample", "--prompt", "é").error


def test_a_run_directory_that_exists_is_not_touched(trained: Makemore) -> None:
    before = {path: path.read_bytes() for path in Path("runs/mlp-1").rglob("*") if path.is_file()}
    result = trained("train", "--data", "names.txt", "--run", "runs/mlp-1", *TINY)
    assert result.code == 2
    assert "exists already" in result.error
    assert "--resume runs/mlp-1" in result.error
    after = {path: path.read_bytes() for path in Path("runs/mlp-1").rglob("*") if path.is_file()}
    assert before == after


@pytest.mark.parametrize("command", ["sample", "eval"])
def test_a_run_that_does_not_exist_names_the_nearest(trained: Makemore, command: str) -> None:
    result = trained(command, "runs/mpl-1")
    assert result.code == 4
    assert "did you mean `runs/mlp-1`" in result.error


@pytest.mark.parametrize("command", ["sample", "eval"])
def test_without_any_run_the_hint_is_to_train_one(makemore: Makemore, command: str) -> None:
    result = makemore(command)
    assert result.code == 4
    assert "makemore train" in result.error


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
@pytest.mark.parametrize("command", ["sample", "eval"])
def test_a_damaged_checkpoint_is_found(trained: Makemore, command: str, damage: str) -> None:
    path = Path("runs/mlp-1/checkpoints/best.safetensors")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    damaged = {"cut": data[:1000], "flip": data, "empty": b"", "text": b"ada\nben\n" * 100}
    path.write_bytes(damaged[damage])
    result = trained(command)
    assert result.code == 4
    assert str(path) in result.error
    assert trained(command, "runs/mlp-1/checkpoints/last.safetensors").code == 0


def test_a_checkpoint_whose_parts_do_not_fit_together_is_refused(trained: Makemore) -> None:
    path = Path("runs/mlp-1/checkpoints/best.safetensors")
    sound = load_checkpoint(path)
    smaller = dict(sound.config) | {"model": {"kind": "mlp", "hidden_dim": 7}}
    for broken in (
        {"config": smaller},
        {"config": {"model": {"kind": "rubbish"}}},
        {"vocabulary": sound.vocabulary[1:] + sound.vocabulary[:1]},
        {"model": {}},
        {"corpora": {}},
        {"corpora": sound.corpora | {"train": sound.corpora["train"][:0]}},
        {"corpora": sound.corpora | {"val": sound.corpora["test"]}},
        {"split_digest": "0" * 16},
        {"vocabulary": ("\n", *sound.vocabulary[1:])},
    ):
        save_checkpoint(path, sound.__class__(**(vars(sound) | broken)))
        result = trained("sample")
        assert result.code == 4
        assert str(path) in result.error


def test_an_unknown_or_empty_split_is_a_usage_error(trained: Makemore) -> None:
    assert trained("eval", "--split", "dev").code == 2
    assert "train, val or test" in trained("eval", "--split", "dev").error
    both = trained("eval", "--split", "val", "--data", "names.txt")
    assert both.code == 2
    assert "exclude each other" in both.error


def test_eval_of_names_with_unknown_characters_says_which(trained: Makemore) -> None:
    Path("french.txt").write_text("ada\nanaïs\nben\n")
    result = trained("eval", "--data", "french.txt")
    assert result.code == 3
    assert "'ï'" in result.error
    assert "anaïs" in result.error


def test_a_diverged_run_ends_with_5_and_keeps_its_checkpoint(makemore: Makemore) -> None:
    options = ("--data", "names.txt", "--set", "train.learning_rate=1e38")
    result = makemore("train", *options)
    assert result.code == 5
    assert "error: step " in result.err
    assert "Traceback" not in result.err
    assert makemore("sample").code == 0


def test_a_locked_run_ends_with_6(trained: Makemore) -> None:
    with RunDirectory(Path("runs/mlp-1")).lock():
        result = trained("train", "--resume", "runs/mlp-1")
    assert result.code == 6
    assert str(os.getpid()) in result.error


def test_a_run_directory_that_cannot_be_made_ends_with_7(makemore: Makemore) -> None:
    result = makemore("train", "--data", "names.txt", "--run", "names.txt/run")
    assert result.code == 7
    assert "names.txt" in result.error


# Terminals, pipes and signals


@pytest.mark.parametrize("command", ["sample -n 100000", "--help", "train --help", "runs"])
def test_a_closed_pipe_is_silent(trained: Makemore, tmp_path: Path, command: str) -> None:
    done = shell(f"makemore {command} | head -n 2", tmp_path)
    assert len(done.stdout.splitlines()) == 2
    done = shell(f"makemore {command} | true", tmp_path)
    assert done.stderr == ""
    assert done.returncode == 0


def test_an_error_that_nobody_reads_keeps_its_exit_code(trained: Makemore, tmp_path: Path) -> None:
    assert shell("makemore sample nope 2>&-", tmp_path).returncode == 4
    assert shell("makemore sample nope 2> >(exec true)", tmp_path).returncode == 4


def test_training_goes_on_where_nobody_reads_its_progress(
    makemore: Makemore, tmp_path: Path
) -> None:
    """A broken stderr once ended the run, with exit code 0 and no checkpoint."""
    for redirection in ("2> >(exec true)", "2>&-", "2>/dev/full"):
        done = shell(f"makemore train --data names.txt {' '.join(TINY)} {redirection}", tmp_path)
        assert done.returncode == 0
        run = tmp_path / done.stdout.strip()
        assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["event"] == "end"


def test_a_closed_stdout_is_no_reason_to_fail(makemore: Makemore, tmp_path: Path) -> None:
    done = shell(f"makemore train --data names.txt {' '.join(TINY)} >&-", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["sample -n 10", "--help", "--version", "runs", "config mlp"])
def test_a_full_stdout_ends_with_7(trained: Makemore, tmp_path: Path, command: str) -> None:
    done = shell(f"makemore {command} > /dev/full", tmp_path)
    assert done.returncode == 7
    assert done.stderr.startswith("error: standard output: ")
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_without_a_terminal_progress_is_plain_lines_on_stderr(
    trained: Makemore, tmp_path: Path
) -> None:
    done = shell(f"makemore train --data names.txt {' '.join(TINY)}", tmp_path)
    assert done.stdout == "runs/mlp-2\n"
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr


def test_ctrl_c_saves_says_how_to_go_on_and_ends_with_130(
    makemore: Makemore, tmp_path: Path
) -> None:
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "makemore", "train", "--data", "names.txt"),
            *("--set", "train.steps=1000000", "--set", "train.evaluate_every=1000000"),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    # The first line is written when the run has started.
    assert child.stderr.readline().startswith("runs/mlp-1: mlp")
    metrics = tmp_path / "runs/mlp-1/metrics.jsonl"
    while '"event": "train"' not in metrics.read_text():
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert out == ""
    assert "the checkpoint is saved" in err
    assert "makemore train --resume runs/mlp-1" in err
    step = load_checkpoint(RunDirectory(tmp_path / "runs/mlp-1").last).step
    assert step > 0
    steps = f"train.steps={step + 2}"
    assert makemore("train", "--resume", "runs/mlp-1", "--set", steps).code == 0


def test_on_a_terminal_there_is_one_progress_bar_with_samples(
    makemore: Makemore, tmp_path: Path
) -> None:
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "makemore", "train", "--data", "names.txt", *TINY],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(follower)
    screen = b""
    while select.select([leader], [], [], 60)[0]:
        try:
            part = os.read(leader, 65536)
        except OSError:  # Linux: the other side is closed.
            break
        if not part:
            break
        screen += part
    os.close(leader)
    assert child.stdout is not None
    child.stdout.close()
    assert child.wait() == 0
    text = screen.decode()
    assert "step 20/20" in text
    assert "best validation" in text
    assert "tokens/s" in text


def test_hostile_characters_of_names_and_paths_never_reach_a_terminal(
    makemore: Makemore, tmp_path: Path
) -> None:
    """Bidirectional overrides are legal in names; on the screen they are shown, not obeyed."""
    hostile = "a\u202eb"
    Path("bidi.txt").write_text("\n".join([hostile, hostile + "b", "[bold]ba", "[/x]", "ab"] * 20))
    assert makemore("train", "--model", "bigram-count", "--data", "bidi.txt").code == 0
    result = makemore("sample", "-n", "200", "--seed", "1")
    assert "\u202e" not in result.out
    assert "\\u202e" in result.out
    exact = makemore("sample", "-n", "200", "--seed", "1", "--json").out
    assert "\u202e" not in exact
    names = [json.loads(line)["name"] for line in exact.splitlines()]
    assert any("\u202e" in name for name in names)
    refused = makemore("sample", "run\x1b[31m\x9b")
    assert refused.code == 4
    assert "\x1b" not in refused.err
    assert "\x9b" not in refused.err
    assert "^[" in refused.err
