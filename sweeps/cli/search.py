"""`conclugen search`: what samplers and pruners would have found in recorded sweeps."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sweeps.cli.console import AsJson, bad_input, console, progress_bar, sweep_folder
from sweeps.config import ConfigError
from sweeps.tables import Fitted

if TYPE_CHECKING:
    import pandas as pd

    from sweeps.search.replay import Landscape

__all__ = ["app"]

_SAMPLERS = ("tpe", "joint", "gp", "random", "cmaes")
_PRUNERS = ("none", "median", "successive_halving", "hyperband")

app = typer.Typer(
    help="Compare samplers and pruners on recorded sweeps.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Keep `replay` a command of its own: Typer would make a single command the group itself."""


@app.command()
def replay(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of sweeps, finished or not.")],
    samplers: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help=f"Samplers to compare, of {', '.join(_SAMPLERS)}; gp is joint with a model for each subset.",
        ),
    ] = "tpe,joint,random",
    pruners: Annotated[
        str, typer.Option(metavar="NAMES", help=f"Pruners to compare with each sampler, of {', '.join(_PRUNERS)}.")
    ] = "none",
    trials: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Trials of each subset after which to look.")
    ] = "4,8,12,20",
    replicates: Annotated[int, typer.Option(min=1, max=10_000, help="Repetitions with other seeds.")] = 8,
    noise: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Standard deviation of a score, in units of the objective.")
    ] = 0.004,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write replay.csv and a figure (SVG, PDF, PNG) there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search recorded sweeps again with other samplers and pruners, in seconds.

    A random forest that is fitted to the recorded trials stands in for training. So replays rank samplers on data like
    yours; they do not foretell scores. The regret is what the chosen configuration lacks to the best one.
    """
    from sweeps.search.replay import Strategy

    problems = list[str]()
    chosen_samplers = _names("--samplers", samplers, _SAMPLERS, problems)
    chosen_pruners = _names("--pruners", pruners, _PRUNERS, problems)
    counts = _counts(trials, problems)
    with bad_input():
        landscapes = _landscapes(folders, chosen_samplers, problems)
    from sweeps.actions.search_replay import replay_all, summary, write_csv

    with progress_bar() as bar:
        task = bar.add_task("replays")
        frame = replay_all(
            landscapes,
            [Strategy(sampler, pruner) for sampler in chosen_samplers for pruner in chosen_pruners],
            counts,
            replicates=replicates,
            noise=noise,
            processes=_processors(),
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    means = summary(frame)
    if as_json:
        typer.echo(means.to_json(orient="records", indent=2))
    else:
        console().print(Fitted(_table(means, counts, landscapes, replicates, noise)))
    if out is not None:
        from reports.figures.replay import replayed_regrets
        from reports.figures.style import write_figure

        with bad_input():
            paths = [write_csv(frame, out), *write_figure(replayed_regrets(means), "replay", out)]
        typer.echo(f"wrote {', '.join(map(str, paths))}", err=as_json)


def _names(option: str, text: str, allowed: tuple[str, ...], problems: list[str]) -> list[str]:
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    problems += [
        f"{option} {name}: is unknown; allowed are {', '.join(allowed)}." for name in names if name not in allowed
    ]
    if not names:
        problems.append(f"{option}: names nothing; give some of {', '.join(allowed)}.")
    return names


def _counts(text: str, problems: list[str]) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [part for part in parts if not part.isdecimal() or not 1 <= int(part) <= 1000]
    problems += [f"--trials {part}: must be a whole number from 1 to 1000." for part in wrong]
    if not parts:
        problems.append("--trials: names nothing; give numbers such as 4,8,12.")
    return [] if wrong else sorted({int(part) for part in parts})


def _landscapes(folders: list[Path], samplers: list[str], problems: list[str]) -> dict[str, "Landscape"]:
    """Return name -> landscape of each sweep.

    Raises:
        ConfigError: there are problems, those that are known already included.
    """
    from sweeps.actions.search_replay import landscape_of

    landscapes: dict[str, Landscape] = {}
    for folder in folders:
        try:
            landscape = landscape_of(sweep_folder(folder))
        except ConfigError as error:
            problems += error.problems
            continue
        searched = {arm.name: arm.losses for arm in landscape.arms}
        space = landscape.config.load_space().model_copy(update={"prior": {}})  # to compare is to choose no sampler
        problems += [f"{folder}: {text}" for name in samplers for text in space.unsuitable(name, searched, None)]
        name = landscape.config.name
        landscapes[str(folder) if name in landscapes else name] = landscape
    if problems:
        raise ConfigError(problems)
    return landscapes


def _table(
    means: "pd.DataFrame", counts: list[int], landscapes: dict[str, "Landscape"], replicates: int, noise: float
) -> Table:
    table = Table(
        title="mean regret after so many trials of each subset",
        caption=f"± half of the 95 % interval over {replicates} replicates; scores have noise of {noise:g}; "
        "forests fitted to recorded trials stand in for training.",
    )
    for heading in ("sweep", "sampler", *(f"{count} trials" for count in counts), "epochs"):
        table.add_column(heading)
    for name in landscapes:
        of_sweep = means[means["sweep"] == name]
        for strategy, rows in of_sweep.groupby("strategy", sort=False):
            halves = (rows["high"] - rows["regret"]).tolist()
            cells = [
                f"{regret:.4f}" if half != half else f"{regret:.4f} ± {half:.4f}"
                for regret, half in zip(rows["regret"].tolist(), halves, strict=True)
            ]
            table.add_row(name, str(strategy), *cells, f"{rows['epochs'].iloc[-1]:.0%}")
        table.add_section()
    return table


def _processors() -> int:
    from reports.processes import processors

    return processors()
