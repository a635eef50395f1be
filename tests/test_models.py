"""What every model promises, and each model against an explicit computation.

A kind that joins `ModelConfig` joins the parametrized tests: its fields are made small below.
"""

import ast
import math
from collections import Counter
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import makemore.models
from makemore.config import (
    BigramConfig,
    BowConfig,
    EnsembleConfig,
    MLPConfig,
    ModelConfig,
    NgramConfig,
    Section,
    TransformerConfig,
    WaveNetConfig,
    WaveNetTreeConfig,
)
from makemore.corpus import Batch, Corpus
from makemore.data import load_names
from makemore.evaluation import evaluate
from makemore.models import ClosedFormModel, LanguageModel, build_model
from makemore.models.batch_norm import recompute_statistics
from makemore.vocab import BOUNDARY, Vocabulary

KINDS: tuple[type[Section], ...] = get_args(get_args(ModelConfig)[0])

SMALL: dict[str, object] = {
    "context_length": 3,
    "embedding_dim": 8,
    "hidden_dim": 12,
    "num_layers": 2,
    "num_heads": 2,
}
SMALL_OF_KIND: dict[type[Section], dict[str, object]] = {
    # So short that also counts without smoothing have something to choose.
    NgramConfig: {"order": 3},
    EnsembleConfig: {
        "members": (
            MLPConfig(context_length=8, embedding_dim=16, hidden_dim=64),
            TransformerConfig(num_layers=2, num_heads=2, embedding_dim=16, hidden_dim=64),
        ),
    },
    WaveNetConfig: {"num_layers": 3, "skip_dim": 10},
    WaveNetTreeConfig: {"context_length": 4},
}
EXTREMES: dict[str, tuple[object, ...]] = {
    "context_length": (1, 2),
    "dropout": (0.3,),
    "query_key_norm": (True,),
    "residual": (True,),
    "tied_embeddings": (True,),
    "norm_over": ("batch",),
}
EXTREMES_OF_KIND: dict[type[Section], dict[str, tuple[object, ...]]] = {
    NgramConfig: {"order": (2, 32)},
    WaveNetConfig: {"num_layers": (1,), "kernel_size": (3,), "num_stacks": (2,)},
    WaveNetTreeConfig: {"context_length": (2,)},
}


def small(kind: type[Section], **changes: object) -> Any:
    values = {**SMALL, **SMALL_OF_KIND.get(kind, {}), **changes}
    return kind(**{name: values[name] for name in kind.model_fields if name in values})


def variants(kind: type[Section]) -> list[Any]:
    """The small config of a kind, and one more for each choice or extreme of each field."""
    found = [small(kind)]
    extremes = {**EXTREMES, **EXTREMES_OF_KIND.get(kind, {})}
    for name, field in kind.model_fields.items():
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        values = extremes.get(name, choices)
        found += [small(kind, **{name: value}) for value in values if value != field.default]
    return found


def describe(config: Any) -> str:
    changed = config.model_dump(exclude=set(SMALL) - {"context_length"}, exclude_defaults=True)
    return " ".join([config.kind, *(f"{name}={value}" for name, value in changed.items())])


CONFIGS: list[Any] = [config for kind in KINDS for config in variants(kind)]
GRADIENT_CONFIGS = [config for config in CONFIGS if not config.closed_form]
all_models = pytest.mark.parametrize("config", CONFIGS, ids=describe)
gradient_models = pytest.mark.parametrize("config", GRADIENT_CONFIGS, ids=describe)

# One character, a name twice, a name that begins another, and names longer than any context.
NAMES = ["a", "dacb", "abcdabcaabbd", "dac", "b", "dacb", "cabbadabcad"]
VOCABULARY = Vocabulary.of(NAMES)


def corpus_of(names: list[str]) -> Corpus:
    return Corpus.of(VOCABULARY.encode(names))


def batch_of(names: list[str]) -> Batch:
    return corpus_of(names).batch(torch.arange(len(names)))


def random_model(config: Any, dtype: torch.dtype = torch.float64, seed: int = 0) -> LanguageModel:
    """A model in eval mode without a zero in it, because zeros make many equalities trivial."""
    generator = torch.Generator().manual_seed(seed)
    model = build_model(config, VOCABULARY.size)
    if isinstance(model, ClosedFormModel):
        model.fit(corpus_of(NAMES), corpus_of([]))
        return model.eval()
    model.to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5, generator=generator)
        # In training mode, so that statistics that a model keeps move as well.
        model(batch_of(NAMES))
    return model.eval()


def logits_of_names(model: LanguageModel, names: list[str]) -> list[Tensor]:
    batch = batch_of(names)
    with torch.no_grad():
        return list(model(batch).split(batch.lengths().tolist()))


