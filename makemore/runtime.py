"""Devices and seeds: the only file that knows that CUDA exists.

Randomness is derived, never carried: `derive_seed` turns the run's seed and the place where it is
needed (a step, an epoch) into a generator's seed, so that there is no state to save or restore.
"""

import hashlib
import importlib.util
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from makemore.errors import UsageError
from makemore.messages import printable


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` as a device that is there.

    `auto` is CUDA where there is one, else the CPU. Raises UsageError for anything else.
    """
    kind, _, index = name.partition(":")
    if name == "cpu":
        return torch.device("cpu")
    is_cuda = kind == "cuda" and (name == "cuda" or re.fullmatch("[0-9]{1,4}", index))
    if name != "auto" and not is_cuda:
        what = f"unknown device `{printable(name)}`"
        raise UsageError(what, where="--device", hint="auto, cpu, cuda or cuda:N")
    num_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto" and num_devices == 0:
        return torch.device("cpu")
    if int(index or 0) >= num_devices:
        found = f"{num_devices} CUDA device{'' if num_devices == 1 else 's'} found"
        hint = "use --device auto, which takes CUDA only where there is one"
        raise UsageError(f"no device `{name}`: {found}", where="--device", hint=hint)
    return torch.device("cuda", int(index or 0))


def compile_forward(model: nn.Module, device: torch.device) -> str | None:
    """Let torch.compile translate `model.forward` at its first call; why not, where it cannot.

    The module stays what it is: its parameters keep their names.
    """
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            return "Triton is not installed"
    else:
        compilers = [os.environ.get("CXX", ""), "g++", "clang++"]
        if not any(compiler and shutil.which(compiler) for compiler in compilers):
            return "no C++ compiler was found"
    # A note on every shape for which it translates anew is nothing that a user can act on.
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    model.compile(dynamic=True)
    return None


def precision(name: str, device: torch.device) -> AbstractContextManager[object]:
    """`float32`, or `bfloat16` on CUDA, for the products within. Raises UsageError elsewhere."""
    if name == "float32":
        return nullcontext()
    if device.type != "cuda":
        hint = "leave it at float32, or train on a CUDA device"
        raise UsageError(f"{name} is for CUDA alone", where="train.precision", hint=hint)
    return torch.autocast(device.type, torch.bfloat16)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread for a while, beside which another core does something else:
    two threads that share a core wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def derive_seed(seed: int, *place: int | str) -> int:
    """A 63-bit seed for one place of a run: the first bytes of BLAKE2b over seed and place."""
    text = "/".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the default generators that layers such as dropout draw from.

    Not `torch.manual_seed`: it prepares every accelerator that torch knows, at each call.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)


@contextmanager
def own_generators(device: torch.device) -> Iterator[None]:
    """Give the caller's default generators back as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices, device_type="cuda"):
        yield
