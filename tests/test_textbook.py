"""The rival of the benchmarks is honest: it computes what makemore's models do, and it learns."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from makemore.config import (
    BowConfig,
    EnsembleConfig,
    GRUConfig,
    LSTMConfig,
    MLPConfig,
    NgramConfig,
    RNNConfig,
    TransformerConfig,
    WaveNetConfig,
    WaveNetTreeConfig,
)
from makemore.config_loading import load_config
from makemore.corpus import Batch, Corpus
from makemore.evaluation import evaluate
from makemore.models import LanguageModel, build_model
from makemore.shipped_files import preset_names, resolve_preset
from makemore.vocab import Vocabulary

# benchmarks/ is a folder of scripts, not a package.
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import textbook
import textbook_models

# One character, a name twice, a name that begins another, and names longer than most contexts.
NAMES = ["a", "dacb", "abcdabcaabbd", "dac", "b", "dacb", "cabbadabcad"]
VOCABULARY = Vocabulary.of(NAMES)
LONGEST = 12

PRESETS: dict[str, Any] = {
    name: load_config(resolve_preset(name)).model for name in preset_names() if "/" not in name
}
PRESETS = {
    name: config
    for name, config in PRESETS.items()
    if not isinstance(config, NgramConfig | EnsembleConfig)
}
OTHERS: dict[str, Any] = {
    "mlp-deep": MLPConfig(num_layers=3, activation="relu", dropout=0.2),
    "mlp-deep-batchnorm": MLPConfig(num_layers=2, norm="batch"),
    "mlp-of-one-character": MLPConfig(context_length=1, activation="gelu", norm="layer"),
    "mlp-rms": MLPConfig(norm="rms"),
    "rnn-deep": RNNConfig(num_layers=2, activation="relu"),
    "gru-deep": GRUConfig(num_layers=2),
    "lstm-deep": LSTMConfig(num_layers=2),
    "bow": BowConfig(hidden_dim=32, dropout=0.2, context_length=LONGEST + 1),
    "wavenet-of-three": WaveNetConfig(kernel_size=3, num_layers=2, num_stacks=2),
    "wavenet-of-one-layer": WaveNetConfig(num_layers=1),
    "wavenet-tree-plain": WaveNetTreeConfig(context_length=2, norm="none", activation="relu"),
    "transformer": TransformerConfig(hidden_dim=100, norm="rms", context_length=LONGEST + 1),
}
CONFIGS = {**PRESETS, **{f"other {name}": config for name, config in OTHERS.items()}}
all_models = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def batch_of(names: list[str]) -> Batch:
    return Corpus.of(VOCABULARY.encode(names)).batch(torch.arange(len(names)))


def padded(names: list[str]) -> tuple[Tensor, Tensor]:
    dataset = textbook.TextbookDataset(names, VOCABULARY)
    return dataset.inputs_BT, dataset.targets_BT


def as_convolutions(kernel_size: int, tensors: list[Tensor]) -> list[Tensor]:
    """Linear layers of inputs side by side as Conv1d: (F, C * D) -> (F, D, C)."""
    return [
        x.unflatten(1, (kernel_size, -1)).mT if x.dim() == 2 else x  # a bias is a bias
        for x in tensors
    ]


def translated(config: Any, model: LanguageModel) -> list[Tensor]:
    """The tensors of `model`, as the textbook's module has them, in the order in which it does."""
    state = model.state_dict()
    tensors = list(state.values())
    if isinstance(config, WaveNetConfig):
        parts = {
            name: [x for key, x in state.items() if key.startswith(f"{name}.")]
            for name in ("embedding", "input", "gates", "residuals", "skip", "hidden", "output")
        }
        weight_SF, bias_S = parts["skip"]
        first, *rest = weight_SF.split(config.hidden_dim, dim=1)
        return [
            *parts["embedding"],
            *as_convolutions(config.kernel_size, parts["input"] + parts["gates"]),
            *as_convolutions(1, [*parts["residuals"], first, bias_S, *rest]),
            *as_convolutions(1, parts["hidden"] + parts["output"]),
        ]
    if isinstance(config, TransformerConfig):
        earlier = state.pop("earlier_embedding.weight", torch.empty(0, config.embedding_dim))
        tables = [state.pop("character_embedding.weight"), *earlier.split(VOCABULARY.size)]
        tensors = tables[: config.embedding_length]
        for name, tensor in state.items():
            if ".query." in name:
                names = [name, name.replace(".query.", ".key."), name.replace(".query.", ".value.")]
                tensors.append(torch.cat([state[part] for part in names]))
            elif ".key." not in name and ".value." not in name:
                tensors.append(tensor)
    return tensors


