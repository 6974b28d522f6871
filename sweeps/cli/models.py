"""`conclugen export` and `conclugen import-checkpoint`: write heads as Hugging Face model folders."""

from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.console import SweepDir, bad_input, sweep_folder

__all__ = ["export", "import_checkpoint"]


def export(
    folder: SweepDir,
    subset: Annotated[str, typer.Option(metavar="NAME", help="Method's name in the tables, such as ConCluGen.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the model; must be new or empty.")],
) -> None:
    """Write a subset's best head as a Hugging Face model folder: raw features in, representations out."""
    with bad_input():
        layout = sweep_folder(folder)
        from sweeps.actions.export import export_best

        record = export_best(layout, subset, out)
    typer.echo(f"{out}: {record.method}, confirmation seed {record.number}, best on validation data.")


def import_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE.ckpt", help="A checkpoint of the authors' released code.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the model; must be new or empty.")],
) -> None:
    """Turn the authors' released weights into the same folder format; nothing in the file is executed."""
    with bad_input():
        from sweeps.actions.export import import_released

        config = import_released(file, out)
    modalities = ", ".join(f"{name} {width}" for name, width in zip(config.modalities, config.widths, strict=True))
    typer.echo(f"{out}: {modalities} to {config.representation_dim} each, not standardised.")
