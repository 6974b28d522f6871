"""Loads a configuration from a YAML file and overrides, or lists all problems."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from conclugen.features.manifest import FeatureSetError
from search_spaces import SpaceError
from sweeps.config.errors import ConfigError
from sweeps.config.sweep import SweepConfig
from sweeps.ledger import with_former_settings

__all__ = ["load_config"]


def load_config(
    path: Path, overrides: Sequence[str] = (), *, alone: bool = False, written: bool = False
) -> SweepConfig:
    """Load and check a configuration.

    Args:
        path: the YAML file.
        overrides: settings that replace those of the file, each ``dotted.key=value`` with the value as YAML.
        alone: check only the file itself, to inspect a sweep whose features may be gone.
        written: the file is from a sweep's folder, maybe of an earlier version; settings that the version lacked get
            the values that it worked with.

    Raises:
        ConfigError: the configuration is invalid; the error holds every problem.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: no UTF-8, or no such date
        raise ConfigError([f"{path} cannot be read as YAML: {error}"]) from None
    if not isinstance(data, dict):
        raise ConfigError([f"{path} must hold a mapping of settings, but holds {type(data).__name__}."])
    if written and isinstance(data.get("probe"), dict):
        data = with_former_settings(data)
    problems = [problem for override in overrides if (problem := _apply(data, override)) is not None]
    try:
        config = SweepConfig.model_validate(data, context={"base": path.resolve().parent, "alone": alone})
    except ValidationError as error:
        problems += [message for details in error.errors() for message in _messages(details)]
    if problems:
        raise ConfigError(problems)
    return config


def _apply(data: dict[str, Any], override: str) -> str | None:
    """Set one ``dotted.key=value`` in ``data``; return its problem, if it has one."""
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        return f"--set {override}: expected key=value, such as budget.epochs=30."
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            return f"--set {override}: {parent} is a single value, it has no settings of its own."
    try:
        data[last] = yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        return f"--set {override}: the value is not valid YAML: {error}"
    return None


def _messages(details: Mapping[str, Any]) -> list[str]:
    """Return the messages of one pydantic error, each ``field: value: rule``."""
    # The location also names the branch of a union, such as literal['auto'] or constrained-int.
    field = ".".join(
        part for part in map(str, details["loc"]) if not re.fullmatch(r"literal\[.*\]|(constrained-)?(int|str)", part)
    )
    error = (details.get("ctx") or {}).get("error")
    if isinstance(error, ConfigError | SpaceError):
        return [f"{field}: {problem}" for problem in error.problems]
    if isinstance(error, FeatureSetError):
        return [f"{field}: {error}"]
    if details["type"] == "missing":
        return [f"{field}: is required; add it."]
    if details["type"] == "extra_forbidden":
        return [f"{field}: is no setting of a sweep; the README lists the settings."]
    rule = details["msg"].removeprefix("Value error, ")
    return [f"{field}: {details['input']!r}: {rule[:1].lower()}{rule[1:]}"]