def twins(config: Any) -> tuple[LanguageModel, nn.Module]:
    """Makemore's model and the textbook's with the same random tensors, in float64."""
    generator = torch.Generator().manual_seed(0)
    model = build_model(config, VOCABULARY.size).double()
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.normal_(std=0.3, generator=generator)
        if name.endswith("running_var"):
            tensor.abs_()
    rival = textbook_models.build(config, VOCABULARY.size, LONGEST).double()
    tensors = translated(config, model)
    rival.load_state_dict(dict(zip(rival.state_dict(), tensors, strict=True)))
    return model, rival


def assert_same(actual: object, expected: object) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-9, rtol=1e-9)


def assert_same_logits(model: LanguageModel, rival: nn.Module, names: list[str]) -> None:
    inputs_BT, targets_BT = padded(names)
    with torch.no_grad():
        assert_same(rival(inputs_BT)[targets_BT != textbook.PAD], model(batch_of(names)))


def test_every_preset_that_is_trained_alone_has_a_textbook_model() -> None:
    kinds = ["bigram", "bow", "gru", "lstm", "mlp", "rnn", "transformer", "wavenet", "wavenet-tree"]
    assert sorted({config.kind for config in PRESETS.values()}) == kinds


@all_models
def test_the_textbook_model_gives_the_logits_of_makemore(config: Any) -> None:
    model, rival = twins(config)
    assert_same_logits(model.eval(), rival.eval(), NAMES)


@all_models
def test_the_textbook_model_has_as_many_parameters(config: Any) -> None:
    num_parameters = build_model(config, 27).num_parameters()
    rival = textbook_models.build(config, 27, LONGEST)
    assert sum(parameter.numel() for parameter in rival.parameters()) == num_parameters


def in_place_of_dropout(module: nn.Module, inputs: tuple[Tensor], _: Tensor) -> Tensor:
    """Something that, like dropout, depends on its rate and its place, but on no chance."""
    assert isinstance(module, nn.Dropout)
    return (1 - module.p) * inputs[0].sin()


@pytest.mark.parametrize("preset", [n for n, c in PRESETS.items() if getattr(c, "dropout", 0) > 0])
def test_dropout_acts_where_it_acts_in_makemore(preset: str) -> None:
    model, rival = twins(PRESETS[preset])
    for module in (*model.modules(), *rival.modules()):
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(in_place_of_dropout)
    assert_same_logits(model.eval(), rival.eval(), NAMES)


