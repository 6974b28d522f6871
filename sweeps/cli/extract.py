"""`conclugen extract`: clips to a feature set."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from conclugen.datasets.clips import ClipList
from conclugen.extraction.recipe import load_recipe
from sweeps.cli.console import INCOMPLETE, INTERRUPTED, bad_input, command
from sweeps.cli.sweep import Address
from sweeps.config import ConfigError


def extract(
    clip_list: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A clip list, as `conclugen manifest` makes.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the feature set; the same again to go on with it.")
    ],
    backbones: Annotated[
        str, typer.Option(metavar="FILE.yaml", help="Recipe: backbones of each modality; or paper, strong.")
    ],
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the videos are now, if not where the list says.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Stored precision: float32 or float16.")] = "float32",
    max_failed: Annotated[
        str, typer.Option(metavar="N|P%", help="Clips that may be unusable before the run stops; or their share.")
    ] = "1%",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try clips again that failed before.")] = False,
    clips_per_shard: Annotated[int, typer.Option(metavar="N", min=1, help="Clips that are finished together.")] = 1024,
    address: Address = None,
) -> None:
    """Run frozen backbones over clips, on Ray; an interrupted run goes on with the same command."""
    with bad_input():
        if dtype not in ("float32", "float16"):
            raise ConfigError([f"--dtype {dtype}: must be float32 or float16."])
        recipe = load_recipe(backbones)
        clips = ClipList.read(clip_list, root)
        allowed = _allowed(max_failed, len(clips))
        asked = command("extract", clip_list, "--out", out, "--backbones", backbones)
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
                address=address,
                farewell=f"interrupted; go on with: {asked}",
            )
        except StoppedError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(INCOMPLETE) from None
        except KeyboardInterrupt:
            typer.echo(f"interrupted; finished shards are in {out}; go on with: {asked}", err=True)
            raise typer.Exit(INTERRUPTED) from None
    reasons = Counter(failure.reason for failure in summary.failures)
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    typer.echo(
        f"{out}: features of {summary.clips - len(summary.failures)} of {summary.clips} clips"
        + (f", {summary.made} of them now, in {summary.seconds:.0f} s" if summary.made else ", all there before")
    )
    if told:
        typer.echo(f"Without features: {told}; see {out / 'failures.csv'}")


def _allowed(text: str, clips: int) -> int:
    """How many of so many clips may fail.

    Raises:
        ConfigError: it is no number, or share.
    """
    share = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text)
    if share is not None and float(share[1]) <= 100:
        return int(clips * float(share[1]) / 100)
    if not re.fullmatch("[0-9]+", text):
        raise ConfigError([f"--max-failed {text}: must be a whole number of clips, or a share such as 1%."])
    return int(text)
