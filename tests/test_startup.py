"""What a command imports: what it needs, and nothing heavy besides. Each in a process of its own.

How long they take is measured by benchmarks/startup.py.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from makemore import __version__
from makemore.models import build_model, outline_model
from tests.command_line import Makemore
from tests.test_models import VOCABULARY, all_models

# torch._dynamo is torch's compiler; with sympy, which it imports, it is as heavy as torch itself.
COMPILER = {"torch._dynamo", "sympy"}
TRAINING = {f"makemore.{name}" for name in ("batching", "launch", "optim", "training")}
FAMILIES = {
    f"makemore.models.{name}"
    for name in ("bigram", "bow", "mlp", "ngram", "recurrent", "transformer", "wavenet")
}
CONFIGS = {"makemore.config", "yaml"}
READER = {*COMPILER, *TRAINING, "makemore.ensemble", "rich"}

CODE = """
import atexit, sys
from makemore import cli
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
sys.argv = ["makemore", *sys.argv[1:]]
cli.main()
"""


def loaded(command: str, cwd: Path) -> tuple[set[str], str]:
    """The modules that `makemore` with these arguments imports, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *command.split()],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split()), done.stdout


@pytest.mark.parametrize(
    ("option", "printed"), [("--version", f"makemore {__version__}\n"), ("--help", "Usage: ")]
)
def test_help_and_version_load_no_heavy_library(option: str, printed: str, tmp_path: Path) -> None:
    modules, output = loaded(option, tmp_path)
    assert not modules & {"torch", "pydantic", "rich", *CONFIGS}
    assert printed in output


@pytest.mark.parametrize("command", ["train", "sample", "eval", "fold", "runs", "config", "data"])
def test_the_help_of_a_command_loads_neither_torch_nor_configs(
    command: str, tmp_path: Path
) -> None:
    modules, _ = loaded(f"{command} --help", tmp_path)
    assert not modules & {"torch", "rich", *CONFIGS}


@pytest.mark.parametrize("command", ["runs", "config"])
def test_lists_are_printed_without_torch_and_configs(command: str, trained: Makemore) -> None:
    modules, output = loaded(command, Path.cwd())
    assert "mlp" in output
    assert not modules & {"torch", "rich", *CONFIGS}


@pytest.mark.parametrize("command", ["config mlp", "config --schema", "config --reference"])
def test_configs_are_printed_without_torch(command: str, tmp_path: Path) -> None:
    modules, _ = loaded(command, tmp_path)
    assert not modules & {"torch", "rich"}


@pytest.mark.parametrize(
    ("preset", "family"), [("bigram-count", "ngram"), ("ngram", "ngram"), ("bigram", "bigram")]
)
def test_names_are_drawn_with_the_model_of_the_run_and_no_other(
    makemore: Makemore, preset: str, family: str
) -> None:
    steps = () if family == "ngram" else ("--set", "train.steps=1")
    assert makemore("train", "--model", preset, "--data", "names.txt", *steps).code == 0
    modules, output = loaded("sample -n 3", Path.cwd())
    assert len(output.splitlines()) == 3
    assert modules & FAMILIES == {f"makemore.models.{family}"}
    assert not modules & READER


@pytest.mark.parametrize("command", ["sample", "eval", "fold"])
def test_readers_of_a_run_load_no_training_and_no_compiler(
    makemore: Makemore, command: str
) -> None:
    """To draw the initial weights of an embedding without memory, torch imported its compiler: it
    took as long again as torch itself, in every command that opened the run of a neural model."""
    tiny = ("--set", "train.steps=1", "--set", "model.hidden_dim=8")
    makemore("train", "--model", "mlp-batchnorm", "--data", "names.txt", *tiny)
    modules, _ = loaded(command, Path.cwd())
    assert modules & FAMILIES == {"makemore.models.mlp"}
    assert not modules & READER


def test_python_looks_for_no_garbage_when_a_command_ends(tmp_path: Path) -> None:
    """It would look through all of torch."""
    code = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0, file=sys.stderr))\n"
        "from makemore import cli; sys.argv = ['makemore', '--version']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "True\n"


@all_models
def test_an_outline_has_the_tensors_of_its_model_and_no_memory(config: Any) -> None:
    def tensors(model: nn.Module) -> dict[str, object]:
        return {name: (value.shape, value.dtype) for name, value in model.state_dict().items()}

    outline = outline_model(config, VOCABULARY.size)
    assert tensors(outline) == tensors(build_model(config, VOCABULARY.size))
    assert all(value.device == torch.device("meta") for value in outline.state_dict().values())
