"""Loads torch's largest library ahead of `import torch`, so that a signal is answered meanwhile.

An import holds Python's lock while the system loads a library, which takes a good part of a second
for this one; a foreign call does not. Without the library, or where it cannot be loaded by itself,
nothing happens: `import torch` says what is wrong, or finds its own way.
"""

import ctypes
import importlib.util
import os
from pathlib import Path

_NAMES = ("libtorch_cpu.so", "libtorch_cpu.dylib")


def load_library() -> None:
    spec = importlib.util.find_spec("torch")
    for home in (spec and spec.submodule_search_locations) or ():
        for path in (Path(home, "lib", name) for name in _NAMES):
            if path.is_file():
                load = ctypes.CDLL(None).dlopen
                load.argtypes, load.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
                load(os.fsencode(path), os.RTLD_LAZY)
