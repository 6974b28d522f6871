"""Verifies a bundle: computes its report again from its ledgers, and compares all that can be compared.

The report is written without figures into a temporary folder, and its files are compared with those of the bundle. The
page and the figures are covered by their checksums only: they show the numbers of the tables. Embeddings need the
heads, which are not in the bundle.
"""

import csv
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from reports.bundle.archive import unpack
from reports.bundle.comparison import Comparison, compare
from reports.bundle.contents import PUBLISHED, REPORT, SPACE
from reports.bundle.manifest import Manifest, read_manifest
from reports.contents import Report
from reports.errors import ReportError
from reports.processes import ALONE, Processes
from reports.report import comparison_report, report
from reports.statistics.shared_sets import named_apart
from reports.writing import write_report
from sweeps.ledger import Ledger, Record, with_space

__all__ = ["Verification", "verify"]

_UNCOMPARED = (".html", ".svg", ".png", ".pdf")
_DOCUMENTS = ("tables.tex", "report-files.json")  # lists of files, the figures among them
_EMBEDDINGS = "embeddings"
_UNUSABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, csv.Error, pa.ArrowException)
"""What a record or table raises whose content makes no sense; bundles come from strangers."""


@dataclass(frozen=True)
class Verification:
    """What the check of a bundle found."""

    manifest: Manifest
    changed: Mapping[str, str]
    """File of the report that is not as it was written -> what is wrong with it."""
    versions: Mapping[str, tuple[str, str]]
    """What differs between the authors' environment and this one -> (theirs, this one)."""
    comparison: Comparison

    @property
    def exact(self) -> bool:
        """Whether texts were compared exactly: the environments are the same."""
        return not self.versions

    @property
    def equal(self) -> bool:
        """Whether every file is as written, and every number as computed."""
        return not self.changed and not self.comparison.differences


def verify(path: Path, environment: Mapping[str, str], processes: Processes = ALONE) -> Verification:
    """Check a bundle.

    Args:
        path: the ZIP.
        environment: this process's processor and versions.
        processes: processes that share the long computations.

    Raises:
        ReportError: the file is no bundle, or what the numbers are computed from is damaged.
        OSError: the file cannot be read, or no temporary file can be written.
    """
    with tempfile.TemporaryDirectory(prefix="conclugen-verify-") as temporary:
        bundle, again = Path(temporary) / "bundle", Path(temporary) / "again"
        bundle.mkdir()
        changed = unpack(path, bundle)
        manifest = read_manifest(bundle, path)
        if fatal := {name: what for name, what in changed.items() if not name.startswith(f"{REPORT}/")}:
            problems = [f"{path}: {name} {what}; no number can be checked." for name, what in fatal.items()]
            raise ReportError("\n".join(problems))
        versions = _differing(manifest.environment, environment)
        try:
            content = _computed(bundle, manifest, processes)
            write_report(_without_figures(content), again, processes)
            names = _comparable(bundle / REPORT, again)
            comparison = compare(bundle / REPORT, again, names, exact=not versions)
        except _UNUSABLE as error:
            raise ReportError(f"{path}: no report can be computed from its records: {error}") from None
    return Verification(manifest, changed, versions, comparison)


def _differing(theirs: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    names = dict.fromkeys([*theirs, *ours])
    pairs = {name: (theirs.get(name, "unknown"), ours.get(name, "unknown")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _computed(bundle: Path, manifest: Manifest, processes: Processes) -> Report:
    """Compute the report of an unpacked bundle."""
    options = manifest.options
    ledgers = [_records(_inside(bundle, sweep.folder)) for sweep in manifest.sweeps]
    folders = [Path(sweep.given) for sweep in manifest.sweeps]
    if options.compare:
        return comparison_report(ledgers, folders, manifest.command, [sweep.shown for sweep in manifest.sweeps])
    published = bundle / PUBLISHED if options.published else None
    return report(
        named_apart(ledgers, folders), folders, manifest.command, published, options.encoding,
        processes=processes, equivalent=options.equivalent,
    )  # fmt: skip


def _inside(bundle: Path, name: str) -> Path:
    folder = bundle / name
    if not folder.resolve().is_relative_to(bundle.resolve()):
        raise ReportError(f"MANIFEST.json: {name} lies outside the bundle.")
    return folder


def _records(folder: Path) -> list[Record]:
    return with_space(list(Ledger(folder / "ledger")), folder / SPACE)


def _without_figures(content: Report) -> Report:
    return replace(content, parts=[replace(part, figures=()) for part in content.parts])


def _comparable(bundled: Path, again: Path) -> Sequence[str]:
    """Return the names of the files of either report that the other should have in the same words."""
    names = {path.name for folder in (bundled, again) for path in folder.iterdir()}
    return sorted(
        name
        for name in names
        if Path(name).suffix not in _UNCOMPARED and Path(name).stem != _EMBEDDINGS and name not in _DOCUMENTS
    )
