"""The architecture, as far as source code can be asked for it: which module may know what."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "makemore"

# Which module of makemore may import which. A row names only modules of earlier rows, so that no
# cycle is possible; what a module does not use does not stand in its row.
ALLOWED: dict[str, set[str]] = {
    "messages": set(),
    "errors": {"messages"},
    "vocab": set(),
    "runtime": {"errors", "messages"},
    "disk": set(),
    "storage": {"disk", "errors"},
    "signals": {"errors"},
    "torch_library": set(),
    "strict_yaml": {"errors", "messages"},
    "shipped_files": {"errors", "messages"},
    "config.section": set(),
    "config.data": {"config.section", "messages"},
    "config.layers": {"config.section"},
    "config.ngram": {"config.section"},
    "config.mlp": {"config.layers", "config.section"},
    "config.recurrent": {"config.layers", "config.section"},
    "config.convolution": {"config.layers", "config.section"},
    "config.transformer": {"config.layers", "config.section"},
    "config.models": {
        *("config.convolution", "config.mlp", "config.ngram", "config.recurrent", "config.section"),
        "config.transformer",
    },
    "config.schedules": {"config.section", "messages"},
    "config.optimizers": {"config.section"},
    "config.train": {"config.optimizers", "config.schedules", "config.section"},
    "config": {
        *("config.convolution", "config.data", "config.layers", "config.mlp", "config.models"),
        *("config.ngram", "config.optimizers", "config.recurrent", "config.schedules"),
        *("config.section", "config.train", "config.transformer"),
    },
    "config_problems": {"config", "errors", "messages", "strict_yaml"},
    "config_loading": {
        *("config", "config_problems", "errors", "messages", "shipped_files", "strict_yaml"),
    },
    "config_reference": {"config", "messages", "strict_yaml"},
    "download": {"errors", "storage"},
    "corpus": {"vocab"},
    "plain_names": {"vocab"},
    "name_sources": {"download", "errors", "shipped_files"},
    "data": {"config", "corpus", "errors", "name_sources", "plain_names", "vocab"},
    "tensor_file": {"messages", "runtime"},
    "checkpoint": {"errors", "messages", "storage", "tensor_file", "vocab"},
    "models.base": {"corpus"},
    "models.activations": {"config"},
    "models.initialization": {"config", "models.activations"},
    "models.jagged": {"corpus"},
    "models.batch_norm": {"corpus", "models.base"},
    "models.dropout": set(),
    "models.embedding": set(),
    "models.hidden": {
        *("config", "models.activations", "models.batch_norm", "models.dropout"),
        "models.initialization",
    },
    "models.ngram_windows": {"vocab"},
    "models.ngram_counts": {"corpus", "models.ngram_windows", "vocab"},
    "models.ngram_smoothing": {"config", "models.ngram_counts"},
    "models.ngram_tuning": {"config", "corpus", "models.ngram_counts", "models.ngram_smoothing"},
    "models.ngram": {
        *("config", "corpus", "models.base", "models.ngram_counts", "models.ngram_smoothing"),
        "models.ngram_tuning",
    },
    "models.bigram": {"config", "corpus", "models.base", "vocab"},
    "models.mlp": {
        *("config", "corpus", "models.base", "models.embedding", "models.hidden"),
        *("models.initialization", "models.jagged", "vocab"),
    },
    "models.recurrence": set(),
    "models.recurrent": {
        *("config", "corpus", "models.base", "models.dropout", "models.embedding"),
        *("models.hidden", "models.initialization", "models.jagged", "models.recurrence"),
    },
    "models.bow": {
        *("config", "corpus", "models.base", "models.embedding", "models.hidden"),
        *("models.initialization", "models.jagged"),
    },
    "models.wavenet": {
        *("config", "corpus", "models.base", "models.dropout", "models.embedding"),
        "models.initialization",
    },
    "models.wavenet_tree": {
        *("config", "corpus", "models.base", "models.batch_norm", "models.embedding"),
        *("models.hidden", "models.initialization", "models.jagged", "vocab"),
    },
    "models.positions": set(),
    "models.causal_attention": {"models.jagged"},
    "models.attention": {
        *("config", "models.base", "models.causal_attention", "models.initialization"),
        "models.positions",
    },
    "models.transformer": {
        *("config", "corpus", "models.activations", "models.attention", "models.base"),
        *(
            "models.causal_attention",
            "models.dropout",
            "models.embedding",
            "models.hidden",
            "models.initialization",
            "models.jagged",
        ),
        *("models.positions", "vocab"),
    },
    "models.mixture": {"corpus", "models.base"},
    "models": {
        *("config", "models.base", "models.bigram", "models.bow", "models.mixture", "models.mlp"),
        *("models.ngram", "models.recurrent", "models.transformer", "models.wavenet"),
        "models.wavenet_tree",
    },
    "batching": {"config", "corpus", "runtime"},
    "learning_rate": {"config"},
    "lbfgs_memory": set(),
    "muon": set(),
    "adamw": set(),
    "optim": {"adamw", "config", "lbfgs_memory", "muon"},
    "regularization": {"config"},
    "clipping": {"config"},
    "averaging": {"models"},
    "evaluation": {"corpus", "models"},
    "sampling": {"errors", "models", "runtime", "vocab"},
    "records": set(),
    "run_directory": {"errors", "messages", "records", "storage"},
    "trained_model": {"corpus", "data", "errors", "evaluation", "models", "sampling", "vocab"},
    "run": {
        *("checkpoint", "config", "config_loading", "corpus", "data", "errors", "messages"),
        *("models", "run_directory", "runtime", "trained_model", "vocab"),
    },
    "ensemble": {
        *("corpus", "errors", "evaluation", "messages", "models.mixture", "run", "trained_model"),
        "vocab",
    },
    "verification": {"checkpoint", "config_loading", "errors", "run", "run_directory"},
    "folding": {
        *("checkpoint", "config_loading", "corpus", "errors", "evaluation", "models"),
        *("models.batch_norm", "models.hidden", "run"),
    },
    "job": {
        *("batching", "config", "corpus", "errors", "messages", "models", "run_directory"),
        *("signals", "vocab"),
    },
    "training": {
        *("averaging", "batching", "checkpoint", "clipping", "config", "config_loading", "corpus"),
        *("errors", "evaluation", "job", "learning_rate", "messages", "models"),
        *("models.batch_norm", "optim", "regularization", "run", "runtime", "sampling", "signals"),
        "storage",
    },
    "claiming": {"errors", "messages", "run_directory", "storage"},
    "resuming": {
        *("batching", "checkpoint", "config", "config_loading", "corpus", "errors", "job"),
        *("models", "optim", "run", "run_directory", "runtime", "signals", "storage"),
        "training",
    },
    "launch": {
        *("claiming", "config", "config_loading", "corpus", "data", "errors", "job", "messages"),
        *("models", "resuming", "run", "run_directory", "runtime", "shipped_files", "signals"),
        *("strict_yaml", "training", "vocab"),
    },
    "": {"ensemble", "launch", "run"},
    "cli.options": set(),
    "cli.output": {"errors", "messages"},
    "cli.progress": {"cli.output", "messages"},
    "cli.config": {
        *("cli.options", "cli.output", "config_loading", "config_reference", "errors"),
        "shipped_files",
    },
    "cli.data": {"cli.options", "cli.output", "config_loading", "data"},
    "cli.evaluate": {
        *("cli.options", "cli.output", "data", "ensemble", "errors", "evaluation", "run"),
        "trained_model",
    },
    "cli.runs": {"cli.options", "cli.output", "run_directory"},
    "cli.sample": {"cli.options", "cli.output", "ensemble", "errors", "run", "trained_model"},
    "cli.train": {
        *("claiming", "cli.options", "cli.output", "cli.progress", "errors", "launch"),
        *("messages", "run_directory", "signals", "torch_library"),
    },
    "cli.verify": {"cli.options", "cli.output", "errors", "run_directory", "verification"},
    "cli.fold": {
        *("checkpoint", "cli.options", "cli.output", "errors", "folding", "run", "run_directory"),
    },
    "cli": {
        *("", "cli.config", "cli.data", "cli.evaluate", "cli.fold", "cli.output", "cli.runs"),
        *("cli.sample", "cli.train", "cli.verify", "errors"),
    },
    "__main__": {"cli"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}
modules = pytest.mark.parametrize("module", SOURCES)


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that a source imports, at its top or in a function, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = full.removeprefix("makemore.") in SOURCES
                yield full if is_module else str(node.module)


def own_imports(module: str) -> set[str]:
    names = {name for name in imported(TREES[module]) if f"{name}.".startswith("makemore.")}
    return {name.removeprefix("makemore").removeprefix(".") for name in names}


def test_every_module_has_a_row_that_names_only_earlier_rows() -> None:
    assert ALLOWED.keys() == SOURCES.keys()
    seen: set[str] = set()
    for module, allowed in ALLOWED.items():
        assert allowed <= seen, module
        seen.add(module)


@modules
def test_a_module_imports_what_its_row_names_and_nothing_else(module: str) -> None:
    assert own_imports(module) == ALLOWED[module]


@modules
def test_only_the_command_line_prints(module: str) -> None:
    """And there only through the one sink, cli/output.py; the progress bar is Rich's."""
    prints = {
        ast.unparse(node)
        for node in ast.walk(TREES[module])
        if (isinstance(node, ast.Name) and node.id == "print")
        or (isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr", "echo"))
    }
    if module == "cli.progress":
        prints -= {"sys.stderr"}  # asked whether it is a terminal
    assert module in ("cli", "cli.output") or not prints


@modules
@pytest.mark.parametrize(
    ("library", "owners"),
    [
        ("yaml", {"strict_yaml"}),
        (
            "pydantic",
            {"config", "config_loading", *(name for name in ALLOWED if name.startswith("config."))},
        ),
        ("pydantic_core", {"config_problems"}),
        ("safetensors", {"tensor_file"}),
        ("typer", {"cli", *(name for name in ALLOWED if name.startswith("cli."))}),
        ("rich", {"cli.progress"}),
        ("urllib", {"download"}),
        ("fcntl", {"storage"}),
        ("signal", {"signals"}),
    ],
)
def test_a_library_has_one_owner(module: str, library: str, owners: set[str]) -> None:
    used = {name.partition(".")[0] for name in imported(TREES[module])}
    assert library not in used or module in owners


@modules
def test_only_runtime_knows_devices_and_ranks(module: str) -> None:
    source = SOURCES[module].read_text(encoding="utf-8")
    known = [word for word in ("torch.cuda", "torch.distributed", '"RANK"') if word in source]
    assert module == "runtime" or not known


# Of `os` and of paths: what changes a disk.
WRITERS = {
    *("write_text", "write_bytes", "mkdir", "makedirs", "unlink", "rmdir", "rename"),
    *("touch", "symlink", "link", "truncate", "ftruncate", "fsync", "chmod", "O_CREAT"),
}


@modules
def test_only_disk_changes_the_disk_and_only_storage_calls_it(module: str) -> None:
    called = {
        ast.unparse(node)
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Attribute)
        and (node.attr in WRITERS or ast.unparse(node) in ("os.replace", "os.remove"))
    }
    if module == "storage":
        called = {call for call in called if not call.startswith("disk.")}
    assert module == "disk" or not called


