"""`conclugen features`: make and inspect feature sets."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from conclugen.manifest import SPLITS, Manifest
from sweeps.cli.common import AsJson, bad_input, console
from sweeps.config import ConfigError

app = typer.Typer(help="Make and inspect feature sets.", no_args_is_help=True, rich_markup_mode=None)


@app.command("import")
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
    with bad_input():
        pairs = _modality_keys(modalities)
        if dtype not in ("float32", "float16"):
            raise ConfigError([f"--dtype {dtype}: must be float32 or float16."])
        from conclugen.importing import import_npz

        manifest = import_npz(file, out, pairs, labels=labels, split=split, folds=folds, dtype=dtype)
    _print_manifest(out, manifest)


@app.command("info")
def features_info(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A feature set.")], as_json: AsJson = False
) -> None:
    """Show what a feature set holds."""
    with bad_input():
        manifest = Manifest.read(folder)
    if as_json:
        rows = {split: manifest.rows(split) for split in manifest.folds or SPLITS}
        document = {**manifest.model_dump(mode="json"), "fingerprint": manifest.fingerprint, "rows": rows}
        typer.echo(json.dumps(document, indent=2))
    else:
        _print_manifest(folder, manifest)


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
    console().print(table)
