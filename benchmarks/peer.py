"""A makemore.py of the user's, by its path: its models, its training step and its sampling.

None of it is part of this project. The script is imported, not run: what it does stands behind
`if __name__ == "__main__"`, so the few lines that join its parts are ours, as its own are written.
What is asked of it is what its published versions have: ModelConfig, Transformer, Bigram, MLP, RNN,
BoW, CharDataset and generate.
"""

import contextlib
import importlib.util
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

from makemore.config import (
    BigramConfig,
    BowConfig,
    GRUConfig,
    MLPConfig,
    ModelConfig,
    RNNConfig,
    TransformerConfig,
)

KINDS = ("transformer", "bigram", "mlp", "rnn", "gru", "bow")


def our_config(kind: str, longest: int) -> ModelConfig:
    """The model of this project with the default shape of the script's model: 4 layers and 4 heads
    where it has any, 64 units everywhere, as many positions as names of `longest` characters."""
    num_positions = longest + 1
    match kind:
        case "transformer":
            return TransformerConfig(
                num_layers=4, num_heads=4, embedding_dim=64, context_length=num_positions
            )
        case "bigram":
            return BigramConfig()
        case "mlp":
            return MLPConfig(context_length=num_positions, embedding_dim=64, hidden_dim=64)
        case "rnn":
            return RNNConfig(embedding_dim=64, hidden_dim=64)
        case "gru":
            return GRUConfig(embedding_dim=64, hidden_dim=64)
        case "bow":
            return BowConfig(context_length=num_positions, embedding_dim=64, hidden_dim=64)
    raise ValueError(f"`{kind}` is no model of a makemore.py")


class Peer:
    """The script at `path`, and the `names` that it trains on. Its alphabet and its longest name
    are those of `known`, by default the same.

    `kind` is one of KINDS; every model has the script's default shape.
    """

    def __init__(self, path: Path, names: Sequence[str], known: Sequence[str] = ()) -> None:
        self.script = _load(path)
        characters = sorted(set("".join(known or names)))
        self.longest = max(map(len, known or names))
        self.names = self.script.CharDataset(list(names), characters, self.longest)

    def build(self, kind: str) -> nn.Module:
        """An untrained model."""
        config = self.script.ModelConfig(
            block_size=self.names.get_output_length(), vocab_size=self.names.get_vocab_size()
        )
        with contextlib.redirect_stdout(io.StringIO()):  # It prints its size.
            match kind:
                case "rnn" | "gru":
                    model: nn.Module = self.script.RNN(config, cell_type=kind)
                case _:
                    classes = {"transformer": "Transformer", "bigram": "Bigram", "mlp": "MLP"}
                    model = getattr(self.script, {**classes, "bow": "BoW"}[kind])(config)
        return model

    def train_steps(
        self,
        model: nn.Module,
        *,
        batch_size: int = 32,
        learning_rate: float = 5e-4,
        max_gradient_norm: float | None = None,
    ) -> Iterator[float]:
        """Train without end, a step each time, as the script does without worker processes; gives
        the loss of each batch.

        max_gradient_norm: None in the newest version, 1.0 in one before it.
        """
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.99), eps=1e-8
        )
        model.train()
        sampler = RandomSampler(self.names, replacement=True, num_samples=10**10)
        for inputs_BT, targets_BT in DataLoader(self.names, batch_size, sampler=sampler):
            _, loss = model(inputs_BT, targets_BT)
            model.zero_grad(set_to_none=True)
            loss.backward()
            if max_gradient_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), max_gradient_norm)
            optimizer.step()
            yield loss.item()

    def sample(self, model: nn.Module, num_names: int) -> list[str]:
        """Names of at most the longest name's length, decoded as the script decodes them, without
        its look-ups in lists of training names."""
        model.eval()
        start_B1 = torch.zeros(num_names, 1, dtype=torch.int64)
        ids_BT = self.script.generate(model, start_B1, self.longest, do_sample=True)
        decode: Callable[[list[int]], str] = self.names.decode
        return [decode(list(takewhile(bool, row))) for row in ids_BT[:, 1:].tolist()]


def _load(path: Path) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        # The script imports its writer, which only its own training uses.
        stub: Any = ModuleType("torch.utils.tensorboard")
        stub.SummaryWriter = None
        sys.modules.setdefault("torch.utils.tensorboard", stub)
    spec = importlib.util.spec_from_file_location("peer_script", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["peer_script"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module
