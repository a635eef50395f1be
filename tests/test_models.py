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
    BigramCountConfig,
    DataConfig,
    MLPConfig,
    ModelConfig,
    Section,
    TransformerConfig,
)
from makemore.corpus import Batch, Corpus
from makemore.data import load_names, split_names
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
EXTREMES: dict[str, tuple[object, ...]] = {
    "context_length": (1, 2),
    "dropout": (0.3,),
    "k": (0.0,),
}


def small(kind: type[Section], **changes: object) -> Any:
    values = {**SMALL, **changes}
    return kind(**{name: values[name] for name in kind.model_fields if name in values})


def variants(kind: type[Section]) -> list[Any]:
    """The small config of a kind, and one more for each choice or extreme of each field."""
    found = [small(kind)]
    for name, field in kind.model_fields.items():
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        values = EXTREMES.get(name, choices)
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
        model.fit(corpus_of(NAMES))
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
    assert logits.dtype == (torch.float64 if config.closed_form else torch.float32)


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


def entropy_floor(names: list[str], num_seen: int | None) -> float:
    """The least nats a character for a model that sees the last `num_seen` ids (None: all)."""
    pairs: Counter[tuple[str, str]] = Counter()
    for name in names:
        text = "." * (num_seen or 1) + name
        for end, target in enumerate(name + ".", start=len(text) - len(name)):
            pairs[text[end - num_seen if num_seen else 0 : end], target] += 1
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
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.03 * min(1, 4 - step / 50)
        loss = functional.cross_entropy(model(batch), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    recompute_statistics(model, corpus, 2)
    floor = entropy_floor(DISTINCT_NAMES, num_seen(config))
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
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("kind", [k for k in KINDS if "dropout" in k.model_fields])
def test_dropout_acts_in_training_alone(kind: type[Section]) -> None:
    batch = batch_of(NAMES)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = random_model(small(kind, dropout=0.3))
        plain = random_model(small(kind, dropout=0.0))
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


# Bigram counts.


def fitted(names: list[str], k: float) -> Any:
    model: Any = build_model(BigramCountConfig(k=k), Vocabulary.of(names).size)
    model.fit(Corpus.of(Vocabulary.of(names).encode(names)))
    return model


THREE_NAMES = ["ab", "aab", "b"]


def test_bigram_counts_of_three_names_by_hand() -> None:
    model = fitted(THREE_NAMES, k=1.0)
    # Rows: boundary, a, b; columns: what follows.
    assert model.counts_VV.tolist() == [[0, 2, 1], [0, 1, 2], [3, 0, 0]]
    expected = [[1 / 6, 3 / 6, 2 / 6], [1 / 6, 2 / 6, 3 / 6], [4 / 6, 1 / 6, 1 / 6]]
    assert_same(model.log_probabilities().exp(), torch.tensor(expected, dtype=torch.float64))


def test_without_smoothing_what_was_not_counted_is_impossible() -> None:
    probabilities = fitted(THREE_NAMES, k=0.0).log_probabilities().exp()
    expected = [[0, 2 / 3, 1 / 3], [0, 1 / 3, 2 / 3], [1, 0, 0]]
    assert_same(probabilities, torch.tensor(expected, dtype=torch.float64))


def test_without_smoothing_a_character_that_was_not_counted_is_followed_by_any() -> None:
    model: Any = build_model(BigramCountConfig(k=0.0), 3)
    model.fit(Corpus.of(torch.tensor([1, 0])))
    assert model.log_probabilities().exp()[2].tolist() == pytest.approx([1 / 3] * 3, rel=1e-12)


def test_a_second_fit_forgets_the_first() -> None:
    model = fitted(THREE_NAMES, k=1.0)
    model.fit(Corpus.of(torch.tensor([1, 0])))
    assert model.counts_VV.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("source", "unsmoothed", "add_one"),
    [
        ("karpathy", 2.4540145, 2.4545768),
        ("names", 2.3345657, 2.3422809),
        ("surnames", 2.5647174, 2.5648143),
    ],
)
def test_bigram_counts_reach_the_known_losses_of_a_whole_file(
    request: pytest.FixtureRequest, source: str, unsmoothed: float, add_one: float
) -> None:
    if source == "karpathy":
        source = str(request.getfixturevalue("karpathy_path"))
    names = load_names(source)
    corpus = Corpus.of(Vocabulary.of(names).encode(names))
    for k, expected in [(0.0, unsmoothed), (1.0, add_one)]:
        loss = evaluate(fitted(names, k), corpus)
        assert loss.nats_per_char == pytest.approx(expected, abs=1e-6)


def test_bigram_counts_reach_the_known_losses_of_the_lecture_split(karpathy_path: Path) -> None:
    names = load_names(str(karpathy_path))
    splits = split_names(names, DataConfig(split="lecture"))
    vocabulary = Vocabulary.of(names)
    model: Any = build_model(BigramCountConfig(k=1.0), vocabulary.size)
    model.fit(Corpus.of(vocabulary.encode(splits.train)))
    losses = [
        evaluate(model, Corpus.of(vocabulary.encode(names))).nats_per_char
        for names in (splits.train, splits.val, splits.test)
    ]
    assert losses == pytest.approx([2.4548369, 2.4532639, 2.4583911], abs=1e-6)