@pytest.mark.parametrize("preset", ["mlp-batchnorm", "wavenet-tree"])
def test_batch_statistics_are_those_of_makemore_where_no_name_is_padded(preset: str) -> None:
    model, rival = twins(PRESETS[preset].model_copy(update={"dropout": 0.0}))
    names = ["dacb", "abcd", "cabb", "dacb"]
    assert_same_logits(model.train(), rival.train(), names)
    # The running averages have moved alike.
    assert_same_logits(model.eval(), rival.eval(), NAMES)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NgramConfig(), "`kind: ngram`"),
        (EnsembleConfig(), "`kind: ensemble`"),
        (MLPConfig(num_layers=2, residual=True), "`residual: True`"),
        (MLPConfig(activation="selu"), "`activation: selu`"),
        (MLPConfig(norm="batch", norm_statistics="recomputed"), "`norm_statistics: recomputed`"),
        (LSTMConfig(norm="layer"), "`norm: layer`"),
        (WaveNetTreeConfig(norm_over="batch"), "`norm_over: batch`"),
        (TransformerConfig(positions="rotary"), "`positions: rotary`"),
        (TransformerConfig(norm_place="after"), "`norm_place: after`"),
        (TransformerConfig(query_key_norm=True), "`query_key_norm: True`"),
        (TransformerConfig(feed_forward="gated"), "`feed_forward: gated`"),
        (TransformerConfig(tied_embeddings=True), "`tied_embeddings: True`"),
        (TransformerConfig(context_length=LONGEST), f"`context_length: {LONGEST}`"),
        (BowConfig(context_length=LONGEST), f"`context_length: {LONGEST}`"),
    ],
)
def test_what_is_not_textbook_is_named(config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        textbook_models.build(config, VOCABULARY.size, LONGEST)


def test_names_are_padded_to_the_longest() -> None:
    dataset = textbook.TextbookDataset(["ab", "cabd", "d"], VOCABULARY)
    assert (len(dataset), dataset.longest) == (3, 4)
    rows = [
        (inputs.tolist(), targets.tolist())
        for inputs, targets in map(dataset.__getitem__, range(3))
    ]
    assert rows == [
        ([0, 1, 2, 0, 0], [1, 2, 0, -1, -1]),
        ([0, 3, 1, 2, 4], [3, 1, 2, 4, 0]),
        ([0, 4, 0, 0, 0], [4, 0, -1, -1, -1]),
    ]
    assert dataset.inputs_BT.dtype == dataset.targets_BT.dtype == torch.int64


def test_the_loss_is_the_mean_over_real_characters_as_in_makemore() -> None:
    model, rival = twins(PRESETS["mlp"])
    batch = batch_of(NAMES)
    expected = functional.cross_entropy(model(batch), batch.targets)
    optimizer = torch.optim.SGD(rival.parameters(), lr=0.0)
    assert textbook.train_step(rival, optimizer, padded(NAMES)) == pytest.approx(expected.item())
    # In batches of different lengths, with an incomplete one at the end.
    nats_per_char = textbook.evaluate(rival, textbook.TextbookDataset(NAMES, VOCABULARY), 3)
    corpus = Corpus.of(VOCABULARY.encode(NAMES))
    assert nats_per_char == pytest.approx(evaluate(model, corpus).nats_per_char, rel=1e-12)


def test_a_step_follows_the_gradient_of_its_batch_alone_and_clips_it_where_asked() -> None:
    _, rival = twins(PRESETS["mlp"])
    optimizer = torch.optim.SGD(rival.parameters(), lr=1.0)

    def moved_by(step: Callable[[], object]) -> Tensor:
        before = nn.utils.parameters_to_vector(rival.parameters()).detach().clone()
        step()
        return nn.utils.parameters_to_vector(rival.parameters()).detach() - before

    batch = padded(NAMES)
    moved_by(lambda: textbook.train_step(rival, optimizer, batch))
    gradients = torch.autograd.grad(textbook.cross_entropy(rival, batch), list(rival.parameters()))
    gradient = nn.utils.parameters_to_vector(gradients)
    assert_same(moved_by(lambda: textbook.train_step(rival, optimizer, batch)), -gradient)
    clipped = moved_by(lambda: textbook.train_step(rival, optimizer, batch, 1e-3))
    assert clipped.norm().item() == pytest.approx(1e-3, rel=1e-3)


@dataclass(frozen=True)
class Training:
    """The loss of a model on NAMES, before and after 30 steps, and what was said after each."""

    before: float
    after: float
    records: list[textbook.Progress]


def train(preset: str, seed: int = 1, evaluate_every: int = 1000) -> Training:
    names = textbook.TextbookDataset(NAMES, VOCABULARY)
    records = []
    rate = 0.1 if preset == "bigram" else 0.01
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = textbook_models.build(PRESETS[preset], VOCABULARY.size, names.longest)
        before = textbook.evaluate(model, names)
        for record in textbook.train(
            model, names, batch_size=3, learning_rate=rate, num_steps=30, seed=seed
        ):
            records.append(record)
            assert model.training
            if record.step % evaluate_every == 0:
                textbook.evaluate(model, names)
    return Training(before, textbook.evaluate(model, names), records)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_few_steps_of_training_lower_the_loss(preset: str) -> None:
    training = train(preset)
    assert training.after < 0.9 * training.before
    assert [record.step for record in training.records] == list(range(1, 31))


def test_an_epoch_goes_through_all_names_once_in_an_order_of_its_own() -> None:
    records = train("bigram").records
    # Seven names in batches of three: ten epochs, of 43 real characters each.
    num_chars = torch.tensor([0, *(record.num_chars for record in records)])
    assert num_chars[::3].tolist() == [43 * epoch for epoch in range(11)]
    assert len(num_chars.diff().view(10, 3).unique(dim=0)) > 1
    seconds = [record.seconds for record in records]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_a_training_is_its_seed_and_evaluating_changes_nothing() -> None:
    def losses(seed: int, evaluate_every: int = 1000) -> list[float]:
        return [record.loss for record in train("wavenet-tree", seed, evaluate_every).records]

    assert losses(1) == losses(1, evaluate_every=4) != losses(2)


class OnePath(nn.Module):
    """Position t is followed by `path`[t], with certainty; beyond the path by its last id."""

    def __init__(self, path: list[int]) -> None:
        super().__init__()
        self.path = torch.tensor(path)
        self.num_calls = 0

    def forward(self, ids_BT: Tensor) -> Tensor:
        self.num_calls += 1
        next_T = self.path[torch.arange(ids_BT.shape[1]).clamp(max=len(self.path) - 1)]
        certain_TV = functional.one_hot(next_T, VOCABULARY.size).log()
        return certain_TV.expand(len(ids_BT), -1, -1)


def test_a_model_that_is_certain_writes_its_name_and_no_more() -> None:
    model = OnePath([4, 1, 3, 0, 2])
    assert textbook.sample(model, 3, 10, torch.Generator()) == [[4, 1, 3]] * 3
    assert model.num_calls == 4


@pytest.mark.parametrize("max_length", [0, 1, 5])
def test_a_name_that_does_not_end_has_max_length_characters(max_length: int) -> None:
    model = OnePath([2])
    assert textbook.sample(model, 2, max_length, torch.Generator()) == [[2] * max_length] * 2
    assert model.num_calls == max_length


def test_every_sampled_name_ends_and_its_characters_follow_the_model() -> None:
    # A bigram: a with probability 3/4, or b; then, with certainty, b c a and the end.
    table = torch.zeros(VOCABULARY.size, VOCABULARY.size)
    table[0, 1], table[0, 2], table[2, 3], table[3, 1], table[1, 0] = 0.75, 0.25, 1.0, 1.0, 1.0
    model = nn.Embedding.from_pretrained(table.log())
    names = textbook.sample(model, 1000, 10, torch.Generator().manual_seed(0))
    assert len(names) == 1000
    assert all(name in ([1], [2, 3, 1]) for name in names)
    # Four standard deviations of the number of names that are "a".
    assert abs(names.count([1]) - 750) < 4 * (1000 * 0.75 * 0.25) ** 0.5


@pytest.mark.parametrize("preset", PRESETS)
def test_every_textbook_model_can_be_sampled_from(preset: str) -> None:
    _, model = twins(PRESETS[preset])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.2)  # so that no character is certain
    first, again, other = (
        textbook.sample(model, 8, 20, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert first == again != other
    assert all(len(name) <= 20 and 0 not in name for name in first)
    assert textbook.sample(model, 0, 20, torch.Generator()) == []
