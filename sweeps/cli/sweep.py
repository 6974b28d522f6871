"""`conclugen sweep`: check, run, resume, replay and watch sweeps."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from conclugen.counts import counted
from sweeps.cli.console import (
    INCOMPLETE,
    OK,
    AsJson,
    SweepDir,
    bad_input,
    command,
    console,
    records,
    run_to_end,
    sweep_folder,
)
from sweeps.config import ConfigError, SweepConfig, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import LOSSES, Record, method_of
from sweeps.tables import Fitted
from sweeps.terminal import outlive_output

__all__ = ["Address", "app"]

app = typer.Typer(help="Check, run, resume and watch sweeps.", no_args_is_help=True, rich_markup_mode=None)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The sweep's YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as budget.epochs=30; repeatable."),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDR",
        help="Ray cluster to run on: HOST:PORT of its head, or auto for this machine's. All nodes need the same files "
        "at the same paths, and a token; see the cluster tutorial. Default: the one of RAY_ADDRESS (as in "
        "`ray job submit`), or a new one on this machine.",
    ),
]


@app.command("check")
def sweep_check(
    config_file: ConfigFile,
    overrides: Overrides = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(metavar="GIB", min=0, help="Memory of the GPUs to be used. Default: that of this machine's GPUs."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Validate a configuration; print the plan, the search space of each method, and an estimate of time and disk."""
    with bad_input():
        from sweeps.estimate.refusals import LATER, remote_sets, too_large

        config = load_config(config_file, overrides or (), later=(*LATER, lambda part: too_large(part, gpu_memory)))
        from sweeps.estimate.duration import estimate
        from sweeps.estimate.labels import label_findings
        from sweeps.estimate.summary import cost_document, cost_summary, plan_table, space_table
        from sweeps.search.warm_start import warm_start_problems

        findings = label_findings(config, fetch=False)
        remote = remote_sets(config)
        problems = [
            *config.tracking.missing(),
            *config.notify.missing(),
            *warm_start_problems(config),
            *findings.problems,
            *too_large(config, gpu_memory),
        ]
        if problems:
            raise ConfigError(problems)
        costs = [] if remote else estimate(config)
    if as_json:
        document = {**cost_document(config, costs), "not_fetched": remote, "warnings": list(findings.notes)}
        typer.echo(json.dumps(document, indent=2))
        return
    if remote:
        console().print(Fitted(space_table(config)))
        typer.echo(
            "Valid. Nothing is estimated, because these feature sets are remote and were not fetched: "
            f"{', '.join(remote)}."
        )
    else:
        console().print(Fitted(plan_table(config, costs)))
        console().print(Fitted(space_table(config)))
        typer.echo(cost_summary(config, costs))
    if (adapted := config.load_space().adapted) is not None:
        typer.echo(str(adapted))
    for note in findings.notes:
        typer.echo(f"Warning: {note}")


@app.command("run")
def sweep_run(
    config_file: ConfigFile,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the sweep; must be new or empty.")],
    overrides: Overrides = None,
    address: Address = None,
) -> None:
    """Run a sweep: search every loss subset, train the best anew, confirm the winners, and score them on test."""
    outlive_output()
    with bad_input():
        from sweeps.estimate.refusals import LATER

        try:
            config = load_config(config_file, overrides or (), later=LATER)
        except ConfigError as error:
            raise ConfigError([*SweepFolder(out).occupation, *error.problems]) from None
        from sweeps.actions.run import launch

        run_to_end(out, lambda interrupts: launch(config, out, interrupts, address), _at(address))
    _finish(out)


@app.command("resume")
def sweep_resume(
    folder: SweepDir,
    overrides: Overrides = None,
    address: Address = None,
    failed: Annotated[bool, typer.Option("--failed", help="Run failed jobs again.")] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes", help="Go on although new results will not compare with the old, and record that."
        ),
    ] = False,
) -> None:
    """Go on with an interrupted sweep, or extend a sweep: --set gives more trials, seeds, subsets or sets."""
    outlive_output()
    with bad_input():
        sweep_folder(folder)
        from sweeps.actions.run import resume

        run_to_end(
            folder,
            lambda interrupts: resume(
                folder, interrupts, overrides or (), address, failed=failed, accept_changes=accept_changes
            ),
            [
                *(part for override in overrides or () for part in ("--set", override)),
                *_at(address),
                *(["--failed"] if failed else []),
                *(["--accept-changes"] if accept_changes else []),
            ],
        )
    _finish(folder)


