"""The command line: arguments in, messages and exit codes out; what it does is elsewhere.

Exit codes: 0 done; 1 done, but some cell of the table has no result; 2 bad input, with every problem listed and
nothing written; 130 interrupted.

Modules that load torch, Ray or pandas are imported by the commands that need them, so that `--help` and a refused
configuration answer at once.
"""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from conclugen import __version__
from conclugen.manifest import SPLITS, FeatureSetError, Manifest
from sweeps.config import ConfigError, load_config
from sweeps.ledger import Ledger, LedgerError, Record
from sweeps.plan import SweepFolder

if TYPE_CHECKING:
    from sweeps.interrupts import Interrupts

__all__ = ["main"]

_OK, _INCOMPLETE, _BAD_INPUT, _INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    help="Sweep and ablate ConCluGen pretraining: seven loss subsets, searched fairly, on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
features_app = typer.Typer(help="Make and inspect feature sets.", no_args_is_help=True, rich_markup_mode=None)
sweep_app = typer.Typer(help="Check, run and watch sweeps.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(features_app, name="features")
app.add_typer(sweep_app, name="sweep")

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The sweep's YAML file.")]
SweepDir = Annotated[Path, typer.Argument(metavar="DIR", help="The sweep's folder.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as budget.epochs=30; repeatable."),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDR", help="Ray cluster to run on; without, RAY_ADDRESS's (as in `ray job submit`), or a new one."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def main() -> None:
    """Run the command line; console script `conclugen`."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


# -- demo and features -----------------------------------------------------------------------------------------------


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
    with _bad_input():
        if out.exists():
            raise ConfigError([f"--out {out}: exists; choose another folder, or remove it first."])
        from sweeps.demo import write_demo

        config_file = write_demo(out)
        typer.echo(
            "Demo data: scikit-learn's handwritten digits. Pixels, Fourier magnitudes and gradient orientations\n"
            f"stand in for video, audio and text. Configuration: {config_file}"
        )
        from sweeps.launch import launch

        _to_the_end(out / "sweep", lambda interrupts: launch(load_config(config_file), out / "sweep", interrupts))
        code = _report([out / "sweep"], out / "report")
    raise typer.Exit(code)


@features_app.command("import")
def import_features(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="Arrays with one row per sample.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the feature set; must not hold one.")],
    modalities: Annotated[
        str, typer.Option(metavar="NAME=KEY,...", help="Modality names and their array keys, in modality order.")
    ],
    labels: Annotated[str | None, typer.Option(metavar="KEY", help="Key of the labels; unlabelled without.")] = None,
    split: Annotated[
        str | None, typer.Option(metavar="KEY", help="Key of the split names; all rows are train without.")
    ] = None,
    folds: Annotated[
        str | None, typer.Option(metavar="KEY", help="Key of fold numbers, for sets that are cross-validated.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Stored precision: float32 or float16.")] = "float32",
) -> None:
    """Turn the arrays of an .npz file into a feature set of memory-mapped shards."""
    with _bad_input():
        pairs = _modality_keys(modalities)
        if dtype not in ("float32", "float16"):
            raise ConfigError([f"--dtype {dtype}: must be float32 or float16."])
        from conclugen.importing import import_npz

        manifest = import_npz(file, out, pairs, labels=labels, split=split, folds=folds, dtype=dtype)
    _print_manifest(out, manifest)


@features_app.command("info")
def features_info(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A feature set.")], as_json: AsJson = False
) -> None:
    """Show what a feature set holds."""
    with _bad_input():
        manifest = Manifest.read(folder)
    if as_json:
        rows = {split: manifest.rows(split) for split in manifest.folds or SPLITS}
        document = {**manifest.model_dump(mode="json"), "fingerprint": manifest.fingerprint, "rows": rows}
        typer.echo(json.dumps(document, indent=2))
    else:
        _print_manifest(folder, manifest)


# -- sweeps ----------------------------------------------------------------------------------------------------------


@sweep_app.command("check")
def sweep_check(
    config_file: ConfigFile,
    overrides: Overrides = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(metavar="GIB", min=0, help="Memory of the GPUs that will be used; this machine's own without."),
    ] = None,
) -> None:
    """Validate a configuration; print the plan, the search space of each method, and an estimate of time and disk."""
    with _bad_input():
        config = load_config(config_file, overrides or ())
        if problems := config.tracking.missing():
            raise ConfigError(problems)
        from sweeps.estimate import estimate
        from sweeps.footprint import gpu_problems, smallest_gpu
        from sweeps.overview import cost_summary, plan_table, space_table
        from sweeps.warm import proposals

        if (earlier := config.search.warm_start) is not None:
            proposals(earlier, config.arms.values(), config.load_space())  # raises if it has none
        memory = smallest_gpu(config) if gpu_memory is None else int(gpu_memory * 2**30)
        if memory is not None and (problems := gpu_problems(config, memory)):
            raise ConfigError(problems)
        costs = estimate(config)
    _console().print(plan_table(config, costs))
    _console().print(space_table(config))
    typer.echo(cost_summary(config, costs))


@sweep_app.command("run")
def sweep_run(
    config_file: ConfigFile,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the sweep; must be new or empty.")],
    overrides: Overrides = None,
    address: Address = None,
) -> None:
    """Run a sweep: search every loss subset, confirm the best with fresh seeds, score on test."""
    with _bad_input():
        config = load_config(config_file, overrides or ())
        from sweeps.launch import launch

        _to_the_end(out, lambda interrupts: launch(config, out, interrupts, address))
    _name_the_tables(out)


@sweep_app.command("resume")
def sweep_resume(
    folder: SweepDir,
    overrides: Overrides = None,
    address: Address = None,
    failed: Annotated[bool, typer.Option("--failed", help="Run what has failed again.")] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes", help="Go on even where new results do not compare with the old; put on record."
        ),
    ] = False,
) -> None:
    """Go on with a sweep that was interrupted, or extend one: more trials, seeds, subsets, sets with --set."""
    with _bad_input():
        _sweep_folder(folder)
        from sweeps.launch import resume

        _to_the_end(
            folder,
            lambda interrupts: resume(
                folder, interrupts, overrides or (), address, failed=failed, accept_changes=accept_changes
            ),
        )
    _name_the_tables(folder)


@sweep_app.command("replay")
def sweep_replay(
    folder: SweepDir,
    trial: Annotated[str, typer.Option(metavar="ID", help="Record to run again, such as search-Con-00003.")],
) -> None:
    """Run one finished trial or confirmation again, from its record alone, and compare; exit code 1 if it differs."""
    with _bad_input():
        layout = _sweep_folder(folder)
        from sweeps.replay import replay

        differences = replay(layout, trial)
    table = Table(title=trial, title_justify="left")
    for column in ("", "recorded", "replayed", ""):
        table.add_column(column, justify="right" if column else "left")
    for difference in differences:
        numbers = (str(difference.recorded), str(difference.replayed))
        table.add_row(difference.what, *numbers, "" if difference.equal else "differs")
    _console().print(table)
    raise typer.Exit(_OK if all(difference.equal for difference in differences) else _INCOMPLETE)


@sweep_app.command("status")
def sweep_status(folder: SweepDir, as_json: AsJson = False) -> None:
    """Show how far a sweep is: planned, running, done, pruned and failed per subset, and the best so far."""
    with _bad_input():
        layout = _sweep_folder(folder)
        config = load_config(layout.config, alone=True)
        records = list(Ledger(layout.ledger))
    from sweeps.live import progress_table
    from sweeps.progress import Tally
    from sweeps.sessions import running

    alive = running(layout)
    cut = [path.name for path in layout.running.iterdir()]
    tally = Tally(config)
    for record in records:
        tally.add(record)
    rows = tally.rows(cut if alive else ())
    reasons = Counter(record.reason.partition(":")[0] for record in records if record.state == "failed")
    if as_json:
        document = {"name": config.name, "running": alive, "failures": reasons, "rows": [asdict(row) for row in rows]}
        typer.echo(json.dumps(document, indent=2))
        return
    _console().print(progress_table(rows, max(1, len(cut)), f"sweep {config.name}"))
    if reasons:
        typer.echo("Failed: " + ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()))
    if not alive and (cut or any(row.planned is None or row.done < row.planned for row in rows)):
        typer.echo(f"No process runs it; go on with {_command('sweep', 'resume', folder)}")


@app.command()
def dashboard(
    folder: SweepDir,
    host: Annotated[str, typer.Option(metavar="HOST", help="Name or address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0 for any that is free.")
    ] = 8080,
) -> None:
    """Show a sweep's Optuna studies in a browser, while it runs or later; changes nothing."""
    with _bad_input():
        layout = _sweep_folder(folder)
        config = load_config(layout.config, alone=True)
        from sweeps.dashboard import serve

        def ready(address: str) -> None:
            typer.echo(f"{address} shows the studies of sweep {config.name}; Ctrl-C ends it.")

        with suppress(KeyboardInterrupt):  # there is no other way to end it
            serve(config, layout, host, port, ready)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of sweeps, finished or not.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the tables.")],
) -> None:
    """Make the ablation tables from the ledgers of one or more sweeps."""
    with _bad_input():
        for folder in folders:
            _sweep_folder(folder)
        code = _report(folders, out)
    raise typer.Exit(code)


@app.command()
def export(
    folder: SweepDir,
    subset: Annotated[str, typer.Option(metavar="NAME", help="Method as the tables call it, such as ConCluGen.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the model; must be new or empty.")],
) -> None:
    """Write a subset's best head as a Hugging Face model folder: raw features in, representations out."""
    with _bad_input():
        layout = _sweep_folder(folder)
        from sweeps.export import export_best

        record = export_best(layout, subset, out)
    typer.echo(f"{out}: {record.method}, confirmation seed {record.number}, best on validation data.")


@app.command("import-checkpoint")
def import_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE.ckpt", help="A checkpoint of the authors' released code.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the model; must be new or empty.")],
) -> None:
    """Turn the authors' released weights into the same folder format; nothing in the file is executed."""
    with _bad_input():
        from sweeps.export import import_released

        config = import_released(file, out)
    modalities = ", ".join(f"{name} {width}" for name, width in zip(config.modalities, config.widths, strict=True))
    typer.echo(f"{out}: {modalities} to {config.representation_dim} each, not standardised.")