# What runs code that a file brings, or another program.
EXECUTORS = {
    *("eval", "exec", "compile", "__import__", "torch.load", "torch.save", "torch.jit.load"),
    *("yaml.load", "yaml.full_load", "yaml.unsafe_load", "os.system", "os.popen", "os.execv"),
    *("os.fork", "os.posix_spawn", "safetensors.torch.load_file"),
}
EXECUTING_LIBRARIES = {
    *(
        "pickle",
        "cloudpickle",
        "dill",
        "shelve",
        "marshal",
        "subprocess",
        "runpy",
        "code",
        "ctypes",
    ),
    *("multiprocessing", "joblib", "numpy", "zipimport", "imp"),
}


@modules
def test_nothing_unpickles_evaluates_or_swallows_everything(module: str) -> None:
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in EXECUTORS
            # The names of our own modules, for `makemore.train` and the like.
            assert called != "importlib.import_module" or module == ""
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in EXECUTORS
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None
            assert ast.unparse(node.type) != "Exception"
    libraries = {name.partition(".")[0] for name in imported(TREES[module])}
    # It loads torch's own library, as `import torch` does.
    libraries -= {"ctypes"} if module == "torch_library" else set()
    assert not EXECUTING_LIBRARIES & libraries


def test_importing_the_command_line_loads_no_heavy_library() -> None:
    heavy = ("torch", "pydantic", "yaml", "rich", "matplotlib", "numpy")
    code = f"import sys, makemore.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_importing_makemore_loads_no_torch_until_it_is_used() -> None:
    code = (
        "import sys, makemore\n"
        "assert 'torch' not in sys.modules\n"
        "assert callable(makemore.train) and callable(makemore.load)\n"
        "assert 'torch' in sys.modules\n"
        "try: makemore.trian\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "module 'makemore' has no attribute 'trian'\n"
    assert done.stderr == ""
