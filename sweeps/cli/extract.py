"""`conclugen extract`: turn clips into a feature set."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from conclugen.counts import counted
from conclugen.datasets.clips import ClipList
from conclugen.extraction.descriptors.packages import missing_packages
from conclugen.extraction.recipe import load_recipe
from sweeps.cli.console import INCOMPLETE, INTERRUPTED, bad_input, command
from sweeps.cli.sweep import Address
from sweeps.config import ConfigError
from sweeps.interrupts import Interrupts
from sweeps.terminal import outlive_output

__all__ = ["allowed_failures", "extract"]


def extract(
    clip_list: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A clip list, as `conclugen manifest` makes.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the feature set; the folder of an earlier run goes on.")
    ],
    backbones: Annotated[
        str,
        typer.Option(
            metavar="FILE.yaml",
            help="Recipe with the backbones of each modality, or paper, strong, local or local-faces.",
        ),
    ],
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the videos, if not the one that the list names.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Stored precision: float32 or float16.")] = "float32",
    max_failed: Annotated[
        str, typer.Option(metavar="N|P%", help="Number or share of unusable clips above which the run stops.")
    ] = "1%",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try clips again that failed in an earlier run.")
    ] = False,
    keep_incomplete: Annotated[
        bool,
        typer.Option("--keep-incomplete", help="Keep clips that lack a face, sound or words, with the rest they have."),
    ] = False,
    clips_per_shard: Annotated[
        int, typer.Option(metavar="N", min=1, help="Clips of a shard; only whole shards survive an interruption.")
    ] = 1024,
    address: Address = None,
) -> None:
    """Run frozen backbones over clips on Ray. The same command goes on after an interruption."""
    outlive_output()
    with bad_input():
        if dtype not in ("float32", "float16"):
            raise ConfigError([f"--dtype {dtype}: must be float32 or float16."])
        if missing := missing_packages(("av", "opencv-python-headless", "pillow")):
            raise ConfigError(
                [
                    f"{', '.join(missing)}: not installed, but extraction needs it; "
                    "pip install 'conclugen-sweeps[extract]'."
                ]
            )
        recipe = load_recipe(backbones)
        clips = ClipList.read(clip_list, root)
        allowed = allowed_failures(max_failed, len(clips))
        if recipe.skip_text and not clips.has_transcripts and "text" in recipe.kinds:
            recipe = recipe.without_text()
            typer.echo("No clip of the list has a transcript: the recipe's backbones of text are left out.")
        for licence in recipe.licences:
            typer.echo(f"Licence of {licence}.")
        given: dict[str, object] = {
            "--out": out, "--backbones": backbones, "--root": root, "--dtype": dtype, "--max-failed": max_failed,
            "--clips-per-shard": clips_per_shard, "--address": address,
        }  # fmt: skip
        options = [str(word) for name, value in given.items() if value is not None for word in (name, value)]
        flags = [*["--retry-failed"] * retry_failed, *["--keep-incomplete"] * keep_incomplete]
        again = command("extract", clip_list, *options, *flags)
        interrupts = Interrupts(f"go on with: {again}")
        from sweeps.extraction.extract import StoppedError
        from sweeps.extraction.extract import extract as run

        try:
            summary = run(
                clips,
                recipe,
                out,
                dtype=dtype,
                clips_per_shard=clips_per_shard,
                max_failed=allowed,
                retry_failed=retry_failed,
                keep_incomplete=keep_incomplete,
                address=address,
                interrupts=interrupts,
            )
        except StoppedError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(INCOMPLETE) from None
        except KeyboardInterrupt:
            typer.echo(f"{interrupts.cause}; finished shards are in {out}; {interrupts.advice}", err=True)
            raise typer.Exit(INTERRUPTED) from None
    reasons = Counter(failure.reason for failure in summary.failures)
    this_run = (
        f"{summary.extracted} of them now, in {summary.seconds:.0f} s" if summary.extracted else "all there before"
    )
    typer.echo(f"{out}: features of {summary.clips - len(summary.failures)} of {summary.clips} clips, {this_run}")
    if reasons:
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        typer.echo(f"Without features: {counts}; see {out / 'failures.csv'}")
    if summary.gaps:
        incomplete = len({gap.sample_id for gap in summary.gaps})
        lacking = Counter((gap.modality, gap.reason) for gap in summary.gaps)
        counts = ", ".join(f"{count} without {name} ({reason})" for (name, reason), count in lacking.most_common())
        typer.echo(f"With gaps: {counted(incomplete, 'clip')}: {counts}; see {out / 'incomplete.csv'}")


def allowed_failures(text: str, clips: int) -> int:
    """Return how many of ``clips`` clips may fail according to ``text``, a number or a percentage.

    Raises:
        ConfigError: ``text`` is neither.
    """
    share = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text)
    if share is not None and float(share[1]) <= 100:
        return int(clips * float(share[1]) / 100)
    if not re.fullmatch("[0-9]+", text):
        raise ConfigError([f"--max-failed {text}: must be a whole number of clips, or a share such as 1%."])
    return int(text)
