"""`conclugen report` and `conclugen dashboard`: look at the results of sweeps.

`sweeps.cli.bundle` writes and verifies bundles of reports.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conclugen.counts import counted
from reports import EQUIVALENT
from sweeps.cli.bundle import bundle_problems, make_bundle
from sweeps.cli.console import (
    INCOMPLETE,
    INTERRUPTED,
    OK,
    AsJson,
    Encoding,
    SweepDir,
    bad_input,
    command,
    console,
    records,
    sweep_folder,
)
from sweeps.config import ConfigError, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Record
from sweeps.tables import Fitted

if TYPE_CHECKING:
    from reports.contents import Report
    from reports.statistics.embedding import Representations

__all__ = ["dashboard", "make_report", "report"]

Bundling = Callable[[Sequence[Sequence[Record]], "Report", Sequence[Path]], None]


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of sweeps, finished or not.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for tables, figures and index.html.")],
    published: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv", help="Published numbers to show beside ours: dataset,method,metric,value,source."
        ),
    ] = None,
    encoding: Encoding = None,
    embeddings: Annotated[
        bool,
        typer.Option("--embeddings", help="Draw t-SNE of the test samples' representations by the best heads, too."),
    ] = False,
    equivalent: Annotated[
        float,
        typer.Option(metavar="SCORE", min=0, max=1, help="The largest difference of two methods that does not matter."),
    ] = EQUIVALENT,
    compare: Annotated[bool, typer.Option("--compare", help="Compare two sweeps of the same data instead.")] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="FILE.zip", help="ZIP to write, too, with all that a reviewer needs."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make tables, figures and one page of the ledgers of one or more sweeps."""
    with bad_input():
        problems = []
        if compare and len(folders) != 2:
            given = "1 folder is" if len(folders) == 1 else f"{len(folders)} folders are"
            problems.append(f"--compare: compares two sweeps, but {given} given; give two.")
        if compare and published is not None:
            problems.append("--published: a comparison shows no published numbers; leave --compare or --published out.")
        if encoding is not None and published is None:
            problems.append("--encoding: is that of --published, which is not given; leave it out.")
        if compare and embeddings:
            problems.append("--embeddings: a comparison draws no embeddings; leave --compare or --embeddings out.")
        if compare and equivalent != EQUIVALENT:
            problems.append(
                "--equivalent: a comparison tests no pairs of methods; leave --compare or --equivalent out."
            )
        problems += [*_folder_problems(folders, compare=compare), *_out_problems(out)]
        if bundle is not None:
            problems += bundle_problems(bundle)
        if problems:
            raise ConfigError(problems)
        limit = None if equivalent == EQUIVALENT else equivalent
        options = {
            "--out": out, "--published": published, "--encoding": encoding, "--equivalent": limit, "--bundle": bundle,
        }  # fmt: skip
        settings = [str(part) for option in options.items() if option[1] is not None for part in option]
        flags = [flag for flag, wanted in (("--embeddings", embeddings), ("--compare", compare)) if wanted]
        command_line = command("report", *folders, *settings, *flags)
        bundled = None
        if bundle is not None:
            from reports.bundle.manifest import Options

            chosen = Options(
                compare=compare, embeddings=embeddings, encoding=encoding, equivalent=equivalent,
                published=published is not None,
            )  # fmt: skip
            bundled = partial(make_bundle, bundle, folders, chosen, command_line, published, as_json)
        try:
            if compare:
                code = _make_comparison(folders, out, command_line, bundled, as_json=as_json)
            else:
                code = make_report(
                    folders, out, command_line, published, encoding, embeddings=embeddings, equivalent=equivalent,
                    bundled=bundled, as_json=as_json,
                )  # fmt: skip
        except KeyboardInterrupt:
            typer.echo(f"interrupted; {out} is as it was before.", err=True)
            code = INTERRUPTED
    raise typer.Exit(code)


def _folder_problems(folders: list[Path], *, compare: bool) -> Iterator[str]:
    """Yield a message for each folder that holds no sweep, or a sweep that is given already."""
    given: dict[Path, Path] = {}
    identities: dict[str, Path] = {}
    for folder in folders:
        try:
            layout = sweep_folder(folder)
        except ConfigError as error:
            yield from error.problems
            continue
        first = given.setdefault(folder.resolve(), folder)
        if first is not folder:
            yield f"{folder}: is given twice; give each sweep once."
        elif not compare:  # a copy that was extended may be compared with the original
            with suppress(OSError, ConfigError):  # an identity that is missing or damaged tells nothing
                first = identities.setdefault(layout.identity, folder)
            if first is not folder:
                yield f"{folder}: is a copy of {first}, which is the same sweep; give one of them."


