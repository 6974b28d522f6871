"""Loads a configuration from a YAML file or a mapping, and overrides, or lists all problems."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from conclugen.settings.documents import DocumentError, parse, read_settings
from conclugen.settings.wording import problems_of
from sweeps.config.checks import contradictions, problems_found, valid_part
from sweeps.config.errors import ConfigError
from sweeps.config.sweep import SweepConfig
from sweeps.ledger import with_former_settings

__all__ = ["load_config"]


def load_config(
    source: Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    alone: bool = False,
    written: bool = False,
    later: Sequence[Callable[[SweepConfig], Iterable[str]]] = (),
) -> SweepConfig:
    """Load and check a configuration.

    Args:
        source: the YAML file, or its content; relative paths count from the file's folder, or the working directory.
        overrides: settings that replace those of the file, each ``dotted.key=value`` with the value as YAML.
        alone: check only the file itself, to inspect a sweep whose features may be gone.
        written: the file is from a sweep's folder, maybe of an earlier version; settings that the version lacked get
            the values that it worked with.
        later: checks that the caller makes of a valid configuration, each of which returns problems. An invalid
            configuration gets them here, as far as its valid part allows, so that all problems are listed at once.

    Raises:
        ConfigError: the configuration is invalid; the error holds every problem.
    """
    if isinstance(source, Mapping):
        data, base = _plain(source), Path.cwd()
    else:
        try:
            data, base = read_settings(source), source.resolve().parent
        except DocumentError as error:
            raise ConfigError([f"{source}: {problem}" for problem in error.problems]) from None
    if written:
        data = with_former_settings(data)
    problems = _apply(data, overrides)
    context = {"base": base, "alone": alone, "written": written}
    try:
        config = SweepConfig.model_validate(data, context=context)
    except ValidationError as error:
        problems += problems_of(error, SweepConfig)
        config = valid_part(data, context)
    problems += contradictions(config, alone=alone)
    if problems:
        further = problems_found(config, later)
        if written and not overrides:  # the command was given a folder, so the file of a problem has to be told
            problems = [f"{source}: {problem}" for problem in problems]
        raise ConfigError([*problems, *further])
    return config


def _plain(value: Any) -> Any:
    """Return a copy of a mapping or list with paths as text, as a file has them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _apply(data: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Set each ``dotted.key=value`` in ``data``; return the problems of those that cannot be set."""
    problems: list[str] = []
    earlier: dict[str, str] = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        key = key.strip()
        if not separator or not all(key.split(".")):
            problems.append(f"--set {override}: expected key=value, such as budget.epochs=30.")
            continue
        if (lost := next((other for other in earlier if f"{other}.".startswith(f"{key}.")), None)) is not None:
            problems.append(f"--set {override}: replaces --set {earlier[lost]}; keep one of the two.")
            continue
        earlier[key] = override
        try:
            value = parse(text, lines=False)
        except DocumentError as error:
            problems += [f"--set {key}: {problem}" for problem in error.problems]
            continue
        if (problem := _set(data, key, value)) is not None:
            problems.append(f"--set {override}: {problem}")
    return problems


def _set(data: dict[str, Any], key: str, value: object) -> str | None:
    """Set the setting ``key`` in ``data``; return why that is impossible, or None."""
    *parents, last = key.split(".")
    section: Any = data
    for parent in parents:
        if section.get(parent) is None:
            section[parent] = {}
        section = section[parent]
        if not isinstance(section, dict):
            return f"{parent} is a single value, it has no settings of its own."
    section[last] = value
    return None
