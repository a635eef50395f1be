"""The transformer before its first step: how many weights it has, how they are drawn."""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from makemore.config import InitializationConfig, TransformerConfig
from makemore.corpus import Corpus
from makemore.data import load_names
from makemore.models import LanguageModel, build_model
from makemore.vocab import Vocabulary
from tests.test_models import NAMES, VOCABULARY, batch_of

POSITIONS = ("learned", "sinusoidal", "rotary", "none")


def build(seed: int = 0, vocabulary_size: int = 27, **changes: Any) -> LanguageModel:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build_model(TransformerConfig(**changes), vocabulary_size)


def test_without_final_norm_the_last_block_speaks_in_post_norm_alone() -> None:
    names = {
        place: [name for name, _ in build(norm_place=place).named_parameters() if "norm" in name]
        for place in ("before", "after")
    }
    assert set(names["before"]) - set(names["after"]) == {"norm.weight", "norm.bias"}


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("norm_place", ["before", "after"])
def test_tied_embeddings_of_the_default_size_start_near_the_uniform_loss(
    norm_place: str, positions: str
) -> None:
    names = load_names("names")[:100]
    corpus = Corpus.of(Vocabulary.of(load_names("names")).encode(names))
    batch = corpus.batch(torch.arange(100))
    for seed in (0, 1, 2):
        model = build(seed, tied_embeddings=True, positions=positions, norm_place=norm_place)
        loss = functional.cross_entropy(model(batch), batch.targets).item()
        assert loss == pytest.approx(math.log(27), abs=0.05)


def test_tied_embeddings_are_read_with_variance_1_as_untied_ones_are() -> None:
    for tied in (False, True):
        model: Any = build(vocabulary_size=2000, tied_embeddings=tied, positions="none")
        ids = torch.arange(2000)
        embedded_ND, _ = model._embed(ids[:, None], ids)
        assert embedded_ND.std().item() == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("width", [16, 256])
def test_the_largest_logit_of_tied_embeddings_starts_near_the_output_factor(width: int) -> None:
    initialization = InitializationConfig(method="normal", output_factor=0.3, zero_residual=True)
    model = build(
        vocabulary_size=VOCABULARY.size,
        embedding_dim=width,
        tied_embeddings=True,
        positions="none",
        initialization=initialization,
    )
    batch = batch_of(NAMES)
    largest = model(batch).max(dim=1)
    assert torch.equal(largest.indices, batch.inputs)
    length_V = model.get_parameter("character_embedding.weight").norm(dim=1)
    # The norm before takes the mean away, which is a bit of the length.
    torch.testing.assert_close(largest.values, 0.3 * length_V[batch.inputs], rtol=0.05, atol=0)


def test_an_output_factor_of_zero_starts_at_the_uniform_softmax_and_learns() -> None:
    batch = batch_of(NAMES)
    for tied in (False, True):
        model = build(
            vocabulary_size=VOCABULARY.size,
            tied_embeddings=tied,
            initialization=InitializationConfig(method="normal", output_factor=0.0),
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for _ in range(4):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(batch), batch.targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(math.log(VOCABULARY.size), abs=1e-6)
        assert losses[3] < losses[1] < losses[0]


def test_branches_that_start_at_zero_add_nothing() -> None:
    for place in ("before", "after"):
        for zero in (False, True):
            initialization = InitializationConfig(method="normal", zero_residual=zero)
            model: Any = build(
                vocabulary_size=VOCABULARY.size, norm_place=place, initialization=initialization
            )
            batch = batch_of(["dabc"])
            x_ND, _ = model._embed(batch.inputs[:, None], batch.positions())
            normalized_ND = functional.layer_norm(x_ND, (64,))
            same = torch.allclose(model(batch), model.output(normalized_ND), atol=1e-5)
            assert same == zero


@pytest.mark.parametrize("feed_forward", ["plain", "gated"])
def test_each_matrix_starts_with_its_own_bound(feed_forward: str) -> None:
    """Uniform within gain * sqrt(3 / fan_in), with the gain of the activation that follows, 2^0.5
    for relu; `factor` times that, and less in the branches: there are 8 in 4 blocks."""
    initialization = InitializationConfig(method="kaiming_uniform", factor=0.5, output_factor=2.0)
    model = build(
        feed_forward=feed_forward,
        hidden_dim=128,
        activation="relu",
        initialization=initialization,
    )
    gated = feed_forward == "gated"
    gains = {
        **dict.fromkeys(["query", "key", "value"], 0.5),
        "expand": 0.5 if gated else 0.5 * math.sqrt(2),
        "gate": 0.5 * math.sqrt(2),
        "blocks.3.attention.output": 0.5 / math.sqrt(8),
        "contract": 0.5 / math.sqrt(8) / math.sqrt(2),  # twice the fan-in
        "output": 2.0,
    }
    matrices = {name: p for name, p in model.named_parameters() if p.dim() == 2}
    for part, gain in gains.items():
        found = [p for name, p in matrices.items() if f".{name}".endswith(f".{part}.weight")]
        found = [p for p in found if part != "output" or p.shape == (27, 64)]
        assert len(found) == (0 if part == "gate" and not gated else 1 if "output" in part else 4)
        for weight in found:
            bound = gain * math.sqrt(3 / 64)
            assert 0.99 * bound < weight.abs().max().item() <= bound * (1 + 1e-6)
    assert not any(p.any() for name, p in model.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize(
    ("changes", "num_parameters"),
    [
        ({}, 205_568),
        (
            {},
            # Characters and positions; blocks; norm and output without bias.
            (27 * 64 + 32 * 64)
            + 4 * (2 * 128 + 4 * (64 * 64 + 64) + (64 * 256 + 256) + (256 * 64 + 64))
            + (128 + 64 * 27),
        ),
        # No table of positions.
        ({"positions": "sinusoidal"}, 205_568 - 32 * 64),
        ({"positions": "rotary"}, 205_568 - 32 * 64),
        ({"positions": "none"}, 205_568 - 32 * 64),
        # No biases of 9 norms; then no norm at the end.
        ({"norm": "rms"}, 205_568 - 9 * 64),
        ({"norm_place": "after"}, 205_568 - 128),
        # A gain for each unit of a head, for queries and for keys.
        ({"query_key_norm": True}, 205_568 + 4 * 2 * 16),
        # No matrix of the output, one scale.
        ({"tied_embeddings": True}, 205_568 - 27 * 64 + 1),
        # 8/3 of 64 is 170.7: 168 hidden units, three matrices in place of two.
        (
            {"feed_forward": "gated"},
            205_568 - 4 * (2 * 64 * 256 + 256) + 4 * (3 * 64 * 168 + 2 * 168),
        ),
        ({"hidden_dim": 100}, 205_568 - 4 * (2 * 64 + 1) * 156),
        (
            {"feed_forward": "gated", "hidden_dim": 100},
            205_568 - 4 * (2 * 64 * 256 + 256) + 4 * (3 * 64 * 100 + 2 * 100),
        ),
        ({"activation": "prelu"}, 205_568 + 4),
    ],
    ids=str,
)
def test_the_number_of_parameters_is_exact(changes: dict[str, Any], num_parameters: int) -> None:
    assert build(**changes).num_parameters() == num_parameters
