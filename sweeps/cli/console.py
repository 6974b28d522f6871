"""Parts that the commands share: exit codes, errors about bad input, common arguments, reading ledgers."""

import gc
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from conclugen.counts import counted
from conclugen.datasets.clips import ClipListError
from conclugen.extraction.recipe import RecipeError
from conclugen.features.manifest import FeatureSetError
from conclugen.files.tables import TableError
from conclugen.settings.paths import PathError
from sweeps.config import ConfigError
from sweeps.exit_codes import BAD_INPUT, INCOMPLETE, INTERRUPTED, OK
from sweeps.folder.layout import SweepFolder
from sweeps.interrupts import Interrupts
from sweeps.ledger import Ledger, LedgerError, Record, with_space
from sweeps.terminal import redrawable

__all__ = [
    "BAD_INPUT", "INCOMPLETE", "INTERRUPTED", "OK", "AsJson", "Encoding", "MergeLabels", "SweepDir", "bad_input",
    "command", "console", "progress_bar", "records", "run_to_end", "sweep_folder",
]  # fmt: skip

SweepDir = Annotated[Path, typer.Argument(metavar="DIR", help="The sweep's folder.")]
Encoding = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Encoding of the CSV, such as cp1252 or gb18030. Default: UTF-8."),
]
MergeLabels = Annotated[
    bool,
    typer.Option(
        "--merge-labels", help="Labels that differ only in case, width or invisible characters are one class."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@contextmanager
def bad_input() -> Iterator[None]:
    """Turn errors that the user can mend into messages on standard error and exit code 2."""
    try:
        yield
    except (ClipListError, ConfigError, RecipeError, TableError) as error:
        problems = error.problems
    except (FeatureSetError, LedgerError, PathError) as error:
        problems = str(error).split("\n")  # str.splitlines would also split at characters within a name
    except OSError as error:
        problems = [f"{error.filename or 'file system'}: {error.strerror or error}; choose another place."]
    else:
        return
    typer.echo(
        "\n".join([f"error: {counted(len(problems), 'problem')}", *(f"  {problem}" for problem in problems)]), err=True
    )
    raise typer.Exit(BAD_INPUT)


def command(*parts: str | Path) -> str:
    """Return a ``conclugen`` command line, quoted for a shell."""
    return shlex.join(["conclugen", *map(str, parts)])


def records(folders: list[Path]) -> list[list[Record]]:
    """Return the records of each sweep in ``folders``.

    Raises:
        LedgerError: a record cannot be read; the message names the command that sets damaged records aside.
    """
    gc.disable()  # records are no garbage, and a search for garbage takes longer with each record
    try:
        return [_records(folder) for folder in folders]
    finally:
        gc.enable()


def _records(folder: Path) -> list[Record]:
    layout = SweepFolder(folder)
    try:
        return with_space(list(Ledger(layout.ledger)), layout.space)
    except LedgerError as error:
        remedy = f"`{command('sweep', 'resume', folder)}` sets damaged records aside and runs those jobs again."
        raise LedgerError(f"{error} {remedy}") from None


def sweep_folder(folder: Path) -> SweepFolder:
    """Return the layout of the sweep in ``folder``.

    Raises:
        ConfigError: ``folder`` holds no sweep.
    """
    layout = SweepFolder(folder)
    if not layout.config.is_file():
        raise ConfigError(
            [f"{folder}: holds no sweep ({layout.config.name} is missing); give the --out of a sweep run."]
        )
    return layout


def console() -> Console:
    """Return a console as wide as the terminal; without a terminal, 160 columns, enough for any table."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def progress_bar() -> Progress:
    """Return a bar on standard error, which shows nothing where that is no terminal."""
    terminal = Console(stderr=True)
    return Progress(console=terminal, transient=True, disable=not redrawable(terminal))


def run_to_end(out: Path, run: Callable[[Interrupts], None], options: Sequence[str] = ()) -> None:
    """Call ``run`` for the sweep in ``out``, and print how to go on if the sweep does not reach its end.

    Args:
        out: the sweep folder.
        run: runs the sweep.
        options: options of `sweep resume` that going on needs. A session that has not begun records no settings.

    Raises:
        typer.Exit: the sweep stopped early (code 1), or the user interrupted it (code 130).
    """
    from sweeps.actions.sweep_run import SweepFailedError

    layout = SweepFolder(out)
    go_on = f"go on with: {command('sweep', 'resume', out, *options)}"
    resumed = layout.config.is_file()
    interrupts = Interrupts(go_on if resumed else f"if {layout.config} is there, {go_on}")
    try:
        run(interrupts)
    except SweepFailedError as error:
        typer.echo(f"error: {error}\n{go_on}", err=True)
        raise typer.Exit(INCOMPLETE) from None
    except KeyboardInterrupt:
        begun = layout.config.is_file()
        advice = go_on if begun else f"{out} holds no sweep yet, run the command again."
        typer.echo(f"{interrupts.cause}; {advice}", err=True)
        raise typer.Exit(INTERRUPTED) from None