# -- shared ----------------------------------------------------------------------------------------------------------


@contextmanager
def _bad_input() -> Iterator[None]:
    """Turn errors that the user can mend into their messages and exit code 2."""
    try:
        yield
    except ConfigError as error:
        problems = error.problems
    except (FeatureSetError, LedgerError) as error:
        problems = str(error).splitlines()
    except OSError as error:
        problems = [f"{error.filename or 'file system'}: {error.strerror or error}; choose another place."]
    else:
        return
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    typer.echo("\n".join([f"error: {count}", *(f"  {problem}" for problem in problems)]), err=True)
    raise typer.Exit(_BAD_INPUT)


def _to_the_end(out: Path, run: Callable[["Interrupts"], None]) -> None:
    """Let ``run`` work on the sweep in ``out``, and say how to go on where it does not get to the end."""
    from sweeps.interrupts import Interrupts
    from sweeps.launch import SweepFailedError

    go_on = f"go on with: {_command('sweep', 'resume', out)}"
    try:
        run(Interrupts(f"interrupted; {go_on}"))
    except SweepFailedError as error:
        typer.echo(f"error: {error}\n{go_on}", err=True)
        raise typer.Exit(_INCOMPLETE) from None
    except KeyboardInterrupt:
        typer.echo(f"interrupted; {go_on}", err=True)
        raise typer.Exit(_INTERRUPTED) from None


