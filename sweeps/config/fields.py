"""The types of a configuration's fields: which names, addresses and metrics are valid, and how they are read.

Some values name things outside the file: a feature set, a space, an earlier sweep. They are resolved and checked here.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from conclugen.features.manifest import Location, Manifest, location_of
from conclugen.settings.documents import plain_value
from conclugen.settings.paths import PathError, expanded, with_variables
from conclugen.settings.wording import alternatives, suggestion
from conclugen.subsets import SUBSETS
from search_spaces import load_space, named_spaces
from sweeps.config.errors import ConfigError
from sweeps.ledger import BASELINES


def with_environment(setting: str, text: str) -> str:
    """Return ``text`` with each ``$VARIABLE`` and ``${VARIABLE}`` replaced by its value in the environment.

    Args:
        setting: the setting that holds the text, for messages.
        text: the text.

    Raises:
        ConfigError: the environment lacks a variable.
    """
    try:
        return with_variables(text)
    except PathError as error:
        raise ConfigError([f"{setting}: {error}"]) from None


def _written_path(value: object, info: ValidationInfo) -> object:
    """Return a path as the user means it, with ``~`` and variables replaced; it may still be relative."""
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError("must be a path.")
    base = (info.context or {}).get("base")
    return expanded(value, base) if isinstance(value, str) and base is not None else value


def _absolute(path: object, info: ValidationInfo) -> object:
    """Return an absolute path; a relative one counts from the folder of the configuration file."""
    base = (info.context or {}).get("base")
    return str(Path(base, path).resolve()) if isinstance(path, str) and base is not None else path


def _resolve(value: object, info: ValidationInfo) -> object:
    """Return the absolute path that a user means."""
    return _absolute(_written_path(value, info), info)


def checks_references(info: ValidationInfo) -> bool:
    """Whether the things that the configuration names (feature sets, spaces, sweeps) are checked as well."""
    return not (info.context or {}).get("alone", False)


def _resolve_set(value: object, info: ValidationInfo) -> object:
    """Return a feature set's location; a path counts from the configuration's folder, a URI stays as it is."""
    path = _written_path(value, info)
    if not isinstance(path, str):
        return path
    location = location_of(path)
    return location_of(str(_absolute(str(location), info))) if isinstance(location, Path) else location


def _readable_set(location: Location, info: ValidationInfo) -> Location:
    if checks_references(info):
        Manifest.read(location)
    return location


def _known_subset(name: object) -> object:
    if name not in SUBSETS:
        near = suggestion(name, ("all", *SUBSETS))
        raise ValueError(f"is no loss subset; allowed are all, or a list of {', '.join(SUBSETS)}.{near}")
    return name


def _known_baseline(name: object) -> object:
    if name not in BASELINES:
        near = suggestion(name, ("all", *BASELINES))
        raise ValueError(f"is no baseline; allowed are all, [] for none, or a list of {', '.join(BASELINES)}.{near}")
    return name


_SCORES = ("f1", "precision", "recall")
_SUMMARIES = (
    "accuracy",
    "balanced_accuracy",
    *(f"{average}_{score}" for average in ("weighted", "macro") for score in _SCORES),
)
"""Metrics of every labelled set that a search can maximise; each class has each score, too."""


def metrics_of(classes: Sequence[str]) -> list[str]:
    """Return the metrics that a search can maximise on a set with these classes."""
    return [*_SUMMARIES, *(f"{score}/{label}" for score in _SCORES for label in classes)]


def _known_metric(name: str) -> str:
    score, separator, _ = name.partition("/")
    if name not in _SUMMARIES and not (separator and score in _SCORES):
        allowed = metrics_of(["<class>"])
        raise ValueError(f"is no metric; allowed are {', '.join(allowed)}.{suggestion(name, allowed)}")
    return name


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise ValueError(f"names something twice: {list(values)}; list each once.")
    return values


def _loadable(name: str, info: ValidationInfo) -> str:
    if checks_references(info):
        load_space(name)
    return name


def _resolve_space(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str | Path):
        raise ValueError(f"must be {alternatives(named_spaces())}, or a YAML file; the parameters go into such a file.")
    return value if value in named_spaces() else _resolve(value, info)


_SECRET = re.compile(r"pass(?!file)|pwd|secret|token", re.IGNORECASE)


def _safe_storage(url: str) -> str:
    """Return a database URL; refuse other texts, and passwords, which everyone could read in the sweep folder."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError("is no database URL such as postgresql://user:${PASSWORD}@host/name.") from None
    options = [(key, value) for key, values in parsed.normalized_query.items() for value in values]
    # One option may hold several others: odbc_connect=DRIVER=...;UID=...;PWD=...
    options += [(key, value) for _, text in options for key, _, value in [o.partition("=") for o in text.split(";")]]
    secrets = [("password", parsed.password or ""), *(option for option in options if _SECRET.search(option[0]))]
    if visible := [key for key, value in secrets if value and not re.fullmatch(r"\$(\w+|\{\w+\})", value)]:
        # The message of a ValueError would repeat the URL.
        raise ConfigError([f"holds a secret ({visible[0]}); put it into the environment, and ${{ITS_VARIABLE}} here."])
    if parsed.drivername.startswith("sqlite") and not Path(parsed.database or "").is_absolute():
        raise ValueError("names a relative file; give its whole path, as in sqlite:////folder/studies.db.")
    return url