@app.command("replay")
def sweep_replay(
    folder: SweepDir,
    trial: Annotated[str, typer.Option(metavar="ID", help="Record to run again, such as search-Con-00003.")],
    as_json: AsJson = False,
) -> None:
    """Run one finished job again, from its record alone, and compare; exit code 1 if it differs."""
    with bad_input():
        layout = sweep_folder(folder)
        from sweeps.actions.replay import replay

        differences = replay(layout, trial)
    code = OK if all(difference.equal for difference in differences) else INCOMPLETE
    if as_json:
        values = [{**asdict(difference), "equal": difference.equal} for difference in differences]
        typer.echo(json.dumps({"trial": trial, "equal": code == OK, "values": values}, indent=2))
        raise typer.Exit(code)
    table = Table(title=trial, title_justify="left")
    for column in ("", "recorded", "replayed", ""):
        table.add_column(column, justify="right" if column else "left")
    for difference in differences:
        numbers = (str(difference.recorded), str(difference.replayed))
        table.add_row(difference.what, *numbers, "" if difference.equal else "differs")
    console().print(Fitted(table))
    raise typer.Exit(code)


@app.command("status")
def sweep_status(
    folder: SweepDir,
    failed: Annotated[bool, typer.Option("--failed", help="List the failed jobs with their reasons instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a sweep is: planned, running, done, pruned and failed per subset, and the best so far.

    "next trial" says whether more trials are likely to pay: what one more trial of the subset is expected to gain over
    its best, and from what to what that gain may be (95 %).
    """
    with bad_input():
        layout = sweep_folder(folder)
        config = load_config(layout.config, alone=True, written=True)
        (ledger,) = records([folder])
        from sweeps.folder.lock import running

        alive = running(layout)
        unfinished = layout.running_keys()
    if failed:
        _print_failed(config, ledger, as_json=as_json)
        return
    from sweeps.actions.display import failures, progress_table
    from sweeps.folder.early_ends import read_early_ends
    from sweeps.search.forecasts import forecasts
    from sweeps.search.progress import from_records

    early_ends = read_early_ends(layout, config)
    rows = from_records(config, ledger, unfinished if alive else (), early_ends, forecasts(config, ledger))
    if as_json:
        reasons = Counter(record.failure_class for record in ledger if record.state == "failed")
        document = {"name": config.name, "running": alive, "failures": reasons, "rows": [asdict(row) for row in rows]}
        typer.echo(json.dumps(document, indent=2))
        return
    console().print(Fitted(progress_table(rows, max(1, len(unfinished)), f"sweep {config.name}")))
    for arm, end in early_ends.items():
        typer.echo(f"{arm}: {end.in_words(config.budget.trials_per_subset)}.")
    if counts := failures(rows):
        typer.echo(f"Failed: {counts}; {command('sweep', 'status', folder, '--failed')} says why")
    if not alive and not all(row.finished for row in rows):
        typer.echo(f"No process runs it; go on with {command('sweep', 'resume', folder)}")


def _at(address: str | None) -> list[str]:
    """Return the option that names the cluster at ``address``; none for the default."""
    return [] if address is None else ["--address", address]


def _print_failed(config: SweepConfig, ledger: Sequence[Record], *, as_json: bool) -> None:
    """Print each failed job with its reason, and the hyperparameters that were searched."""
    space = config.load_space()

    def searched(record: Record) -> dict[str, Any]:
        losses = LOSSES.get(method_of(record.method), ())  # methods that are not searched have none
        free = [name for name, parameter in space.for_losses(losses).items() if parameter.fixed is None]
        return {name: record.hyperparameters[name] for name in free if name in record.hyperparameters}

    jobs = [record for record in ledger if record.state == "failed"]
    if as_json:
        listed = [
            {
                "key": record.key, "class": record.failure_class, "reason": record.reason,
                "hyperparameters": searched(record),
            }
            for record in jobs
        ]  # fmt: skip
        typer.echo(json.dumps({"name": config.name, "failed": listed}, indent=2))
        return
    typer.echo(f"{counted(len(jobs), 'job')} of {len(ledger)} failed.")
    for record in jobs:
        typer.echo(f"{record.key}: {record.reason}")
        if values := ", ".join(f"{name}={value}" for name, value in searched(record).items()):
            typer.echo(f"    {values}")


def _finish(out: Path) -> None:
    """Print the command that makes the sweep's tables, and exit.

    Raises:
        typer.Exit: with code 1 if some cell of the tables has no result, else 0.
    """
    from reports.statistics.ablation import ablation

    typer.echo(f"Tables: {command('report', out, '--out', out / 'report')}")
    with bad_input():
        complete = ablation(records([out])).complete
    raise typer.Exit(OK if complete else INCOMPLETE)
