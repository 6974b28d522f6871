"""The reference pages, made from the code: command line, settings, hyperparameters, records, Python.

The pages are committed, so that they can be read without a build. ``python -m documentation`` writes them, and
`tests/documentation/test_reference.py` fails if they differ from the code.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from conclugen.hyperparameters import USES, Hyperparameters, Use
from documentation.commands import command_page
from documentation.python_api import python_page
from sweeps.config import SweepConfig
from sweeps.ledger.records import BASELINES, Hardware, Metric, Predictions, Record

__all__ = ["FOLDER", "pages"]

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

_GENERATED = "<!-- Made from the code by `python -m documentation`; do not edit. -->"
_SIGNS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def pages() -> dict[str, str]:
    """Return each page's file name and text."""
    return {
        "command-line.md": f"{_GENERATED}\n\n{command_page()}",
        "settings.md": f"{_GENERATED}\n\n{_settings_page()}",
        "hyperparameters.md": f"{_GENERATED}\n\n{_hyperparameters_page()}",
        "ledger.md": f"{_GENERATED}\n\n{_ledger_page()}",
        "python.md": f"{_GENERATED}\n\n{python_page()}",
    }


def _settings_page() -> str:
    rows = list(_settings(SweepConfig))
    sections: dict[str, list[str]] = {}
    for name, row in rows:
        sections.setdefault(name.partition(".")[0] if "." in name else "", []).append(row)
    text = [
        "# Settings",
        "A sweep's configuration is a YAML file with these settings. `conclugen sweep run CONFIG --set KEY=VALUE` "
        "overrides any of them. [Configuration files](configuration.md) says how such a file is read.",
    ]
    for section, settings in sections.items():
        text.append(f"## `{section}`" if section else "## The sweep")
        text.append("\n".join(["| setting | default | meaning |", "|---|---|---|", *settings]))
    return "\n\n".join(text) + "\n"


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and the row of each setting; sections of the file come in the model's order."""
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from _settings(section, f"{prefix}{name}.")
        else:
            yield prefix + name, f"| `{prefix}{name}` | {_default(name, field)} | {field.description} |"


def _default(name: str, field: FieldInfo) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "required"
    return "`all`" if name == "subsets" else _literal(default)


def _literal(value: object) -> str:
    """Return a value as YAML writes it, in code."""
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if value is None or isinstance(value, bool):
        return f"`{'null' if value is None else str(value).lower()}`"
    return f"`{value}`"


def _hyperparameters_page() -> str:
    meanings = _attribute_docs(Hyperparameters)
    hints = get_type_hints(Hyperparameters, include_extras=True)
    rows = [
        f"| `{field.name}` | {_literal(field.default)} | {_allowed(hints[field.name])} | "
        f"{_used_by(USES[field.name], meanings[field.name])} | {_cell(meanings[field.name])} |"
        for field in fields(Hyperparameters)
    ]
    text = [
        "# Hyperparameters",
        "A [search space](../how-to/search-space.md) gives each of them a value, choices or a range. The defaults hold "
        "for hyperparameters that a space does not name. They reproduce the released code, except for k-means.",
        "\n".join(["| hyperparameter | default | allowed | used by | meaning |", "|---|---|---|---|---|", *rows]),
    ]
    return "\n\n".join(text) + "\n"


def _allowed(hint: Any) -> str:
    """Return the values that an annotation allows, in words."""
    kind, notes = (hint.__origin__, hint.__metadata__) if get_origin(hint) is Annotated else (hint, ())
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if kind is bool:
        return "`true`, `false`"
    limits = [
        f"{word} {getattr(limit, sign):,}"
        for note in notes
        for limit in getattr(note, "metadata", ())
        for sign, word in _SIGNS.items()
        if hasattr(limit, sign)
    ]
    name = {int: "an integer", float: "a number"}[kind]
    return f"{name}, {' and '.join(limits)}" if limits else name


def _used_by(use: Use, meaning: str) -> str:
    """Return the methods whose runs use a hyperparameter, in words; a meaning may begin with a baseline."""
    if (baseline := meaning.partition(":")[0]) in BASELINES:
        return baseline
    losses = [str(loss) for loss in sorted(use.losses)]
    if not losses:
        return "all"
    words = "any loss" if len(losses) == 3 else " or ".join(losses)
    return words if use.least == 1 else f"{words}, beside other losses"


def _ledger_page() -> str:
    text = [
        "# Records of the ledger",
        "A sweep's `ledger/` has one Arrow file for each finished job. Each file is one `Record`. Reports read nothing "
        "else. `sweeps.ledger.Ledger` reads the folder and checks each file's checksum.",
    ]
    for schema in (Record, Metric, Predictions, Hardware):
        docs = _attribute_docs(schema)
        hints = get_type_hints(schema)
        rows = [
            f"| `{field.name}` | {_type(hints[field.name])} | {_field_default(field)} | "
            f"{_cell(docs.get(field.name, ''))} |"
            for field in fields(schema)
        ]
        text += [f"## {schema.__name__}", inspect.cleandoc(schema.__doc__ or "")]
        text.append("\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows]))
    return "\n\n".join(text) + "\n"


def _type(hint: Any) -> str:
    """Return an annotation in words."""
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join("nothing" if part is type(None) else _type(part) for part in arguments)
    if not arguments:
        return f"`{hint.__name__}`"
    inner = ", ".join("..." if part is Ellipsis else _type(part).replace("`", "") for part in arguments)
    return f"`{hint.__origin__.__name__}[{inner}]`"


def _field_default(field: "Field[Any]") -> str:
    if field.default is not MISSING:
        return "empty" if field.default in ("", (), b"") else _literal(field.default)
    return "required" if field.default_factory is MISSING else "empty"


def _attribute_docs(cls: type) -> dict[str, str]:
    """Return the docstrings below the attributes of a class."""
    (tree,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101
    docs: dict[str, str] = {}
    for attribute, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(attribute, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            docs[ast.unparse(attribute.target)] = inspect.cleandoc(str(text.value.value))
    return docs


def _cell(text: str) -> str:
    """Return a docstring as the cell of a Markdown table."""
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())
