"""A makemore.py as the benchmarks use one: here a script that has what the published ones have."""

import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

from makemore.models import build_model

# benchmarks/ is a folder of scripts, not a package.
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from peer import Peer, our_config

SCRIPT = """
from dataclasses import dataclass
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset
from torch.utils.tensorboard import SummaryWriter

@dataclass
class ModelConfig:
    block_size: int = None
    vocab_size: int = None

class Bigram(nn.Module):
    def __init__(self, config):
        super().__init__()
        print("a line that nobody asked for")
        self.table = nn.Embedding(config.vocab_size, config.vocab_size)
    def forward(self, inputs, targets=None):
        logits = self.table(inputs)
        if targets is None:
            return logits, None
        return logits, functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=-1
        )

class CharDataset(Dataset):
    def __init__(self, words, chars, max_word_length):
        self.words, self.chars, self.length = words, chars, max_word_length + 1
    def __len__(self):
        return len(self.words)
    def get_vocab_size(self):
        return len(self.chars) + 1
    def get_output_length(self):
        return self.length
    def decode(self, ids):
        return "".join(self.chars[i - 1] for i in ids)
    def __getitem__(self, index):
        ids = [self.chars.index(c) + 1 for c in self.words[index]]
        inputs, targets = torch.zeros(2, self.length, dtype=torch.long)
        inputs[1 : 1 + len(ids)] = targets[: len(ids)] = torch.tensor(ids)
        targets[len(ids) + 1 :] = -1
        return inputs, targets

def generate(model, ids, num_new, do_sample):
    assert do_sample
    for _ in range(num_new):
        shares = model(ids)[0][:, -1].softmax(1)
        ids = torch.cat([ids, torch.multinomial(shares, 1)], dim=1)
    return ids

if __name__ == "__main__":
    raise AssertionError("it is imported, not run")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "makemore.py"
    path.write_text(SCRIPT)
    return path


def test_its_model_is_trained_and_writes_names(
    script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["ab", "abab", "ababab"]
    peer = Peer(script, names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = peer.build("bigram")
        assert capsys.readouterr().out == ""
        losses = list(islice(peer.train_steps(model, learning_rate=0.1), 200))
        drawn = peer.sample(model, 50)
    assert losses[-1] < 0.6 < losses[0]
    assert len(drawn) == 50
    assert all(len(name) <= 6 and set(name) <= {"a", "b"} for name in drawn)
    # After an a there is always a b.
    assert sum("aa" in name or "bb" in name for name in drawn) < 10


def test_it_knows_names_that_it_does_not_train_on(script: Path) -> None:
    peer = Peer(script, ["ab"], ["ab", "cdcd"])
    assert len(peer.names) == 1
    assert (peer.names.get_vocab_size(), peer.longest) == (5, 4)


def test_our_models_have_its_shape() -> None:
    """27 ids and names of at most 15 characters, as in the published file."""
    assert build_model(our_config("transformer", 15), 27).num_parameters() == 204_544
    assert build_model(our_config("bigram", 15), 27).num_parameters() == 27 * 27
    with pytest.raises(ValueError, match="no model"):
        our_config("lstm", 15)
