import dataclasses
import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from makemore.checkpoint import (
    Checkpoint,
    from_bytes,
    load_checkpoint,
    save_checkpoint,
    to_bytes,
)
from makemore.errors import CheckpointError, StorageError
from tests import checkpoint_files
from tests.checkpoint_files import parts, sign, written

DTYPES = [
    torch.float64,
    torch.float32,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.uint8,
    torch.bool,
]

GROUPS = ("model", "optimizer", "trained", "corpora")
TINY = Checkpoint(
    config={"model": {"kind": "count"}},
    vocabulary=("a", "b"),
    split_digest="00ff",
    step=7,
    best_step=5,
    best_loss=2.25,
    evaluations_since_best=1,
    evaluated=True,
    model={"log_probs": torch.tensor([[-2.25, -1.5]], dtype=torch.float64)},
    optimizer={"moment.0": torch.tensor([0.5, math.nan, math.inf])},
    trained={"weight": torch.tensor([0.25, -1.0])},
    corpora={
        "train": torch.tensor([1, 2, 0, 1, 0], dtype=torch.uint8),
        "val": torch.tensor([2, 0], dtype=torch.int16),
        "test": torch.tensor([], dtype=torch.int32),
    },
)
TINY_BYTES = to_bytes(TINY)


def assert_equal(actual: Checkpoint, expected: Checkpoint) -> None:
    for field in dataclasses.fields(Checkpoint):
        if field.name not in GROUPS:
            assert getattr(actual, field.name) == getattr(expected, field.name)
    for group in GROUPS:
        tensors, wanted = getattr(actual, group), getattr(expected, group)
        assert list(tensors) == sorted(wanted)
        for name, tensor in tensors.items():
            assert tensor.dtype == wanted[name].dtype
            assert tensor.shape == wanted[name].shape
            assert bits(tensor) == bits(wanted[name])


def bits(tensor: torch.Tensor) -> list[int]:
    flat: list[int] = tensor.detach().reshape(-1).view(torch.uint8).tolist()
    return flat


def tampered(change: Callable[[dict[str, Any]], object]) -> bytes:
    return checkpoint_files.tampered(TINY_BYTES, change)


def with_metadata(**values: str) -> bytes:
    return tampered(lambda header: header["__metadata__"].update(values))


def with_views(*views: dict[str, Any], data: bytes) -> bytes:
    """The tiny checkpoint's metadata in front of other tensors."""
    header: dict[str, Any] = {"__metadata__": parts(TINY_BYTES)[0]["__metadata__"]}
    header |= {f"model.{index}": view for index, view in enumerate(views)}
    return sign(written(header), data)


def refusal(data: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        from_bytes(data, "here")
    assert caught.value.exit_code == 4
    (problem,) = caught.value.problems
    assert problem.where == "here"
    assert problem.hint
    return problem.what


def test_loading_leaves_the_number_of_threads_as_it_was() -> None:
    """Sums over several threads have other last bits than those of one."""
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        from_bytes(TINY_BYTES, "")
        refusal(TINY_BYTES[:-1] + b"\x01")
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_a_checkpoint_comes_back_as_it_was() -> None:
    assert_equal(from_bytes(TINY_BYTES, ""), TINY)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3), (1, 2, 1, 3)], ids=str)
