"""Tests of the README's statements that could become outdated unnoticed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from conclugen.hyperparameters import HYPERPARAMETERS
from sweeps.config import SweepConfig

_README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the row of each setting in the README's table."""
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from _settings(section, f"{prefix}{name}.")
            continue
        default = field.default
        if default is PydanticUndefined:
            shown = "required"
        elif name == "subsets":
            shown = "`all`"
        else:
            shown = "`null`" if default is None else f"`{list(default) if isinstance(default, tuple) else default}`"
        yield f"| `{prefix}{name}` | {shown} | {field.description} |"


@pytest.mark.parametrize("row", list(_settings(SweepConfig)))
def test_the_readme_lists_every_setting_with_its_default(row: str) -> None:
    assert row in _README.splitlines()


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_the_readme_explains_every_hyperparameter(name: str) -> None:
    assert f"`{name}`" in _README
