"""`conclugen best` and `conclugen diff`: the best configuration of a sweep, and what differs between two sweeps."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from conclugen.settings.documents import dump
from sweeps.cli.console import AsJson, SweepDir, bad_input, console, sweep_folder
from sweeps.config import ConfigError
from sweeps.tables import Fitted

if TYPE_CHECKING:
    from sweeps.api import Best, Sweep

__all__ = ["best", "diff"]


def best(
    folder: SweepDir,
    subset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Method as in records, such as ConClu. Default: the loss subset with the best winner."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="Write a search space whose defaults are these values; for `space:`."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the best configuration of a search; --out writes it as a space that the next sweep starts from."""
    with bad_input():
        sweep = _opened(folder)
        problems = []
        if out is not None and out.exists():
            problems.append(f"--out {out}: exists; give a new file.")
        config = sweep.config
        if subset is not None and subset not in config.arms:
            problems.append(f"--subset {subset}: is not searched here; searched are {', '.join(config.arms)}.")
        if problems:
            raise ConfigError(problems)
        found = _best(sweep, [subset] if subset is not None else list(config.subsets))
        if out is not None:
            found.to_yaml(out)
    if as_json:
        document = {
            "method": found.method, "trial": found.trial, "objective": found.value, "retrained": found.retrained,
        }  # fmt: skip
        typer.echo(json.dumps({**document, "hyperparameters": found.hyperparameters}, indent=2))
        return
    typer.echo(f"# {found.method}: {found.trial}, objective {found.value:.4f}")
    if found.retrained is not None:
        typer.echo(f"# It won among the finalists: trained anew with fresh seeds, its mean is {found.retrained:.4f}.")
    if found.default:
        typer.echo("# These are the defaults of the sweep's space.")
    typer.echo(dump(dict(found.hyperparameters)), nl=False)
    if out is not None:
        typer.echo(f"# {out} has them as defaults; use it with: --set space={out}")


def diff(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR DIR", help="Folders of two sweeps.")],
    as_json: AsJson = False,
) -> None:
    """Show what differs between two sweeps: settings, spaces, features, versions and scores."""
    with bad_input():
        if len(folders) != 2:
            raise ConfigError([f"diff compares two sweeps, but {len(folders)} given; give two folders."])
        first, second = map(_opened, folders)
        from sweeps.api.differences import differences

        frame = differences(first, second)
    if as_json:
        typer.echo(json.dumps(frame.to_dict("records"), indent=2))
        return
    if frame.empty:
        typer.echo("Nothing differs: settings, space, features, versions and scores are equal.")
        return
    table = Table()
    for name in ("", "", *map(str, folders)):
        table.add_column(name)
    previous = ""
    for kind, *values in frame.itertuples(index=False, name=None):
        name, *compared = values
        table.add_row(kind if kind != previous else "", name, *_told_apart(*compared))
        previous = kind
    console().print(Fitted(table))


def _opened(folder: Path) -> "Sweep":
    sweep_folder(folder)
    from sweeps.api import open_sweep

    return open_sweep(folder)


def _best(sweep: "Sweep", methods: list[str]) -> "Best":
    found, problems = [], []
    for method in methods:
        try:
            found.append(sweep.best(method))
        except ValueError as error:
            problems.append(str(error))
    if not found:
        raise ConfigError(problems)
    return max(found, key=lambda one: one.value)


def _told_apart(first: Any, second: Any) -> tuple[str, str]:
    """Return two values as texts, with as many digits as it takes to tell them apart, four at least."""
    for digits in range(4, 17):
        texts = [f"{value:.{digits}g}" if isinstance(value, float) else str(value) for value in (first, second)]
        if texts[0] != texts[1]:
            break
    return texts[0], texts[1]
