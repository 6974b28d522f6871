"""Parts that the commands about feature sets share."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from conclugen.counts import counted, shown_counts
from conclugen.features.classes import class_findings, label_counts
from conclugen.features.groups import group_counts
from conclugen.features.manifest import SPLITS, Location, Manifest
from sweeps.cli.console import bad_input, console
from sweeps.tables import Fitted

__all__ = ["Dtype", "bad_dtype", "pairs", "print_class_findings", "print_manifest"]

Dtype = Annotated[str, typer.Option(help="Stored precision: float32 or float16.")]


def bad_dtype(dtype: str) -> list[str]:
    """Return a message about a precision that there is not."""
    return [] if dtype in ("float32", "float16") else [f"--dtype {dtype}: must be float32 or float16."]


def pairs(option: str, text: str, value: str, problems: list[str]) -> dict[str, str]:
    """Return name -> value of ``name=value,...``, and append messages about bad parts to ``problems``."""
    parts = [part.strip() for part in text.split(",")]
    problems += [
        f"{option} {text}: {part!r} is not of the form name={value}; give such pairs, separated by commas."
        for part in parts
        if not re.fullmatch(r"[^=]*[^=\s]\s*=\s*\S.*", part)
    ]
    sides = [[side.strip() for side in part.partition("=")] for part in parts]
    names = [name for name, _, _ in sides]
    problems += [
        f"{option} {text}: {name!r} is given twice." for name in sorted({n for n in names if names.count(n) > 1})
    ]
    return {name: content for name, _, content in sides}


def print_class_findings(folder: Path, manifest: Manifest) -> None:
    """Print what is wrong with the classes of a labelled set; sets for pretraining may have such classes."""
    if manifest.labels is None:
        return
    with bad_input():
        findings = class_findings(manifest, label_counts(folder))
    for finding in [*findings.problems, *findings.notes]:
        typer.echo(f"Warning: {finding}")


def print_manifest(folder: Location, manifest: Manifest) -> None:
    """Print what is in a set."""
    table = Table(title=f"Feature set {folder}", title_justify="left", show_header=False)
    for modality in manifest.modalities:
        table.add_row(modality.name, f"{modality.width} x {manifest.dtype}, from {modality.source}")
    for split in manifest.folds or SPLITS:
        gaps = f": {shown_counts(manifest.rows_by_modalities(split))}" if manifest.has_gaps else ""
        table.add_row(split, counted(manifest.rows(split), "row") + (gaps if manifest.rows(split) else ""))
    table.add_row("labels", ", ".join(manifest.labels.classes) if manifest.labels is not None else "none")
    counts = {}
    if isinstance(folder, Path):  # a remote set is not fetched for this
        with bad_input():
            counts = group_counts(folder)
    for name in manifest.groupings:
        table.add_row(f"groups by {name}", _group_text(manifest, counts.get(name)))
    table.add_row("fingerprint", manifest.fingerprint)
    console().print(Fitted(table))


def _group_text(manifest: Manifest, counts: Mapping[str, int] | None) -> str:
    """Return how many groups a set has, in all and in each of its splits that have rows."""
    if counts is None:
        return "not counted, as the set is remote"
    parts = ", ".join(f"{split} {counts[split]:,}" for split in SPLITS if split in counts)
    return f"{counts['all']:,} in all ({parts or counted(len(manifest.folds), 'fold')})"
