"""The page of the Python interface, made from the signatures and docstrings of what `sweeps` offers."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import sweeps

__all__ = ["python_page"]

_ROLE = re.compile(r":\w+:`~?([\w.]+)`")


def python_page() -> str:
    """Return the page that lists each name of ``sweeps.__all__``, and the public members of its classes."""
    parts = [
        "# Python",
        "These names stay, or go away with a warning; `CONTRIBUTING.md` says so, and what else is public. "
        "[Use a sweep in Python](../how-to/python.md) shows them at work. Opening a sweep loads pandas, but neither "
        "torch nor Ray.",
    ]
    for name in sorted(sweeps.__all__, key=lambda name: ("open", "run", "Sweep", "Best").index(name)):
        thing = getattr(sweeps, name)
        parts.append(_entry("##", f"sweeps.{name}", thing))
        if inspect.isclass(thing):
            parts += [_entry("###", f"{name}.{member}", value) for member, value in _members(thing)]
    return "\n\n".join(parts) + "\n"


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class, in the order of its source."""
    for name, value in vars(cls).items():
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            yield name, value


def _entry(level: str, name: str, thing: Any) -> str:
    text = _docstring(inspect.getdoc(thing) or "")
    if isinstance(thing, property):
        return f"{level} `{name}`\n\n{text}"
    signature = re.sub(r"\(self(?:, )?", "(", str(inspect.signature(thing)))
    shown = re.sub(r"pathlib\._local\.|pathlib\.|collections\.abc\.|typing\.|sweeps\.\w+\.\w+\.", "", signature)
    shown = re.sub(r"(: |-> )'(\w+)'", r"\1\2", shown)
    if inspect.isclass(thing):
        return f"{level} `{name}`\n\n{text}"
    return f"{level} `{name}`\n\n```text\n{name}{shown}\n```\n\n{text}"


def _docstring(text: str) -> str:
    """Return a docstring of Google's style as Markdown: its sections become lists."""
    text = _ROLE.sub(lambda match: f"`{match[1].rpartition('.')[2]}`", text).replace("``", "`")
    paragraphs = []
    for paragraph in text.split("\n\n"):
        title, _, entries = paragraph.partition("\n")
        if re.fullmatch(r"(Args|Raises|Attributes):", title):
            items = re.findall(r"^    ([\w.]+): ((?:.|\n(?!    [\w.]+: ))*)", entries, re.MULTILINE)
            listed = [f"* `{name}`: {' '.join(meaning.split())}" for name, meaning in items]
            paragraphs.append("\n".join([f"**{title[:-1]}**", "", *listed]))
        else:
            paragraphs.append(paragraph)
    return "\n\n".join(paragraphs)