def test_every_type_and_shape_keeps_its_bits(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randint(0, 2, shape, generator=generator).to(dtype)
    random_bits = torch.randint(0, 256, (tensor.nbytes,), dtype=torch.uint8, generator=generator)
    if dtype != torch.bool:
        # Random bits are also NaNs with a payload, negative zeros and subnormal numbers.
        tensor = random_bits.view(dtype).reshape(shape)
    before = dataclasses.replace(TINY, optimizer={"any": tensor})
    assert_equal(from_bytes(to_bytes(before), ""), before)


def test_views_parameters_and_shared_tensors_are_saved_by_value() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    model = {
        "transposed": base.T,
        "sliced": base[1:, ::2],
        "expanded": torch.tensor([1.0]).expand(5),
        "parameter": torch.nn.Parameter(base),
        "tied": base,
    }
    loaded = from_bytes(to_bytes(dataclasses.replace(TINY, model=model)), "").model
    for name, tensor in model.items():
        assert torch.equal(loaded[name], tensor)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_tensors_are_saved_as_cpu_tensors() -> None:
    model = {name: tensor.cuda() for name, tensor in TINY.model.items()}
    assert to_bytes(dataclasses.replace(TINY, model=model)) == TINY_BYTES


def test_loaded_tensors_are_writable_and_share_nothing() -> None:
    first, second = from_bytes(TINY_BYTES, ""), from_bytes(TINY_BYTES, "")
    for group in (first.model, first.optimizer, first.corpora):
        for tensor in group.values():
            tensor.fill_(1)
    assert_equal(second, TINY)
    assert to_bytes(second) == TINY_BYTES


def test_loaded_tensors_lie_in_memory_as_those_that_torch_makes() -> None:
    """Kernels may treat the first numbers of a row apart where they are not aligned."""
    sizes = {f"{size}": torch.ones(size) for size in range(1, 40)}
    loaded = from_bytes(to_bytes(dataclasses.replace(TINY, model=sizes)), "").model
    assert {tensor.data_ptr() % 64 for tensor in sizes.values()} == {0}
    assert {tensor.data_ptr() % 64 for tensor in loaded.values()} == {0}


@pytest.mark.parametrize(
    ("size", "dtype"), [(2**8, torch.uint8), (2**15, torch.int16), (2**16 + 1, torch.uint8)]
)
def test_a_vocabulary_that_just_fills_the_type_of_its_ids_is_saved(
    size: int, dtype: torch.dtype
) -> None:
    """Compared as a tensor's type, its size would be 0 or negative."""
    characters = tuple(map(chr, range(0x10000, 0x10000 + size - 1)))
    corpora = {"train": torch.tensor([min(size, torch.iinfo(dtype).max + 1) - 1, 0], dtype=dtype)}
    before = dataclasses.replace(TINY, vocabulary=characters, corpora=corpora)
    assert_equal(from_bytes(to_bytes(before), ""), before)


def test_more_tensors_than_would_be_read_are_not_saved() -> None:
    many = {f"{index}": torch.empty(0) for index in range(40_000)}
    with pytest.raises(CheckpointError, match="40004 tensors are more than a file can describe"):
        to_bytes(dataclasses.replace(TINY, model=many, trained={}))
    as_many_as_there_can_be = {
        f"blocks.{index}.attention.query": torch.zeros(1) for index in range(4096)
    }
    largest = dataclasses.replace(
        TINY,
        vocabulary=tuple(map(chr, range(0x10000, 0x20000))),
        model=as_many_as_there_can_be,
        optimizer=as_many_as_there_can_be,
        trained=as_many_as_there_can_be,
    )
    assert len(from_bytes(to_bytes(largest), "").trained) == 4096


def test_the_same_content_gives_the_same_bytes_whatever_the_order_of_its_tensors() -> None:
    """safetensors' own serialize() writes metadata in a random order."""
    optimizer = {f"moment.{index}": torch.tensor(float(index)) for index in range(20)}
    checkpoint = dataclasses.replace(TINY, optimizer=optimizer)
    shuffled = dataclasses.replace(TINY, optimizer=dict(reversed(optimizer.items())))
    data = to_bytes(checkpoint)
    assert {to_bytes(checkpoint) for _ in range(10)} == {data}
    assert to_bytes(shuffled) == data
    assert to_bytes(from_bytes(data, "")) == data


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.safetensors", TINY)
    with safetensors.safe_open(tmp_path / "last.safetensors", framework="pt") as file:
        metadata = file.metadata()
        assert bits(file.get_tensor("model.log_probs")) == bits(TINY.model["log_probs"])
        assert file.get_tensor("corpus.train").tolist() == [1, 2, 0, 1, 0]
        assert sorted(file.keys()) == [
            "corpus.test",
            "corpus.train",
            "corpus.val",
            "model.log_probs",
            "optimizer.moment.0",
            "trained.weight",
        ]
    assert metadata["format"] == "2"
    assert json.loads(metadata["config"]) == TINY.config
    assert json.loads(metadata["vocabulary"]) == "ab"
    assert metadata["split_digest"] == "00ff"
    assert metadata["step"] == "7"
    assert json.loads(metadata["best"]) == {
        "step": 5,
        "loss": 2.25,
        "evaluations_since": 1,
        "evaluated": True,
    }


def test_the_sha256_is_that_of_the_file_with_zeros_in_its_place() -> None:
    digest = parts(TINY_BYTES)[0]["__metadata__"]["sha256"].encode()
    zeroed = TINY_BYTES.replace(digest, b"0" * 64)
    assert hashlib.sha256(zeroed).hexdigest().encode() == digest


def test_text_that_looks_like_the_digest_or_the_format_survives() -> None:
    trap = '{"__metadata__":{"sha256":"' + "0" * 64 + '","size":"0000000000000000"'
    characters = ['"', "\\", "\x00", "\x1b", "\n", "\x85", "\u2028", "\u202e", "😀"]
    before = dataclasses.replace(
        TINY,
        config={
            trap: [trap, *characters, "\ud800"],
            '"sha256":"': "0" * 64,
            "z": 1,
            "a": [None, 1e-300],
        },
        vocabulary=tuple(characters),
        split_digest=trap,
    )
    data = to_bytes(before)
    assert_equal(from_bytes(data, ""), before)
    assert list(from_bytes(data, "").config) == list(before.config)
    assert refusal(data[:-1]).startswith("cut short")


def test_a_run_without_a_best_comes_back_without_one() -> None:
    before = dataclasses.replace(TINY, step=0, best_step=None, best_loss=None, vocabulary=("a",))
    before = dataclasses.replace(before, corpora={}, model={}, optimizer={})
    assert_equal(from_bytes(to_bytes(before), ""), before)


def test_every_flipped_bit_of_a_file_is_found() -> None:
    header_end = 8 + struct.unpack("<Q", TINY_BYTES[:8])[0]
    assert TINY_BYTES[header_end - 1 : header_end] == b" ", "no padding to flip"
    for position in range(len(TINY_BYTES)):
        for bit in range(8):
            damaged = bytearray(TINY_BYTES)
            damaged[position] ^= 1 << bit
            refusal(bytes(damaged))


@given(st.dictionaries(st.integers(0, len(TINY_BYTES) - 1), st.integers(1, 255), min_size=1))
def test_changed_bytes_are_found(changes: dict[int, int]) -> None:
    damaged = bytearray(TINY_BYTES)
    for position, change in changes.items():
        damaged[position] ^= change
    refusal(bytes(damaged))


def test_a_changed_tensor_is_altered() -> None:
    assert refusal(TINY_BYTES[:-1] + b"\x01") == "altered: its bytes do not match its own sha256"


def test_a_file_cut_at_any_length_is_found_and_mostly_said_to_be_cut() -> None:
    head = TINY_BYTES.index(b',"format"')
    for length in range(len(TINY_BYTES)):
        what = refusal(TINY_BYTES[:length])
        if length > head:
            assert what == f"cut short: {length} of {len(TINY_BYTES)} bytes are left"
        assert "cut short" in what


@pytest.mark.parametrize("tail", [b"\x00", b" ", b"\n", TINY_BYTES])
def test_appended_bytes_are_found(tail: bytes) -> None:
    assert refusal(TINY_BYTES + tail).startswith("altered")


@given(st.binary(max_size=300))
@example(b"")
@example(struct.pack("<Q", 2**63) + b"{}")
@example(struct.pack("<Q", 2**40) + TINY_BYTES[8:])
@example(struct.pack("<Q", 2) + b"{}")
def test_bytes_that_are_no_checkpoint_raise_nothing_else(data: bytes) -> None:
    refusal(data)


@settings(max_examples=1000)
@given(st.binary(max_size=200), st.binary(max_size=20))
@example(b"}}", b"")
@example(b',"format":"1"}}', b"")
@example(b',"a":' + b"[" * 10_000, b"")
def test_a_signed_header_of_random_bytes_raises_nothing_else(rest: bytes, data: bytes) -> None:
    refusal(sign(b'{"__metadata__":{"sha256":"","size":""' + rest, data))


TOKENS = st.sampled_from(
    b'"|:|,|[|]|{|}|0|1|-1|null|F32|"model.|"corpus.|\\|\xff|99999999|e9'.split(b"|")
)
HEADER_LENGTH = struct.unpack("<Q", TINY_BYTES[:8])[0]


@settings(max_examples=3000)
@given(
    st.integers(0, HEADER_LENGTH), st.integers(0, 12), st.lists(TOKENS, max_size=3).map(b"".join)
)
def test_a_signed_header_with_a_piece_replaced_is_refused_or_sound(
    start: int, length: int, piece: bytes
) -> None:
    """What is read of it could be written again: nothing unsound gets through."""
    header = TINY_BYTES[8 : 8 + HEADER_LENGTH]
    data = sign(header[:start] + piece + header[start + length :], TINY_BYTES[8 + HEADER_LENGTH :])
    try:
        checkpoint = from_bytes(data, "here")
    except CheckpointError as error:
        text = str(error)
    else:
        text = ""
        to_bytes(checkpoint)
    assert text.replace("\nhint: ", "").isprintable()


def test_a_signed_file_is_the_same_file() -> None:
    """The helper of the tests below signs as the module does: they fail for their own reason."""
    header, data = parts(TINY_BYTES)
    assert_equal(from_bytes(sign(written(header), data), ""), TINY)
    assert_equal(from_bytes(tampered(lambda _: None), ""), TINY)


def test_a_newer_format_says_so() -> None:
    data = with_metadata(format="3", config="of another shape")
    assert refusal(data) == "written in checkpoint format 3; this version reads 2"


@pytest.mark.parametrize("length", [2, 2**40, 2**64 - 1])
def test_a_signed_file_with_a_wrong_header_length_is_refused(length: int) -> None:
    unsigned = struct.pack("<Q", length) + re.sub(rb"[0-9a-f]{64}", b"0" * 64, TINY_BYTES[8:])
    digest = hashlib.sha256(unsigned).hexdigest().encode()
    what = refusal(unsigned.replace(b"0" * 64, digest, 1))
    assert what == f"altered: its header cannot have {length} bytes"


@pytest.mark.parametrize("key", ["format", "config", "vocabulary", "split_digest", "step", "best"])
def test_missing_metadata_is_named(key: str) -> None:
    what = refusal(tampered(lambda header: header["__metadata__"].pop(key)))
    assert what == f"its {key} is missing"


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("format", ["", "-1", "1.0", "true", '"1"', "\x1b[31m"]),
        ("config", ["", "[]", "1", "{", '{"a":NaN}', '{"a":1,"a":1}', "[" * 10_000]),
        ("vocabulary", ["", "{}", "ab", "[1]", '["a","b"]', '"aba"', "null", "true"]),
        ("step", ["", "-1", "1.0", "true", "null", '"1"', "9" * 5000]),
        ("best", ["", "null", "[]", "{}", '{"step":5,"loss":2.25}']),
    ],
)
def test_metadata_of_a_wrong_type_is_named(key: str, values: list[str]) -> None:
    for value in values:
        what = refusal(with_metadata(**{key: value}))
        # JSON nested too deeply is refused in Python's own words.
        assert key in what or "recursion" in what
        assert what.isprintable()


