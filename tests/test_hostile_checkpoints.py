"""No file that somebody sends is executed, believed or able to fill the memory."""

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from makemore.checkpoint import from_bytes, load_checkpoint, save_checkpoint, to_bytes
from makemore.errors import CheckpointError, DivergedError
from makemore.messages import visible
from makemore.run import Run, load, open_checkpoint
from makemore.trained_model import DrawOptions
from tests.checkpoint_files import parts, sign, tampered, written
from tests.command_line import Makemore
from tests.forged_checkpoints import BYTES, SOUND, entry, forged, sound, with_texts
from tests.hostile_checkpoints import MARKER, fitted_tables, write_all

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "files"


@pytest.fixture(scope="module")
def names(directory: Path) -> list[str]:
    directory.mkdir()
    return write_all(directory)


@pytest.fixture(scope="module")
def outcomes(directory: Path, names: list[str]) -> list[dict[str, Any]]:
    """What became of every file, in a process that loads one after another."""
    before = {path.name: path.lstat().st_mtime_ns for path in directory.parent.rglob("*")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.hostile_checkpoints", str(directory)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name: path.lstat().st_mtime_ns for path in directory.parent.rglob("*")} == before
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_the_hostile_files_are_made_from_is_sound(tmp_path: Path) -> None:
    """Without their lies they would be loaded: they are refused for these alone."""
    path = tmp_path / "sound"
    path.write_bytes(forged())
    assert load(path, device="cpu").checkpoint.vocabulary == ("a", "b", "c")
    path.write_bytes(BYTES)
    load(path, device="cpu")
    config = sound({"kind": "ngram", "order": 2}).config
    path.write_bytes(forged(config=config, model=fitted_tables()))
    load(path, device="cpu")


def test_every_hostile_file_is_refused_and_named(
    directory: Path, names: list[str], outcomes: list[dict[str, Any]]
) -> None:
    assert len(outcomes) >= 250
    assert {outcome["name"] for outcome in outcomes} == set(names)
    for outcome in outcomes:
        by_load, by_checkpoint = outcome["messages"]
        assert by_load is not None, outcome["name"]
        where = visible(str(directory / outcome["name"]))
        assert by_load.startswith(f"{where}: ")
        text = by_load.removeprefix(where)
        assert text.replace("\nhint: ", " ").isprintable()
        assert len(text) < 500
        # A checkpoint alone knows no model: some lies are found only beside its config.
        assert by_checkpoint is None or by_checkpoint.startswith(f"{where}: ")


def test_every_hostile_file_is_refused_at_once_in_little_memory(
    outcomes: list[dict[str, Any]],
) -> None:
    slowest = max(outcomes, key=lambda outcome: outcome["seconds"])
    largest = max(outcomes, key=lambda outcome: outcome["megabytes"])
    sys.stdout.write(
        f"{len(outcomes)} hostile files; slowest {slowest['name']} {slowest['seconds']:.3f} s; "
        f"most memory {largest['name']} {largest['megabytes']:.1f} MB\n"
    )
    assert slowest["seconds"] < 1, slowest
    assert largest["megabytes"] <= 64, largest


def test_no_hostile_file_is_executed_or_makes_another_be_opened(
    directory: Path, outcomes: list[dict[str, Any]]
) -> None:
    """Python tells of every file, command and program that it opens or runs."""
    assert not (directory / MARKER).exists()
    for outcome in outcomes:
        own = str(directory / outcome["name"])
        for event in outcome["events"]:
            # By its path, and again by its descriptor; the runs here are listed for a hint.
            expected = re.fullmatch(r"open \d+ r \d+|os.listdir runs", event)
            is_read = (
                event.startswith(f"open {own} None ") and not int(event.split()[-1]) & os.O_RDWR
            )
            assert expected or is_read, (outcome["name"], event)


def test_the_watch_would_have_seen_a_pickle(directory: Path, names: list[str]) -> None:
    """The payloads do work: unpickled by Python, they create the marker."""
    unpickle = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
    payload = directory / "pickle-4"
    assert payload.name in names
    subprocess.run([sys.executable, "-c", unpickle, str(payload)], check=True)
    (directory / MARKER).unlink()


COMMAND_LINE = [
    *(
        "pickle-4",
        "torch-save",
        "zip-bomb",
        "empty",
        "header-of-2-to-the-63",
        "bytes-after-the-end",
    ),
    *(
        "json-deep-lists",
        "json-as-many-keys-as-pass",
        "json-not-utf-8",
        "overlapping",
        "shape-bomb",
    ),
    *("control-characters-in-a-name", "weights-nan-float32", "vocabulary-of-controls", "format-3"),
    *("config-of-many-members", "config-of-a-path-etc-passwd", "corpus-negative", "fifo", "sparse"),
    *("link-to-zeros", "link-dangling", "link-to-itself", "directory", "config-of-an-unknown-key"),
]


@pytest.mark.parametrize("name", COMMAND_LINE)
def test_the_command_line_refuses_it(
    name: str, directory: Path, names: list[str], makemore: Makemore
) -> None:
    assert name in names
    result = makemore("sample", directory / name, "--device", "cpu")
    assert result.code == 4
    assert result.error.startswith(f"error: {directory / name}: ")
    assert result.err.replace("\n", "").isprintable()


def test_a_path_in_the_config_is_never_opened(tmp_path: Path) -> None:
    """Not when names are drawn, nor when a checkpoint is evaluated."""
    secret = tmp_path / "secret"
    secret.write_text("root")
    config = json.loads(json.dumps(SOUND.config))
    config["data"]["source"] = str(secret)
    save_checkpoint(tmp_path / "sound", dataclasses.replace(SOUND, config=config))
    code = (
        "import sys\n"
        "opened = []\n"
        "note = lambda event, values: opened.append(values[0]) if event == 'open' else None\n"
        "sys.addaudithook(note)\n"
        "import makemore\n"
        "run = makemore.load(sys.argv[1], device='cpu')\n"
        "assert run.config.data.source == sys.argv[2]\n"
        "assert len(run.sample(5)) == 5 and run.evaluate('val')\n"
        "assert any(str(path) == sys.argv[1] for path in opened)\n"
        "assert not any(str(path) == sys.argv[2] for path in opened)\n"
    )
    arguments = [str(tmp_path / "sound"), str(secret)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["mlp", "ngram", "ensemble", "adamw", "/etc/passwd", "batch", "F32"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def places(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The path of every value inside a JSON value."""
    found = [path] if path else []
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value if isinstance(value, list) else ())
    )
    for key, below in inside:
        found += places(below, (*path, key))
    return found


def changed(value: Any, path: tuple[Any, ...], to: object) -> Any:
    """A copy of a JSON value with another value at a path."""
    copy = json.loads(json.dumps(value))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = to
    return copy


def opened(data: bytes) -> Run | str:
    """The run in a file's bytes, or why there is none."""
    try:
        return open_checkpoint(Path("here"), from_bytes(data, "here"), CPU)
    except CheckpointError as error:
        return str(error)


def assert_run_or_refusal(found: Run | str) -> None:
    if isinstance(found, str):
        assert found.startswith("here: ")
        assert found.replace("\nhint: ", "").isprintable()
    else:
        assert found.model.num_parameters() == 56
        assert found.sample(1, max_length=3)


@settings(max_examples=1500)
@given(st.sampled_from(places(SOUND.config)), VALUES)
def test_any_value_in_the_config_makes_a_run_or_is_refused(
    path: tuple[Any, ...], value: object
) -> None:
    assert_run_or_refusal(opened(forged(config=changed(SOUND.config, path, value))))


@settings(max_examples=1500)
@given(st.sampled_from(places(parts(BYTES)[0])), VALUES)
def test_any_value_in_the_header_makes_a_run_or_is_refused(
    path: tuple[Any, ...], value: object
) -> None:
    header, data = parts(BYTES)
    assert_run_or_refusal(opened(sign(written(changed(header, path, value)), data)))


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"top_p": 0.5}, {"unique": True}])
def test_weights_whose_products_are_no_numbers_are_said_to_be_too_large(
    options: DrawOptions,
) -> None:
    """Each is finite, so the file is sound; a choice among what is no number was out of range."""
    model = {name: torch.full_like(tensor, 3e38) for name, tensor in SOUND.model.items()}
    run = open_checkpoint(Path("here"), from_bytes(forged(model=model), "here"), CPU)
    with pytest.raises(DivergedError, match="are not numbers"):
        run.sample(3, **options)
    assert math.isnan(run.evaluate("train").loss.nats_per_char)


@pytest.mark.parametrize(
    "file",
    [
        with_texts(split_digest="0\ud800"),
        tampered(
            BYTES, lambda header: header.update({"optimizer.\udfff": entry("U8", [0], 230, 230)})
        ),
    ],
)
def test_half_a_character_is_refused_because_it_could_not_be_saved_again(file: bytes) -> None:
    with pytest.raises(CheckpointError, match="its header is not Unicode text"):
        from_bytes(file, "here")


def test_a_run_is_loaded_through_a_link_that_its_owner_made(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "sound", SOUND)
    (tmp_path / "link").symlink_to("sound")
    assert to_bytes(load_checkpoint(tmp_path / "link")) == BYTES
