"""`conclugen features`: make and inspect feature sets."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer
from rich.table import Table

from conclugen.counts import counted
from conclugen.features.groups import group_counts
from conclugen.features.manifest import SPEAKER, SPLITS, FeatureSetError, Manifest, location_of
from conclugen.labels import LabelBudget
from conclugen.settings.paths import expanded
from sweeps.cli.console import AsJson, bad_input, console, progress_bar
from sweeps.cli.feature_sets import Dtype, bad_dtype, pairs, print_class_findings, print_manifest
from sweeps.cli.imports import import_features
from sweeps.config import ConfigError
from sweeps.tables import Fitted

__all__ = ["app"]

FeaturePlace = Annotated[
    str, typer.Argument(metavar="DIR", help="A feature set: its folder, or an address such as s3://bucket/folder.")
]
Number = TypeVar("Number", int, float)

app = typer.Typer(help="Make and inspect feature sets.", no_args_is_help=True, rich_markup_mode=None)
app.command("import")(import_features)


@app.command("synth")
def synthesise(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the feature set; must not hold one.")],
    samples: Annotated[int, typer.Option(metavar="N", help="Samples of all splits together.")],
    classes: Annotated[int, typer.Option(metavar="C", help="Planted classes, which all modalities share.")] = 8,
    labelled: Annotated[
        bool,
        typer.Option("--labelled", help="Keep the labels, with 70 % train, 15 % val, 15 % test. Default: all train."),
    ] = False,
    seed: Annotated[int, typer.Option(metavar="S", help="Seed; the same seed plants the same classes.")] = 0,
    dims: Annotated[
        str, typer.Option(metavar="NAME=WIDTH,...", help="Modalities and their widths; the paper's by default.")
    ] = "video=4096,audio=1024,text=768",
    signal: Annotated[
        str,
        typer.Option(
            metavar="NAME=X,...",
            help="Length of a modality's class means in standard deviations of its noise; 0 is chance. Default: 3.",
        ),
    ] = "",
    augmented: Annotated[
        int, typer.Option(metavar="N", help="Noisy versions of each training sample beside the clean one.")
    ] = 0,
    dtype: Dtype = "float32",
) -> None:
    """Write a feature set with planted classes, of any size in the same memory.

    Prints the accuracy of the best possible classifier, which follows from the signals alone.
    """
    with bad_input():
        problems = bad_dtype(dtype)
        widths = _numbers("--dims", dims, int, problems)
        signals = _numbers("--signal", signal, float, problems) if signal else {}
        if len(problems) > len(bad_dtype(dtype)):  # a plan needs readable numbers
            raise ConfigError(problems)
        from conclugen.features.synthesis import SyntheticSet, best_accuracy, write_synthetic

        plan = SyntheticSet(
            samples=samples, widths=widths, classes=classes, labelled=labelled, signal=signals, augmented=augmented,
            dtype="float16" if dtype == "float16" else "float32", seed=seed,
        )  # fmt: skip
        if problems := [*problems, *plan.problems]:
            raise ConfigError(problems)
        manifest = write_synthetic(plan, out)
    print_manifest(out, manifest)
    best = {name: best_accuracy([plan.signal_of(name)], classes) for name in widths}
    best["all together"] = best_accuracy([plan.signal_of(name) for name in widths], classes)
    accuracies = ", ".join(f"{name} {value:.3f}" for name, value in best.items())
    typer.echo(f"Planted: {classes} classes; accuracy of the best possible classifier: {accuracies}.")


@app.command("verify")
def verify_features(
    place: FeaturePlace,
    shared_speakers: Annotated[
        bool, typer.Option("--shared-speakers", help="Speakers may be in several splits, as officially in MELD.")
    ] = False,
    shared_groups: Annotated[
        str, typer.Option(metavar="NAME,...", help="Other groups, such as video, that may be in several splits.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check every byte and row: checksums, values, constant features, duplicates, leakage between splits."""
    with bad_input():
        folder = location_of(expanded(place))
        manifest = Manifest.read(folder)
        shared = _shared(manifest, shared_groups)
        from conclugen.features.verification import verify

        with progress_bar() as progress:
            task = progress.add_task("Verifying", total=sum(shard.rows for shard in manifest.shards))
            findings = verify(
                folder,
                shared=[*shared, *([SPEAKER] if shared_speakers else [])],
                tick=lambda shard: progress.advance(task, shard.rows),
            )
        for note in findings.notes if not as_json else ():
            typer.echo(f"note: {note}")
        if findings.problems:
            raise ConfigError(findings.problems)
    shards, rows = len(manifest.shards), sum(shard.rows for shard in manifest.shards)
    if as_json:
        document = {"set": str(folder), "shards": shards, "rows": rows, "notes": list(findings.notes)}
        typer.echo(json.dumps(document, indent=2))
        return
    typer.echo(f"{folder}: {counted(shards, 'shard')}, {counted(rows, 'row')}, no problem.")


