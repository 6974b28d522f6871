"""MANIFEST.json of a bundle: how its report was made, by which versions, from which sweeps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from reports import EQUIVALENT
from reports.errors import ReportError

__all__ = ["FORMAT", "MANIFEST", "BundledSweep", "Manifest", "Options", "read_manifest"]

FORMAT = 1
"""The version of a bundle's layout."""
MANIFEST = "MANIFEST.json"


class Options(BaseModel):
    """The options of a report that change its numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    compare: bool = False
    embeddings: bool = False
    encoding: str | None = None
    """Encoding of the published numbers; None for UTF-8."""
    equivalent: float = EQUIVALENT
    published: bool = False
    """Whether published numbers are shown."""


class BundledSweep(BaseModel):
    """A sweep of the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    given: str
    """The sweep's folder, as it was given to the command."""
    shown: str
    """What a comparison calls the sweep."""
    folder: str
    """The sweep's folder in the bundle."""
    records: int
    """Records that the report was computed from."""
    former_records: int
    """Records that were set aside, and that no number comes from."""
    space: str | None
    """File of the search space in the bundle; None if it was gone."""
    features: Mapping[str, str]
    """Fingerprint of each feature set, by its place in the configuration."""
    versions: Sequence[Mapping[str, str]]
    """Versions of code and libraries, once for each combination in the records."""


class Manifest(BaseModel):
    """How the report of a bundle was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    command: str
    options: Options
    environment: Mapping[str, str]
    """The processor, and the versions of Python and the libraries, that computed the report."""
    sweeps: Sequence[BundledSweep]


def read_manifest(folder: Path, source: Path) -> Manifest:
    """Read the manifest of an unpacked bundle.

    Args:
        folder: the unpacked bundle.
        source: the ZIP, for messages.

    Raises:
        ReportError: there is none, or this version cannot read it.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise ReportError(f"{source}: is no bundle of a report: {MANIFEST} is missing.") from None
    try:
        version = _Format.model_validate_json(content).format
        if version != FORMAT:
            raise ReportError(
                f"{source}: is a bundle of format {version}, and this version of conclugen reads {FORMAT}; verify it "
                "by the version that made it."
            )
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        places = ", ".join(dict.fromkeys(".".join(map(str, _place(problem))) for problem in error.errors()))
        raise ReportError(f"{source}: {MANIFEST} cannot be read ({places}); ask for the file again.") from None


def _place(problem: Any) -> Sequence[str | int]:
    return problem["loc"] or [problem["msg"]]


class _Format(BaseModel):
    format: int
