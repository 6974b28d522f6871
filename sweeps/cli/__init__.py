"""The command line: read arguments, print messages and return exit codes; the work itself is done elsewhere.

A command imports modules that load torch, Ray or pandas only when it runs. So `--help` and a refused configuration
answer at once.
"""

from typing import Annotated

import typer

from conclugen import __version__
from sweeps.cli import demo, extract, features, manifest, models, report, sweep
from sweeps.cli.local_paths import with_local_paths

__all__ = ["app"]

app = typer.Typer(
    help="Sweep and ablate ConCluGen pretraining: seven loss subsets, searched fairly, on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.command("extract")(extract.extract)
app.command("demo")(demo.demo)
app.command("dashboard")(report.dashboard)
app.command("report")(report.report)
app.command("export")(models.export)
app.command("import-checkpoint")(models.import_checkpoint)
app.add_typer(features.app, name="features")
app.add_typer(manifest.app, name="manifest")
app.add_typer(sweep.app, name="sweep")
for group in (app, features.app, manifest.app, sweep.app):
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
