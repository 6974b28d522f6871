"""The command line: arguments in, messages and exit codes out; what it does is elsewhere.

Exit codes: 0 done; 1 done, but some cell of the table has no result; 2 bad input, with every problem listed and
nothing written; 130 interrupted.

Modules that load torch, Ray or pandas are imported by the commands that need them, so that `--help` and a refused
configuration answer at once.
"""

import gc
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conclugen import __version__
from sweeps.cli import extract, features, manifest, sweep
from sweeps.cli.console import (
    INCOMPLETE,
    INTERRUPTED,
    OK,
    SweepDir,
    bad_input,
    command,
    console,
    records,
    sweep_folder,
    to_the_end,
)
from sweeps.config import ConfigError, load_config
from sweeps.ledger import Record

if TYPE_CHECKING:
    from reports.figures.embedding import Represented

__all__ = ["main"]

app = typer.Typer(
    help="Sweep and ablate ConCluGen pretraining: seven loss subsets, searched fairly, on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.add_typer(features.app, name="features")
app.add_typer(manifest.app, name="manifest")
app.add_typer(sweep.app, name="sweep")
app.command("extract")(extract.extract)


def main() -> None:
    """Run the command line; console script `conclugen`."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        gc.freeze()  # on its way out Python would look for cycles among all that was loaded: most of a second


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of the command itself, before any subcommand."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for data, sweep and report; must be new.")] = Path(
        "conclugen-demo"
    ),
) -> None:
    """Sweep all seven loss subsets on small built-in data and report: two to three minutes on two cores.

    The data are scikit-learn's bundled handwritten digits seen three ways (pixels, 2D Fourier magnitudes,
    gradient-orientation histograms), which stand in for video, audio and text. No claim about faces follows.
    """
    with bad_input():
        if out.exists():
            raise ConfigError([f"--out {out}: exists; choose another folder, or remove it first."])
        from sweeps.actions.demo import write_demo

        config_file = write_demo(out)
        typer.echo(
            "Demo data: scikit-learn's handwritten digits. Pixels, Fourier magnitudes and gradient orientations\n"
            f"stand in for video, audio and text. Configuration: {config_file}"
        )
        from sweeps.actions.run import launch

        to_the_end(out / "sweep", lambda interrupts: launch(load_config(config_file), out / "sweep", interrupts))
        code = _report([out / "sweep"], out / "report", command("report", out / "sweep", "--out", out / "report"))
    raise typer.Exit(code)


@app.command()
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

        with suppress(KeyboardInterrupt):  # there is no other way to end it
            serve(config, layout, host, port, ready)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of sweeps, finished or not.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for tables, figures and index.html.")],
    published: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv", help="Published numbers to show beside ours: dataset,method,metric,value,source."
        ),
    ] = None,
    embeddings: Annotated[
        bool,
        typer.Option("--embeddings", help="Draw t-SNE of the test samples' representations by the best heads, too."),
    ] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Compare two sweeps of the same data instead.")] = False,
) -> None:
    """Make tables, figures and one page of the ledgers of one or more sweeps."""
    with bad_input():
        problems = []
        if compare and len(folders) != 2:
            problems.append(f"--compare: compares two sweeps, but {len(folders)} folders are given; give two.")
        if compare and published is not None:
            problems.append("--published: stands beside one report, not a comparison; leave --compare out.")
        if compare and embeddings:
            problems.append("--embeddings: are drawn in one report, not in a comparison; leave --compare out.")
        for folder in folders:
            try:
                sweep_folder(folder)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        asked = command("report", *folders, "--out", out)
        if published is not None:
            asked += f" {shlex.join(['--published', str(published)])}"
        if embeddings:
            asked += " --embeddings"
        if compare:
            asked += " --compare"
        code = _compare(folders, out, asked) if compare else _report(folders, out, asked, published, embeddings)
    raise typer.Exit(code)


@app.command()
def export(
    folder: SweepDir,
    subset: Annotated[str, typer.Option(metavar="NAME", help="Method as the tables call it, such as ConCluGen.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the model; must be new or empty.")],
) -> None:
    """Write a subset's best head as a Hugging Face model folder: raw features in, representations out."""
    with bad_input():
        layout = sweep_folder(folder)
        from sweeps.actions.export import export_best

        record = export_best(layout, subset, out)
    typer.echo(f"{out}: {record.method}, confirmation seed {record.number}, best on validation data.")


@app.command("import-checkpoint")
def import_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE.ckpt", help="A checkpoint of the authors' released code.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the model; must be new or empty.")],
) -> None:
    """Turn the authors' released weights into the same folder format; nothing in the file is executed."""
    with bad_input():
        from sweeps.actions.export import import_released

        config = import_released(file, out)
    modalities = ", ".join(f"{name} {width}" for name, width in zip(config.modalities, config.widths, strict=True))
    typer.echo(f"{out}: {modalities} to {config.representation_dim} each, not standardised.")


def _report(folders: list[Path], out: Path, asked: str, published: Path | None = None, embeddings: bool = False) -> int:
    """Write the report, print its main tables; the exit code."""
    from reports.processes import Processes, processors

    with Processes(processors(), ["reports.report", "sklearn.ensemble"]) as processes:  # which Optuna's fANOVA loads
        from reports.output.terminal import terminal_table
        from reports.report import report, write_report

        ledgers = records(folders)
        represented = _represented(folders, ledgers) if embeddings else []
        made = report(ledgers, folders, asked, published, represented, processes)
        written = write_report(made, out, processes)
    for table in made.main:
        console().print(terminal_table(table))
    typer.echo(f"Report: {written[0]}, and {len(written) - 1} files of tables and figures beside it")
    return OK if made.complete else INCOMPLETE


def _represented(folders: list[Path], ledgers: list[list[Record]]) -> "list[Represented]":
    """Test samples as the kept heads see them; what is left out is told."""
    from sweeps.cli.representations import representations

    left_out: list[str] = []
    found: list[Represented] = []
    for folder, ledger in zip(folders, ledgers, strict=True):
        found += representations(folder, ledger, left_out)
    if left_out:
        typer.echo("\n  ".join(["--embeddings: left out:", *left_out]), err=True)
    return found


def _compare(folders: list[Path], out: Path, asked: str) -> int:
    """Write and print the comparison of two sweeps; the exit code."""
    from reports.output.terminal import terminal_table
    from reports.report import comparing, write_report

    made = comparing(records(folders), folders, asked)
    written = write_report(made, out)
    for table in made.main:
        console().print(terminal_table(table))
    typer.echo(f"Report: {written[0]}, and {len(written) - 1} files of tables beside it")
    return OK