def _name_the_tables(out: Path) -> None:
    """Say how to get a sweep's tables, and exit."""
    from reports import ablation

    typer.echo(f"Tables: {_command('report', out, '--out', out / 'report')}")
    raise typer.Exit(_OK if ablation(_records([out])).complete else _INCOMPLETE)


def _command(*parts: str | Path) -> str:
    """A command line that can be pasted."""
    return shlex.join(["conclugen", *map(str, parts)])


def _records(folders: list[Path]) -> list[list[Record]]:
    return [list(Ledger(SweepFolder(folder).ledger)) for folder in folders]


def _report(folders: list[Path], out: Path) -> int:
    """Write and print the tables; the exit code."""
    from reports import ablation, confusion, ranking, terminal_table, write_tables

    ledgers = _records(folders)
    table = ablation(ledgers)
    written = write_tables(table, confusion(ledgers), ranking(ledgers), out)
    _console().print(terminal_table(table))
    typer.echo("Report: " + ", ".join(map(str, written)))
    return _OK if table.complete else _INCOMPLETE


def _sweep_folder(folder: Path) -> SweepFolder:
    layout = SweepFolder(folder)
    if not layout.config.is_file():
        raise ConfigError(
            [f"{folder}: holds no sweep ({layout.config.name} is missing); give the --out of a sweep run."]
        )
    return layout


def _modality_keys(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    problems = [
        f"--modalities {text}: {''.join(pair)!r} is not of the form name=key." for pair in pairs if not all(pair)
    ]
    names = [name for name, _, _ in pairs]
    problems += [
        f"--modalities {text}: {name!r} is given twice." for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if problems:
        raise ConfigError(problems)
    return {name: key for name, _, key in pairs}


def _print_manifest(folder: Path, manifest: Manifest) -> None:
    table = Table(title=f"Feature set {escape(str(folder))}", title_justify="left", show_header=False)
    for modality in manifest.modalities:
        table.add_row(modality.name, escape(f"{modality.width} x {manifest.dtype}, from {modality.source}"))
    for split in manifest.folds or SPLITS:
        table.add_row(split, f"{manifest.rows(split)} rows")
    table.add_row("labels", escape(", ".join(manifest.labels.classes)) if manifest.labels is not None else "none")
    table.add_row("fingerprint", manifest.fingerprint)
    _console().print(table)


def _console() -> Console:
    """A console as wide as the terminal, or wide enough for any table where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)
