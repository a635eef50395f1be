"""Character-level language models, from counts to attention.

    import makemore

    run = makemore.train(model="mlp")
    run.sample(10)
    run.evaluate("val")
    makemore.mix([run, makemore.load("runs/bigram-1")], weights=[0.7, 0.3]).sample(10)

What it exports is imported when it is first used: `import makemore` alone loads no torch.
"""

import importlib
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from makemore.ensemble import Ensemble as Ensemble
    from makemore.ensemble import mix as mix
    from makemore.launch import resume as resume
    from makemore.launch import train as train
    from makemore.run import Run as Run
    from makemore.run import load as load

__version__ = "0.1.0"
__all__ = ["Ensemble", "Run", "load", "mix", "resume", "train"]

_HOMES = {
    "Ensemble": "ensemble",
    "Run": "run",
    "load": "run",
    "mix": "ensemble",
    "resume": "launch",
    "train": "launch",
}

# torch says this once where NumPy is not installed; makemore does not need NumPy.
warnings.filterwarnings("ignore", message="Failed to initialize NumPy", category=UserWarning)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"makemore.{_HOMES[name]}"), name)