@pytest.mark.parametrize(
    ("step", "loss", "since"),
    [
        ("8", "2.25", "1"),
        ("-1", "2.25", "1"),
        ("null", "2.25", "1"),
        ("5", "NaN", "1"),
        ("5", "Infinity", "1"),
        ("5", "1e999", "1"),
        ("5", "-1e999", "1"),
        ("5", "2", "1"),
        ("true", "2.25", "1"),
        ("5.0", "2.25", "1"),
        ("5", "2.25", "-1"),
        ("5", "2.25", "null"),
        ("5", "2.25", "0.5"),
    ],
)
def test_a_best_that_cannot_be_is_refused(step: str, loss: str, since: str) -> None:
    best = f'{{"step":{step},"loss":{loss},"evaluations_since":{since},"evaluated":true}}'
    assert "best" in refusal(with_metadata(best=best))


@pytest.mark.parametrize(
    ("views", "data"),
    [
        ([{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}] * 2, b"1234"),
        ([{"dtype": "F32", "shape": [2**60], "data_offsets": [0, 4]}], b"1234"),
        ([{"dtype": "F32", "shape": [2**60] * 2, "data_offsets": [0, 4]}], b"1234"),
        ([{"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}], b"1234"),
        ([{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}], b"12345"),
        ([{"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}], b"1234"),
        ([{"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}], b"1234"),
        ([{"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}], b"1234"),
        ([{"dtype": "F32", "shape": [2**63, 0], "data_offsets": [0, 0]}], b""),
        ([{"dtype": "F32", "shape": [0, 2**40, 2**40], "data_offsets": [0, 0]}], b""),
    ],
)
def test_tensors_that_cannot_be_are_refused(views: list[dict[str, Any]], data: bytes) -> None:
    assert "tensor" in refusal(with_views(*views, data=data))


def test_a_tensor_of_an_unknown_kind_is_refused() -> None:
    header, data = parts(TINY_BYTES)
    text = json.dumps(header, separators=(",", ":")).replace("model.log_probs", "extra.x")
    assert refusal(sign(text.encode(), data)) == "a tensor of an unknown kind, `extra.x`"


def test_a_tensor_that_stands_twice_is_refused() -> None:
    """safetensors takes the last of the two, other readers may take the first."""
    header, data = parts(TINY_BYTES)
    text = json.dumps(header, separators=(",", ":"))
    entry = '"model.log_probs":' + json.dumps(header["model.log_probs"])
    assert "twice" in refusal(sign(f"{text[:-1]},{entry}}}".encode(), data))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_nan_and_infinity_in_the_model_are_refused(number: float, dtype: torch.dtype) -> None:
    tensor = torch.tensor([0.0, number], dtype=dtype)
    code = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16"}[dtype]
    view = {"dtype": code, "shape": [2], "data_offsets": [0, tensor.nbytes]}
    what = refusal(with_views(view, data=bytes(bits(tensor))))
    assert what == "tensor `model.0` holds NaN or infinity"


UNSOUND: list[dict[str, object]] = [
    {"step": -1},
    {"step": True},
    {"step": 4},
    {"best_step": None},
    {"best_loss": math.nan},
    {"evaluations_since_best": -1},
    {"vocabulary": ("a", "a")},
    {"vocabulary": ("a", "bc")},
    {"vocabulary": ("a",)},
    {"vocabulary": ("a", "\ud800")},
    {"vocabulary": tuple(map(chr, range(0x20000, 0x30001)))},
    {"evaluated": 1},
    {"evaluated": None},
    {"model": {"x": torch.tensor([math.nan])}},
    {"model": {"x": torch.tensor([1j])}},
    {"corpora": {"train": torch.tensor([1, 3, 0], dtype=torch.uint8)}},
    {"corpora": {"train": torch.tensor([1, -1, 0], dtype=torch.int16)}},
    {"corpora": {"train": torch.tensor([1, 2], dtype=torch.uint8)}},
    {"corpora": {"train": torch.tensor([[1, 0]], dtype=torch.uint8)}},
    {"corpora": {"train": torch.tensor([1, 0], dtype=torch.int64)}},
]


@pytest.mark.parametrize("change", UNSOUND, ids=str)
def test_what_could_not_be_loaded_is_not_saved(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, TINY)
    with pytest.raises(AssertionError):
        save_checkpoint(path, dataclasses.replace(TINY, **change))
    assert path.read_bytes() == TINY_BYTES


def test_a_saved_checkpoint_is_loaded_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, TINY)
    assert path.read_bytes() == TINY_BYTES
    assert_equal(load_checkpoint(path), TINY)


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(TINY_BYTES[:-1])
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == (
        f"{path}: cut short: {len(TINY_BYTES) - 1} of {len(TINY_BYTES)} bytes are left\n"
        "hint: use the other checkpoint of this run, or train again"
    )


def test_a_missing_checkpoint_and_a_directory_are_checkpoint_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "missing", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match=re.escape(f"{path}: no checkpoint here\nhint: ")):
            load_checkpoint(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path)


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(CheckpointError, match=re.escape(f"{path}: cannot be read: not a file")):
            load_checkpoint(path)


def test_a_checkpoint_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        save_checkpoint(tmp_path / "missing" / "last.safetensors", TINY)