# The networks against loops.


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("context_length", [1, 3, 5])
def test_mlp_logits_equal_an_explicit_loop(norm: str, context_length: int) -> None:
    model = random_model(small(MLPConfig, norm=norm, context_length=context_length))
    weights = model.state_dict()
    for name, logits in zip(NAMES, logits_of_names(model, NAMES), strict=True):
        ids = [BOUNDARY] * context_length + VOCABULARY.encode([name])[:-1].tolist()
        for position, row in enumerate(logits):
            seen = ids[position : position + context_length]
            hidden = torch.cat([weights["embedding.weight"][i] for i in seen])
            hidden = weights["hidden.weight"] @ hidden
            if norm == "none":
                hidden = hidden + weights["hidden.bias"]
            else:
                deviation = (weights["norm.running_var"] + 1e-5).sqrt()
                hidden = (hidden - weights["norm.running_mean"]) / deviation
                hidden = hidden * weights["norm.weight"] + weights["norm.bias"]
            expected = weights["output.weight"] @ hidden.tanh() + weights["output.bias"]
            assert_same(row, expected)


def normalized(weights: dict[str, Tensor], layer: str, x_TD: Tensor) -> Tensor:
    centered_TD = x_TD - x_TD.mean(1, keepdim=True)
    variance_T1 = centered_TD.square().mean(1, keepdim=True)
    scaled_TD = centered_TD / (variance_T1 + 1e-5).sqrt()
    return scaled_TD * weights[f"{layer}.weight"] + weights[f"{layer}.bias"]


def linear(weights: dict[str, Tensor], layer: str, x_TD: Tensor) -> Tensor:
    return x_TD @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]


def explicit_attention(
    weights: dict[str, Tensor], layer: str, x_TD: Tensor, config: TransformerConfig
) -> Tensor:
    size = config.embedding_dim // config.num_heads
    query_TD, key_TD, value_TD = linear(weights, f"{layer}.query_key_value", x_TD).chunk(3, dim=1)
    mixed_TD = torch.zeros_like(x_TD)
    for head in range(config.num_heads):
        part = slice(head * size, (head + 1) * size)
        for position in range(len(x_TD)):
            seen = range(max(0, position - config.context_length + 1), position + 1)
            scores = [query_TD[position, part] @ key_TD[j, part] / math.sqrt(size) for j in seen]
            total = sum(math.exp(score) for score in scores)
            for j, score in zip(seen, scores, strict=True):
                mixed_TD[position, part] += math.exp(score) / total * value_TD[j, part]
    return linear(weights, f"{layer}.output", mixed_TD)


@pytest.mark.parametrize("context_length", [1, 3, 32])
@pytest.mark.parametrize("num_heads", [1, 4])
def test_transformer_logits_equal_an_explicit_softmax(num_heads: int, context_length: int) -> None:
    config = small(TransformerConfig, num_heads=num_heads, context_length=context_length)
    model = random_model(config)
    weights = model.state_dict()
    for name, logits in zip(NAMES, logits_of_names(model, NAMES), strict=True):
        ids = batch_of([name]).inputs
        places = [min(position, context_length - 1) for position in range(len(ids))]
        x_TD = weights["character_embedding.weight"][ids]
        x_TD = x_TD + weights["position_embedding.weight"][places]
        for block in (f"blocks.{i}" for i in range(config.num_layers)):
            normalized_TD = normalized(weights, f"{block}.attention_norm", x_TD)
            x_TD = x_TD + explicit_attention(weights, f"{block}.attention", normalized_TD, config)
            hidden_TF = linear(
                weights, f"{block}.expand", normalized(weights, f"{block}.mlp_norm", x_TD)
            )
            hidden_TF = hidden_TF * (1 + torch.erf(hidden_TF / math.sqrt(2))) / 2
            x_TD = x_TD + linear(weights, f"{block}.contract", hidden_TF)
        expected = normalized(weights, "norm", x_TD) @ weights["output.weight"].T
        assert_same(logits, expected, 1e-10)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (BigramCountConfig(), 27 * 27),
        (BigramConfig(), 729),
        # Embeddings, hidden layer, output: the lecture's 11,897.
        (MLPConfig(), 27 * 10 + (30 * 200 + 200) + (200 * 27 + 27)),
        (MLPConfig(), 11_897),
        # Gain and bias of the norm in place of the bias before it: the lecture's 12,097.
        (MLPConfig(norm="batch"), 12_097),
        (TransformerConfig(), 205_568),
        (
            TransformerConfig(),
            # Characters and positions; blocks; norm and output without bias.
            (27 * 64 + 32 * 64)
            + 4 * (2 * 128 + (64 * 192 + 192) + (64 * 64 + 64) + (64 * 256 + 256) + (256 * 64 + 64))
            + (128 + 64 * 27),
        ),
    ],
)
def test_the_number_of_parameters_is_exact(config: Any, expected: int) -> None:
    assert build_model(config, 27).num_parameters() == expected
