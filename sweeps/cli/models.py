"""`conclugen export` and `conclugen import-checkpoint`: write heads as Hugging Face model folders."""

import re
from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.console import SweepDir, bad_input, sweep_folder
from sweeps.config import ConfigError

__all__ = ["export", "import_checkpoint"]


def export(
    folder: SweepDir,
    subset: Annotated[str, typer.Option(metavar="NAME", help="Method's name in the tables, such as ConCluGen.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the model; must be new or empty.")],
    licence: Annotated[
        str | None,
        typer.Option("--license", metavar="ID", help="Licence of the model, as on the Hub: mit, cc-by-nc-4.0, ..."),
    ] = None,
    data_statement: Annotated[
        Path | None,
        typer.Option(metavar="FILE.md", help="Markdown about the people and recordings behind the features."),
    ] = None,
) -> None:
    """Write a subset's best head as a Hugging Face model folder: raw features in, representations out."""
    with bad_input():
        layout = sweep_folder(folder)
        statement, problems = _read_statement(data_statement)
        if licence is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
            problems.append(
                f"--license {licence}: is no licence of the Hub; give one such as mit, apache-2.0 or other."
            )
        if problems:
            raise ConfigError(problems)
        from sweeps.actions.export import export_best

        record = export_best(layout, subset, out, licence, statement)
    typer.echo(f"{out}: {record.method}, confirmation seed {record.number}, best on validation data.")


def _read_statement(file: Path | None) -> tuple[str, list[str]]:
    """Return the text of a data statement, and a problem if it cannot be read."""
    if file is None:
        return "", []
    try:
        return file.read_text(encoding="utf-8"), []
    except OSError as error:
        return "", [f"--data-statement {file}: {error.strerror}; give a Markdown file."]
    except UnicodeDecodeError:
        return "", [f"--data-statement {file}: is not UTF-8; give a Markdown file in UTF-8."]


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