def _out_problems(out: Path) -> list[str]:
    """Return a message if no report can be written into ``out``."""
    from reports.folder import folder_problems

    for folder in (out, *out.resolve().parents):
        layout = SweepFolder(folder)
        if layout.config.is_file() and layout.ledger.is_dir() and layout.reserves(out):
            return [f"--out {out}: is a folder of the sweep in {folder}; give another, such as {folder / 'report'}."]
    return folder_problems(out)


def dashboard(
    folder: SweepDir,
    host: Annotated[str, typer.Option(metavar="HOST", help="Name or address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0 for any that is free.")
    ] = 8080,
) -> None:
    """Show a sweep's Optuna studies in a browser, while it runs or later; changes nothing."""
    with bad_input():
        layout = sweep_folder(folder)
        config = load_config(layout.config, alone=True, written=True)
        from sweeps.actions.dashboard import serve

        def ready(address: str) -> None:
            typer.echo(f"{address} shows the studies of sweep {config.name}; Ctrl-C ends it.")

        with suppress(KeyboardInterrupt):  # Ctrl-C is the only way to end it
            serve(config, layout, host, port, ready)


def make_report(
    folders: list[Path],
    out: Path,
    command_line: str,
    published: Path | None = None,
    encoding: str | None = None,
    *,
    embeddings: bool = False,
    equivalent: float = EQUIVALENT,
    bundled: Bundling | None = None,
    as_json: bool = False,
) -> int:
    """Write the report of the sweeps in ``folders``, print what was found, and return the exit code.

    Args:
        folders: the sweep folders.
        out: folder for the report.
        command_line: the command that makes this report again, which the report quotes.
        published: CSV file of published numbers.
        encoding: encoding of that file; None for UTF-8.
        embeddings: whether to draw representations of test samples, too.
        equivalent: the largest difference between two methods that does not matter.
        bundled: writes the report's bundle, from its ledgers, its contents and its files.
        as_json: whether to print one JSON document instead of sentences and tables.

    Raises:
        LedgerError: a ledger cannot be read, or there is nothing to report.
        ReportError: the ledgers or the published numbers cannot be made into a report.
    """
    from reports.processes import Processes, processors

    with Processes(
        processors(), ["reports.report", "reports.writing", "sklearn.ensemble"]
    ) as processes:  # the latter for Optuna's fANOVA
        from reports.report import report
        from reports.statistics.shared_sets import named_apart, refuse_mixing
        from reports.writing import write_report

        ledgers = named_apart(records(folders), folders)
        refuse_mixing(ledgers)  # before heads are loaded
        represented = _represented(folders, ledgers) if embeddings else []
        content = report(ledgers, folders, command_line, published, encoding, represented, processes, equivalent)
        if bundled is None:
            ledgers.clear()  # figures need the memory of a large ledger
        files = write_report(content, out, processes)
    _print(content, out, files, "tables and figures", as_json=as_json)
    if bundled is not None:
        bundled(ledgers, content, files)
    return OK if content.complete else INCOMPLETE


def _represented(folders: list[Path], ledgers: list[list[Record]]) -> "list[Representations]":
    """Represent test samples by the kept heads of each sweep, and print which methods and sets are left out."""
    from sweeps.cli.representations import representations

    omissions: list[str] = []
    represented: list[Representations] = []
    for folder, ledger in zip(folders, ledgers, strict=True):
        represented += representations(folder, ledger, omissions)
    if omissions:
        typer.echo("\n  ".join(["--embeddings: left out:", *omissions]), err=True)
    return represented


def _make_comparison(
    folders: list[Path], out: Path, command_line: str, bundled: Bundling | None, *, as_json: bool
) -> int:
    """Write and print the comparison of two sweeps, and return the exit code."""
    from reports.report import comparison_report
    from reports.writing import write_report

    ledgers = records(folders)
    content = comparison_report(ledgers, folders, command_line)
    files = write_report(content, out)
    _print(content, out, files, "tables", as_json=as_json)
    if bundled is not None:
        bundled(ledgers, content, files)
    return OK


def _print(content: "Report", out: Path, files: Sequence[Path], kinds: str, *, as_json: bool) -> None:
    """Print what was found, the main tables and where the report is; or one JSON document."""
    from reports.output.findings import document, terminal_findings
    from reports.output.terminal import terminal_table
    from reports.statistics.gaps import gap_sentences

    if as_json:
        printed = document(content.findings, content.further, out, files, complete=content.complete, rows=content.rows)
        typer.echo(json.dumps(printed, indent=2, allow_nan=False))
        return
    console().print(terminal_findings(content.findings, len(content.further)))
    for table in content.main:
        console().print(Fitted(terminal_table(table)))
    if content.rows:
        typer.echo(f"Rows with gaps: {'; '.join(gap_sentences(content.rows))}.")
    typer.echo(f"Report: {files[0]}, and {counted(len(files) - 1, 'file')} of {kinds} beside it")
