"""The files shipped with makemore."""

import tomllib
from pathlib import Path

import pytest

from makemore.errors import UsageError
from makemore.shipped_files import preset_names, resolve_preset, resource_path


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the presets of a repository that has a few, one of them outside."""
    home = tmp_path / "home" / "configs"
    (home / "lectures").mkdir(parents=True)
    (home / "other").mkdir()
    presets = [
        "mlp",
        "mlp-batchnorm",
        "reference",
        "lectures/part3-batchnorm",
        "lectures/part1",
        "other/x",
    ]
    for name in (*presets, "../secret"):
        (home / f"{name}.yaml").write_text("model: {kind: bigram}\n")
    (home / "lectures" / "README.md").write_text("no preset\n")
    module = tmp_path / "home" / "makemore" / "shipped_files.py"
    monkeypatch.setattr("makemore.shipped_files.__file__", str(module))
    return home


def hint_for(name: str) -> str:
    with pytest.raises(UsageError, match="unknown preset") as caught:
        resolve_preset(name)
    return caught.value.problems[0].hint


def test_presets_in_folders_come_after_the_others(configs: Path) -> None:
    assert preset_names() == [
        "mlp",
        "mlp-batchnorm",
        "lectures/part1",
        "lectures/part3-batchnorm",
        "other/x",
    ]
    for name in preset_names():
        assert resolve_preset(name) == configs / f"{name}.yaml"
        assert resolve_preset(name).is_file()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("mpl", "mlp"),
        ("lectures/part3-batchnrom", "lectures/part3-batchnorm"),
        ("lecture/part3-batchnorm", "lectures/part3-batchnorm"),
        ("part3-batchnorm", "lectures/part3-batchnorm"),
        ("part3-batchnrom", "lectures/part3-batchnorm"),
        ("mlp.yaml", "mlp"),
        ("batchnorm", "mlp-batchnorm"),
    ],
)
def test_an_unknown_preset_names_the_nearest_one_and_folders_as_a_whole(
    configs: Path, name: str, nearest: str
) -> None:
    assert hint_for(name) == (
        f"did you mean `{nearest}`? the presets are mlp, mlp-batchnorm, lectures/*, other/*"
    )


@pytest.mark.parametrize("name", ["reference", "xyz", "lectures", "lectures/", ""])
def test_what_is_no_preset_is_unknown(configs: Path, name: str) -> None:
    assert hint_for(name).endswith("the presets are mlp, mlp-batchnorm, lectures/*, other/*")


@pytest.mark.parametrize(
    "name",
    ["../secret", "lectures/../mlp", "./mlp", "../configs/mlp", "lectures//part1", "mlp\0", "/"],
)
def test_a_path_is_no_preset_even_where_it_leads_to_one(configs: Path, name: str) -> None:
    assert hint_for(name).endswith("the presets are mlp, mlp-batchnorm, lectures/*, other/*")
    assert hint_for(str(configs / "mlp")).endswith(
        "the presets are mlp, mlp-batchnorm, lectures/*, other/*"
    )


def test_a_hint_is_as_short_with_many_presets_in_a_folder(configs: Path) -> None:
    before = hint_for("xyz")
    for number in range(100):
        (configs / "lectures" / f"row-{number}.yaml").touch()
    assert hint_for("xyz") == before


@pytest.mark.parametrize("is_installed", [False, True])
def test_shipped_files_are_found_in_both_kinds_of_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    package = tmp_path / "makemore"
    monkeypatch.setattr("makemore.shipped_files.__file__", str(package / "shipped_files.py"))
    home = package / "resources" if is_installed else tmp_path
    (home / "configs" / "lectures").mkdir(parents=True)
    assert resource_path("configs", "mlp.yaml") == home / "configs" / "mlp.yaml"
    (home / "configs" / "lectures" / "part1.yaml").touch()
    assert preset_names() == ["lectures/part1"]
    assert resolve_preset("lectures/part1") == home / "configs" / "lectures" / "part1.yaml"


def test_the_wheel_has_the_whole_folders_of_the_shipped_files() -> None:
    """A plain install finds below `resources` what an editable one finds in the repository."""
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    wheel = tomllib.loads(pyproject.read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {
        "only-include": ["makemore", "configs", "data"],
        "sources": {
            "configs": "makemore/resources/configs",
            "data": "makemore/resources/data",
        },
    }
