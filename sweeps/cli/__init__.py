"""The command line: read arguments, print messages and return exit codes; the work itself is done elsewhere.

A command imports modules that load torch, Ray or pandas only when it runs. So `--help` and a refused configuration
answer at once.
"""

import re
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from conclugen import __version__
from sweeps.cli import bundle, demo, extract, features, inspect, manifest, models, report, search, sweep
from sweeps.cli.console import bad_input
from sweeps.cli.local_paths import with_local_paths
from sweeps.config import ConfigError

__all__ = ["app"]


class _Arguments(TyperGroup):
    """Refuses empty arguments, as a variable that is not set leaves: ``--out ""`` would mean the working directory."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        problems = [
            f"{_name_of(args, place)}: is empty; give a value, or leave it out. A variable of the shell may not be set."
            for place, argument in enumerate(args)
            if re.fullmatch(r"(--[a-z-]+=)?\s*", argument)
        ]
        with bad_input():
            if problems:
                raise ConfigError(problems)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; ``report verify FILE.zip`` is one, and ``report verify --out OUT`` a report of a folder."""
        two = " ".join(args[:2])
        if two in self.commands and not any(argument.startswith("--out") for argument in args):
            return two, self.commands[two], args[2:]
        return super().resolve_command(ctx, args)


def _name_of(arguments: list[str], place: int) -> str:
    """Return what an empty argument is called in messages: its option, or its place behind the command."""
    if arguments[place].startswith("--"):
        return arguments[place].rstrip("= ")
    before = arguments[place - 1] if place else ""
    return before if before.startswith("--") and "=" not in before else f"argument {place + 1}"


app = typer.Typer(
    cls=_Arguments,
    help="Sweep and ablate ConCluGen pretraining: seven loss subsets, searched fairly, on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("extract")(extract.extract)
app.command("demo")(demo.demo)
app.command("dashboard")(report.dashboard)
app.command("report", epilog="See also: conclugen report verify --help")(report.report)
app.command("report verify")(bundle.verify)
app.command("best")(inspect.best)
app.command("diff")(inspect.diff)
app.command("export")(models.export)
app.command("import-checkpoint")(models.import_checkpoint)
app.add_typer(features.app, name="features")
app.add_typer(manifest.app, name="manifest")
app.add_typer(search.app, name="search")
app.add_typer(sweep.app, name="sweep")
for group in (app, features.app, manifest.app, search.app, sweep.app):
    for registered in group.registered_commands:
        if registered.callback is not None:
            registered.callback = with_local_paths(registered.callback)


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