def _safe_tracking(uri: str) -> str:
    """Return an address for MLflow; refuse credentials, and texts that MLflow would take for a folder's name."""
    address = urlsplit(uri)
    kind = address.scheme.partition("+")[0]
    if kind in ("http", "https"):
        if address.username is not None:
            raise ConfigError(
                ["holds credentials; MLflow takes them from MLFLOW_TRACKING_USERNAME, _PASSWORD or _TOKEN."]
            )
    elif kind in ("sqlite", "postgresql", "mysql", "mssql"):
        _safe_storage(uri)
    else:
        raise ValueError("must be a server (http, https) or a database (sqlite, postgresql, mysql, mssql).")
    return uri


def _safe_webhook(url: str) -> str:
    """Return the address of a webhook; refuse other texts, and secrets, which everyone could read in the sweep folder.

    A secret in the path cannot be told from another path; the documentation says to take it from the environment.
    """
    if "$" in url:
        return url
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("must be an address such as https://host/path, or ${VARIABLE} for one in the environment.")
    if address.username is not None or address.password is not None or _SECRET.search(address.query):
        raise ConfigError(["holds a secret; put it into the environment, and ${ITS_VARIABLE} here."])
    return url


def as_list(value: object) -> object:
    """Return a list: one value becomes a list of it, values between commas a list of them, and None an empty list."""
    if isinstance(value, str) and "," in value:
        return [plain_value(part.strip()) for part in value.split(",") if part.strip()]
    return [] if value is None else [value] if isinstance(value, int | float | str) else value


def as_lists(value: object) -> object:
    """Return a list of lists: one list of words, or words between commas, becomes a list of it."""
    entries = as_list(value)
    return [entries] if isinstance(entries, list) and entries and not any(map(_is_list, entries)) else entries


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        proposal = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._")[:64]
        raise ValueError(
            "must begin with a letter or digit and hold at most 64 letters, digits, dots, hyphens and underscores"
            f"{f'; write {proposal}' if proposal else ''}."
        )
    return name


def _sweep_folder(path: Path, info: ValidationInfo) -> Path:
    if checks_references(info) and not (path / "config.yaml").is_file():
        raise ValueError("is no sweep's folder (config.yaml is missing); give the --out of a sweep run.")
    return path


FeatureFolder = Annotated[Location, BeforeValidator(_resolve_set), AfterValidator(_readable_set)]
Name = Annotated[str, AfterValidator(_name)]
Positive = Annotated[int, Field(gt=0, le=1_000_000, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Fraction = Annotated[Number, Field(gt=0, lt=1)]
Hours = Annotated[Number, Field(gt=0, le=100_000)]
MetricName = Annotated[str, AfterValidator(_known_metric)]
SubsetName = Annotated[str, BeforeValidator(_known_subset)]
BaselineName = Annotated[str, BeforeValidator(_known_baseline)]
SpaceName = Annotated[str, BeforeValidator(_resolve_space), AfterValidator(_loadable)]
StorageUrl = Annotated[str, AfterValidator(_safe_storage)]
SweepFolderPath = Annotated[Path, BeforeValidator(_resolve), AfterValidator(_sweep_folder)]
TrackingUri = Annotated[str, AfterValidator(_safe_tracking)]
Text = Annotated[str, Field(min_length=1)]
Unique = AfterValidator(_unique)
WebhookUrl = Annotated[str, AfterValidator(_safe_webhook)]
