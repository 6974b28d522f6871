"""`conclugen report --bundle` and `conclugen report verify`: what a reviewer needs, and the check of it."""

import json
import platform
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from conclugen import __version__
from conclugen.counts import counted
from sweeps.cli.console import INCOMPLETE, INTERRUPTED, OK, AsJson, bad_input, command, console
from sweeps.config import ConfigError
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, Record
from sweeps.ledger.comparability import CODE
from sweeps.processor import processor_name
from sweeps.tables import Fitted

if TYPE_CHECKING:
    from reports.bundle.manifest import Options
    from reports.bundle.verification import Verification
    from reports.contents import Report

__all__ = ["bundle_problems", "make_bundle", "verify"]

_PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "statsmodels", "optuna")
"""Libraries that a report's numbers come from."""
_MOST_SHOWN = 40
"""How many differences a terminal shows; --json has all."""


def bundle_problems(bundle: Path) -> Iterator[str]:
    """Yield a message for each reason why the bundle of a report cannot be written to ``bundle``."""
    if bundle.suffix != ".zip":
        yield f"--bundle {bundle}: is no name of a ZIP; let it end in .zip."
    for folder in bundle.resolve().parents:
        layout = SweepFolder(folder)
        if layout.config.is_file() and layout.ledger.is_dir() and layout.reserves(bundle):
            yield f"--bundle {bundle}: lies in a folder of the sweep in {folder}; give another."
    if bundle.is_dir():
        yield f"--bundle {bundle}: is a folder; give a file."
    elif bundle.exists() and not _is_bundle(bundle):
        yield f"--bundle {bundle}: exists, and is no bundle of a report; give another name, or remove it."


def _is_bundle(path: Path) -> bool:
    from reports.bundle.archive import ROOT
    from reports.bundle.manifest import MANIFEST

    try:
        with zipfile.ZipFile(path) as archive:
            return f"{ROOT}/{MANIFEST}" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def make_bundle(
    bundle: Path,
    folders: Sequence[Path],
    options: "Options",
    command_line: str,
    published: Path | None,
    to_stderr: bool,
    ledgers: Sequence[Sequence[Record]],
    content: "Report",
    files: Sequence[Path],
) -> None:
    """Write the bundle of a report, and print where it is.

    Args:
        bundle: the ZIP.
        folders: the sweep folders.
        options: the report's options.
        command_line: the command that makes the report again.
        published: the file of published numbers.
        to_stderr: whether the message goes to standard error, since standard output has something for programs.
        ledgers: records of each sweep that the report was computed from.
        content: the report.
        files: the report's files.

    Raises:
        LedgerError: a record has gone since the report was computed.
        OSError: a file cannot be read or written.
    """
    from reports.bundle.contents import SweepFiles, write_bundle

    layouts = [SweepFolder(folder) for folder in folders]
    sweeps = [
        SweepFiles(
            layout.root,
            Ledger(layout.ledger),
            {path.name: path for path in (layout.config, layout.sessions) if path.is_file()},
        )
        for layout in layouts
    ]
    rows = {table.name: len(table.numbers) for part in content.parts for table in part.tables}
    try:
        bundle.parent.mkdir(parents=True, exist_ok=True)
        write_bundle(bundle, files, sweeps, ledgers, rows, options, command_line, _environment(), published)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; the report is written, and {bundle} is as it was before.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    size = f"{bundle.stat().st_size / 1e6:.1f} MB"
    advice = f"`{command('report', 'verify', bundle)}` computes its numbers again"
    typer.echo(f"Bundle: {bundle}, {size}; {advice}", err=to_stderr)


def _environment() -> dict[str, str]:
    """Return what the last digits of a report may depend on."""
    return {
        CODE: __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        "processor": processor_name(),
    }


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="A bundle, from `conclugen report --bundle`.")],
    as_json: AsJson = False,
) -> None:
    """Check a bundle: its files, and every number of its report, computed again from its ledgers.

    A sweep folder that is called verify is reported as ./verify.
    """
    with bad_input():
        if not file.is_file():
            folder = "; a sweep folder called verify is ./verify" if Path("verify").is_dir() else ""
            raise ConfigError([f"{file}: is no file; give a bundle, from `conclugen report --bundle`{folder}."])
        from reports.processes import Processes, processors

        with Processes(processors(), ["reports.report", "reports.writing", "sklearn.ensemble"]) as processes:
            from reports.bundle.verification import verify as verified

            result = verified(file, _environment(), processes)
    if as_json:
        typer.echo(json.dumps(_document(result), indent=2))
    else:
        _print(result)
    raise typer.Exit(OK if result.equal else INCOMPLETE)


def _document(result: "Verification") -> Mapping[str, Any]:
    return {
        "equal": result.equal,
        "tables": result.comparison.tables,
        "numbers": result.comparison.numbers,
        "changed_files": result.changed,
        "differences": [asdict(difference) for difference in result.comparison.differences],
        "other_versions": {name: {"bundle": theirs, "here": ours} for name, (theirs, ours) in result.versions.items()},
        "command": result.manifest.command,
    }


def _print(result: "Verification") -> None:
    from reports.bundle.comparison import ABSOLUTE, RELATIVE

    for name, what in result.changed.items():
        typer.echo(f"{name}: {what}")
    if not result.exact:
        other = ", ".join(f"{name} {theirs} (here {ours})" for name, (theirs, ours) in result.versions.items())
        typer.echo(
            f"note: the bundle was made by {other}. So numbers are equal up to {RELATIVE:g} of their value or "
            f"{ABSOLUTE:g}, and only the tables' CSV files are compared."
        )
    if result.manifest.options.embeddings:
        typer.echo("note: embeddings are not computed again, since the heads are not in the bundle.")
    differences = result.comparison.differences
    if differences:
        table = Table(title="What differs", title_justify="left")
        for heading in ("file", "row", "column", "in the bundle", "computed"):
            table.add_column(heading)
        for difference in differences[:_MOST_SHOWN]:
            table.add_row(*asdict(difference).values())
        console().print(Fitted(table))
        if len(differences) > _MOST_SHOWN:
            typer.echo(f"{len(differences) - _MOST_SHOWN} more are left out; --json has all.")
    numbers, tables = counted(result.comparison.numbers, "number"), counted(result.comparison.tables, "table")
    typer.echo(f"{numbers} in {tables}: {counted(len(differences), 'difference') if differences else 'all equal'}")