@app.command("probe")
def probe_set(
    place: Annotated[
        str,
        typer.Argument(metavar="DIR", help="A labelled feature set with train, val and test: a folder or an address."),
    ],
    modalities: Annotated[
        str, typer.Option(metavar="NAME,...", help="Modalities that the probe sees. Default: all.")
    ] = "",
    instrument: Annotated[
        Literal["logistic", "knn", "paper"],
        typer.Option(help="Logistic regression, nearest neighbours, or the probe of the released code."),
    ] = "logistic",
    labels_per_class: Annotated[
        str, typer.Option(metavar="N,...", help="Label budgets to probe beside all labels.")
    ] = "",
    draws: Annotated[int, typer.Option(metavar="N", min=1, help="Draws of labelled samples for each budget.")] = 5,
    selection: Annotated[
        Literal["budget", "validation"],
        typer.Option(help="Validation labels that choose a setting: as many as the label budget has, or all."),
    ] = "budget",
    class_weights: Annotated[
        Literal["none", "balanced"], typer.Option(help="Weights of the classes when the probe is fitted.")
    ] = "none",
    seed: Annotated[int, typer.Option(metavar="S", help="Seed of the draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Score a probe on the features as they are, the score that a pretrained head has to beat."""
    with bad_input():
        folder = location_of(expanded(place))
        problems: list[str] = []
        names = _names("--modalities", modalities, problems)
        budgets = _budgets(labels_per_class, problems)
        import torch

        from conclugen.evaluation.feature_probe import FeatureProbe, probe_features, probe_notes

        try:
            notes = probe_notes(folder, names, budgets)
        except FeatureSetError as error:
            problems += str(error).split("\n")
        if problems:
            raise ConfigError(problems)
        probe = FeatureProbe(
            instrument=instrument, budgets=budgets, draws=draws, selection=selection, class_weights=class_weights,
            seed=seed,
        )  # fmt: skip
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        for note in notes:
            typer.echo(f"Warning: {note}", err=True)
        with progress_bar() as progress:
            task = progress.add_task("Probing", total=len(budgets))
            results = probe_features(folder, names, probe, device, done=lambda: progress.advance(task))
    if as_json:
        typer.echo(json.dumps([result.document() for result in results], indent=2))
        return
    table = Table(title=f"Probe ({instrument}) on {folder}", title_justify="left")
    metrics = ("weighted_f1", "macro_f1", "balanced_accuracy", "accuracy", "nll")
    for column in (
        "labels per class",
        "labels used",
        "val weighted F1",
        *(f"test {_in_words(name)}" for name in metrics),
        "chosen",
    ):
        table.add_column(column, justify="left" if column == "chosen" else "right")
    for result in results:
        scores = [result.validation["weighted_f1"], *(result.test[name] for name in metrics)]
        settings = ", ".join(dict.fromkeys(result.chosen))
        table.add_row(result.labels or "all", _span(result.train_samples), *map(str, scores), settings)
    console().print(Fitted(table))


def _span(numbers: Sequence[int]) -> str:
    least, most = min(numbers), max(numbers)
    return str(least) if least == most else f"{least} to {most}"


def _in_words(metric: str) -> str:
    return metric.replace("_", " ").replace("f1", "F1").replace("nll", "NLL")


@app.command("info")
def features_info(
    place: FeaturePlace,
    as_json: AsJson = False,
) -> None:
    """Show a feature set's modalities, splits, labels, groups and fingerprint."""
    with bad_input():
        folder = location_of(expanded(place))
        manifest = Manifest.read(folder)
    if as_json:
        splits = manifest.folds or SPLITS
        document = {
            **manifest.model_dump(mode="json"),
            "fingerprint": manifest.fingerprint,
            "rows": {split: manifest.rows(split) for split in splits},
            "rows_by_modalities": {split: manifest.rows_by_modalities(split) for split in splits},
        }
        if isinstance(folder, Path):
            with bad_input():
                document["n_groups"] = group_counts(folder)
        typer.echo(json.dumps(document, indent=2))
        return
    print_manifest(folder, manifest)
    if isinstance(folder, Path):  # a remote set is not fetched for this
        print_class_findings(folder, manifest)


def _numbers(option: str, text: str, kind: Callable[[str], Number], problems: list[str]) -> dict[str, Number]:
    """Return modality -> number, and append messages about bad parts of ``text`` to ``problems``."""
    numbers: dict[str, Number] = {}
    for name, value in pairs(option, text, "number", problems).items():
        try:
            numbers[name] = kind(value)
        except ValueError:
            problems.append(f"{option} {name}={value}: must be {'a whole number' if kind is int else 'a number'}.")
    return numbers


def _names(option: str, text: str, problems: list[str]) -> list[str]:
    """Return the comma-separated names of ``text``, and append messages about bad ones to ``problems``."""
    names = [name for part in text.split(",") if (name := part.strip())]
    if text and not names:
        problems.append(f"{option} {text!r}: names nothing; give names between commas, or leave it out for all.")
    problems += [
        f"{option} {text}: {name!r} is given twice; list it once."
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    return list(dict.fromkeys(names))


def _budgets(text: str, problems: list[str]) -> list[LabelBudget]:
    """Return the budget of all labels, then those of ``text``, comma-separated labels per class.

    Messages about parts that are no positive whole number are appended to ``problems``.
    """
    budgets = [LabelBudget()]
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            budgets.append(LabelBudget(per_class=int(part)))
        except ValueError:
            problems.append(f"--labels-per-class {text}: {part!r} must be a whole number from 1 on.")
    return list(dict.fromkeys(budgets))


def _shared(manifest: Manifest, text: str) -> list[str]:
    """Return the names of ``--shared-groups``.

    Raises:
        ConfigError: the set has no such groups.
    """
    problems: list[str] = []
    names = _names("--shared-groups", text, problems)
    known = f"it has {', '.join(manifest.groups)}" if manifest.groups else "it has none; leave the option out"
    problems += [
        f"--shared-groups {text}: speakers that may be in several splits are --shared-speakers."
        if name == SPEAKER
        else f"--shared-groups {text}: the set has no groups {name!r}; {known}."
        for name in names
        if name not in manifest.groups
    ]
    if problems:
        raise ConfigError(problems)
    return names