def logits_by_steps(model: LanguageModel, names: list[str]) -> list[Tensor]:
    """The same through `step`, for all names at once; those that have ended leave the state."""
    inputs = [[BOUNDARY, *VOCABULARY.encode([name])[:-1].tolist()] for name in names]
    rows: list[list[Tensor]] = [[] for _ in names]
    alive = list(range(len(names)))
    state = model.start(len(names))
    position = 0
    with torch.no_grad():
        while alive:
            ids = torch.tensor([inputs[name][position] for name in alive])
            logits, state = model.step(ids, state)
            for name, row in zip(alive, logits, strict=True):
                rows[name].append(row)
            position += 1
            going = [place for place, name in enumerate(alive) if position < len(inputs[name])]
            alive = [alive[place] for place in going]
            state = tuple(part[going] for part in state)
    return [torch.stack(logits) for logits in rows]


def assert_same(actual: object, expected: object, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


def test_every_kind_is_covered_and_some_names_are_longer_than_every_context() -> None:
    assert {type(config) for config in CONFIGS} == set(KINDS)
    assert len(max(NAMES, key=len)) > 2 * max(getattr(c, "context_length", 1) for c in CONFIGS)


@all_models
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_one_character_at_a_time_gives_the_logits_of_whole_names(
    config: Any, dtype: torch.dtype, tolerance: float
) -> None:
    model = random_model(config, dtype)
    expected = logits_of_names(model, NAMES)
    assert_same(logits_by_steps(model, NAMES), expected, tolerance)


@all_models
def test_rows_of_a_state_can_be_dropped_repeated_and_reordered(config: Any) -> None:
    model = random_model(config)
    names = ["abcd", "cabb", "dacb"]
    tokens = torch.stack([batch_of([name]).inputs for name in names])
    rows = torch.tensor([2, 0, 0])
    with torch.no_grad():
        state = model.start(3)
        for position in range(4):
            _, state = model.step(tokens[:, position], state)
        logits, _ = model.step(tokens[rows, 4], tuple(part[rows] for part in state))
    expected = [logits_of_names(model, [names[row]])[0][4] for row in rows]
    assert_same(logits, torch.stack(expected))


@all_models
def test_a_step_leaves_the_state_that_it_was_given_as_it_was(config: Any) -> None:
    model = random_model(config)
    with torch.no_grad():
        _, state = model.step(torch.tensor([0, 0]), model.start(2))
        before = [part.clone() for part in state]
        first, _ = model.step(torch.tensor([1, 2]), state)
        model.step(torch.tensor([3, 4]), state)
        again, _ = model.step(torch.tensor([1, 2]), state)
    assert all(torch.equal(*pair) for pair in zip(state, before, strict=True))
    assert torch.equal(first, again)


@all_models
def test_a_later_character_changes_no_earlier_logits(config: Any) -> None:
    model = random_model(config)
    (name,) = logits_of_names(model, ["dabcad"])
    (changed,) = logits_of_names(model, ["dabbcaba"])
    assert_same(changed[:4], name[:4])
    assert not torch.allclose(changed[4], name[4])


@all_models
def test_the_order_and_the_company_of_names_change_nothing(config: Any) -> None:
    model = random_model(config)
    alone = [logits_of_names(model, [name])[0] for name in NAMES]
    assert_same(logits_of_names(model, NAMES), alone)
    assert_same(logits_of_names(model, NAMES[::-1]), alone[::-1])


@all_models
def test_logits_are_a_row_for_each_character_and_a_column_for_each_id(config: Any) -> None:
    model, batch = random_model(config, torch.float32), batch_of(NAMES)
    logits = model(batch)
    assert logits.shape == (batch.num_chars, VOCABULARY.size) == (43, 5)
    in_float64 = config.closed_form or isinstance(config, EnsembleConfig)
    assert logits.dtype == (torch.float64 if in_float64 else torch.float32)


@all_models
def test_a_state_has_a_row_for_each_name_even_for_none(config: Any) -> None:
    model = random_model(config)
    for num_names in (0, 1, 3):
        ids = torch.full((num_names,), BOUNDARY)
        logits, state = model.step(ids, model.start(num_names))
        assert logits.shape == (num_names, VOCABULARY.size)
        assert all(len(part) == num_names for part in (*model.start(num_names), *state))


@all_models
def test_a_state_dict_is_all_that_a_model_is(config: Any) -> None:
    model, other = random_model(config, torch.float32), build_model(config, VOCABULARY.size).eval()
    if isinstance(other, ClosedFormModel):
        other.load_tables(model.state_dict())
    else:
        other.load_state_dict(model.state_dict())
    assert torch.equal(other(batch_of(NAMES)), model(batch_of(NAMES)))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("mode", ["training", "evaluation"])
@pytest.mark.parametrize(
    "config", [*(kind() for kind in KINDS), *CONFIGS, MLPConfig(norm="batch")], ids=describe
)
def test_an_untrained_model_starts_near_the_uniform_loss(config: Any, mode: str, seed: int) -> None:
    names = load_names("names")[:100]
    corpus = Corpus.of(Vocabulary.of(load_names("names")).encode(names))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = build_model(config, 27).train(mode == "training")
        batch = corpus.batch(torch.arange(100))
        loss = functional.cross_entropy(model(batch), batch.targets)
    assert loss.item() == pytest.approx(math.log(27), abs=0.05)


DISTINCT_NAMES = ["abba", "aba", "bab", "babbab", "cab", "dadca", "dabab"]


def entropy_floor(names: list[str], num_seen: int | None, in_order: bool = True) -> float:
    """The least nats a character for a model that sees the last `num_seen` ids (None: all), in
    their order or, but for the last one, in none."""
    pairs: Counter[tuple[str, str]] = Counter()
    for name in names:
        text = "." * (num_seen or 1) + name
        for end, target in enumerate(name + ".", start=len(text) - len(name)):
            context = text[end - num_seen if num_seen else 0 : end]
            pairs[context if in_order else context[-1] + "".join(sorted(context)), target] += 1
    contexts: Counter[str] = Counter()
    for (context, _), count in pairs.items():
        contexts[context] += count
    nats = -sum(count * math.log(count / contexts[pair[0]]) for pair, count in pairs.items())
    return nats / pairs.total()


def test_entropy_floors_by_hand() -> None:
    # ab, ac: only what follows an a is open, between two equals; twice in six characters.
    assert entropy_floor(["ab", "ac"], 1) == pytest.approx(2 * math.log(2) / 6)
    # aa: a follows a boundary; a or a boundary follow an a, unless all of the prefix is seen.
    assert entropy_floor(["aa"], 1) == pytest.approx(2 * math.log(2) / 3)
    assert entropy_floor(["aa"], None) == 0.0
    # abca, bacb: only the first is open; after abc and bac the last, too, if they look alike.
    assert entropy_floor(["abca", "bacb"], None) == pytest.approx(2 * math.log(2) / 10)
    assert entropy_floor(["abca", "bacb"], None, in_order=False) == pytest.approx(
        4 * math.log(2) / 10
    )
    one, three, whole = (entropy_floor(DISTINCT_NAMES, seen) for seen in (1, 3, None))
    assert one > three + 0.05 > whole + 0.1


def num_seen(config: Any) -> int | None:
    """Ids on which a model's next character may depend; of an unlisted kind, all of the prefix."""
    if isinstance(config, BigramConfig):
        return 1
    return config.context_length if isinstance(config, MLPConfig) else None


@pytest.mark.parametrize(
    "config",
    [
        *(
            small(kind, embedding_dim=16, hidden_dim=64, context_length=8)
            for kind in {type(config): None for config in GRADIENT_CONFIGS}
        ),
        small(MLPConfig, hidden_dim=64),
        small(MLPConfig, hidden_dim=64, norm="batch"),
        small(MLPConfig, hidden_dim=64, context_length=1),
    ],
    ids=describe,
)
def test_a_few_names_are_learned_down_to_their_entropy(config: Any) -> None:
    corpus = corpus_of(DISTINCT_NAMES)
    batch = corpus.batch(torch.arange(len(DISTINCT_NAMES)))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = build_model(config, VOCABULARY.size)
    optimizer = torch.optim.Adam(model.parameters())
    # The convex bigram has a long way to go; the others get there from any start at a lower rate.
    rate = 0.03 if isinstance(config, BigramConfig) else 0.01
    for step in range(200):
        optimizer.param_groups[0]["lr"] = rate * min(1, 4 - step / 50)
        loss = functional.cross_entropy(model(batch), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    recompute_statistics(model, corpus, 2)
    in_order = not isinstance(config, BowConfig)
    floor = entropy_floor(DISTINCT_NAMES, num_seen(config), in_order)
    assert floor - 1e-6 < evaluate(model, corpus).nats_per_char < floor + 0.02


@gradient_models
def test_a_gradient_reaches_every_parameter(config: Any) -> None:
    model, batch = build_model(config, VOCABULARY.size), batch_of(NAMES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        # The second time: layers that start at zero let no gradient through in the first step.
        optimizer.step()
        optimizer.zero_grad()
        functional.cross_entropy(model(batch), batch.targets).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # A character that sees itself alone has nothing to choose by queries and keys.
    chooses = not isinstance(config, TransformerConfig) or config.context_length > 1
    idle = () if chooses else ("query", "key")
    expected = {
        name for name, _ in model.named_parameters() if any(f".{part}." in name for part in idle)
    }
    assert without == expected


@pytest.mark.parametrize("kind", [k for k in KINDS if "dropout" in k.model_fields])
def test_dropout_acts_in_training_alone(kind: type[Section]) -> None:
    batch = batch_of(NAMES)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = random_model(small(kind, dropout=0.3))
        plain = random_model(small(kind, dropout=0.0))
        # Dropout has moved what batch normalization keeps.
        plain.load_state_dict(model.state_dict())
        assert torch.equal(model(batch), plain(batch))
        model.train()
        assert not torch.allclose(model(batch), model(batch))


def test_models_know_neither_losses_nor_files_nor_the_rest_of_the_program() -> None:
    allowed = ("makemore.config", "makemore.corpus", "makemore.vocab", "makemore.models")
    modules: set[str] = set()
    for path in Path(makemore.models.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                modules.add(str(node.module))
    ours = {module for module in modules if module.startswith("makemore")}
    assert {module for module in ours if not module.startswith(allowed)} == set()
