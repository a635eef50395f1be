"""The files shipped with makemore."""

from pathlib import Path

import pytest

from makemore.errors import UsageError
from makemore.shipped_files import preset_names, resolve_preset, resource_path


def test_an_unknown_preset_names_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="unknown preset `mpl`") as caught:
        resolve_preset("mpl")
    hint = caught.value.problems[0].hint
    assert hint.startswith("did you mean `mlp`?")
    assert hint.endswith(", ".join(preset_names()))
    with pytest.raises(UsageError):
        resolve_preset("reference")
    with pytest.raises(UsageError):
        resolve_preset("../configs/mlp")


@pytest.mark.parametrize("is_installed", [False, True])
def test_shipped_files_are_found_in_both_kinds_of_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    package = tmp_path / "makemore"
    monkeypatch.setattr("makemore.shipped_files.__file__", str(package / "shipped_files.py"))
    home = package / "resources" if is_installed else tmp_path
    (home / "configs").mkdir(parents=True)
    assert resource_path("configs", "mlp.yaml") == home / "configs" / "mlp.yaml"
