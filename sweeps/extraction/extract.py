"""Extract the features of a clip list into a folder, as `conclugen extract` does."""

import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import ray

from conclugen.datasets.clips import ClipList
from conclugen.extraction.descriptions import describe
from conclugen.extraction.descriptors.packages import package_version
from conclugen.extraction.folder import ExtractionFolder, Failure, Gap, Identity, fingerprint
from conclugen.extraction.recipe import Recipe
from sweeps.config import ConfigError
from sweeps.execution.cluster import alive_nodes, connect, disconnect
from sweeps.execution.preflight import check_code
from sweeps.extraction.pipeline import SOFTWARE, results
from sweeps.extraction.progress import ClipProgress
from sweeps.interrupts import Interrupts, hangups_blocked
from sweeps.terminal import log, output_to_log

__all__ = ["StoppedError", "Summary", "extract"]


class StoppedError(RuntimeError):
    """An extraction that ended early; the message says why. Finished shards stay for the next run."""


@dataclass(frozen=True)
class Summary:
    """The outcome of an extraction."""

    clips: int
    """Clips of the whole list."""
    failures: tuple[Failure, ...]
    """Clips without features, those of earlier runs included."""
    gaps: tuple[Gap, ...]
    """What clips with features lack, those of earlier runs included."""
    seconds: float
    """Duration of this run."""
    extracted: int
    """Clips that this run dealt with, failures included."""


def extract(
    clips: ClipList,
    recipe: Recipe,
    out: Path,
    *,
    dtype: str = "float32",
    clips_per_shard: int = 1024,
    max_failed: int = 0,
    retry_failed: bool = False,
    keep_incomplete: bool = False,
    address: str | None = None,
    interrupts: Interrupts | None = None,
) -> Summary:
    """Extract features of ``clips`` into the folder ``out``, or continue an extraction there.

    Args:
        clips: the clips.
        recipe: backbones, and how they are applied.
        out: folder that becomes a feature set; new, or of the same extraction.
        dtype: stored precision, float32 or float16.
        clips_per_shard: clips of one shard; a killed run loses at most so many clips of each split.
        max_failed: the number of clips without features that the run accepts; one more stops the run.
        retry_failed: try clips again that failed in an earlier run.
        keep_incomplete: keep clips that lack some modalities, with gaps; they count as clips with features.
        address: Ray cluster; None for the one that RAY_ADDRESS names, or else a new one on this machine.
        interrupts: signals that ask the run to end; None for those that this process has.

    Raises:
        KeyboardInterrupt: the user interrupted; finished shards stay.
        RecipeError: a backbone cannot be used, or the folder belongs to another extraction; nothing is written.
        ConfigError: there is no such cluster, it has too few GPUs, or its nodes have other code; a new folder is
            removed.
        FeatureSetError: no training clip has features.
        StoppedError: more than ``max_failed`` clips failed, or Ray failed.
    """
    descriptions = describe(recipe)
    identity = Identity(
        clips=fingerprint(clips),
        recipe=recipe.model_dump(mode="json"),
        backbones=tuple(asdict(description) for description in descriptions),
        dtype=dtype,
        clips_per_shard=clips_per_shard,
        versions={name: package_version(name) for name in (*SOFTWARE, *recipe.packages)},
        keep_incomplete=keep_incomplete,
    )
    log_file = out / "extraction.log"
    began = time.monotonic()
    extracted = 0
    with (
        _removed_if_refused(out),
        ExtractionFolder(out, clips, recipe, identity, retry_failed=retry_failed) as folder,
    ):
        if todo := folder.todo:
            with output_to_log(log_file) as console:
                try:
                    with hangups_blocked():
                        connect(address)
                    if interrupts is not None:
                        interrupts.install()  # again, because Ray has a handler of its own
                    check_code(alive_nodes())
                    with (
                        closing(results(clips, recipe, descriptions, folder, todo)) as clip_results,
                        ClipProgress(console, len(clips), len(clips) - len(todo)) as display,
                    ):
                        for result in clip_results:
                            folder.add(result)
                            extracted += 1
                            display.show(extracted, folder.failed, folder.incomplete)
                            if folder.failed > max_failed:
                                raise StoppedError(_too_many(folder, max_failed, out))
                except ray.exceptions.RayError as error:
                    reason = str(error).strip().splitlines()[-1]
                    raise StoppedError(f"{reason}\nSee {log_file}; finished shards stay in {out}.") from None
                except KeyboardInterrupt:
                    if interrupts is not None:
                        log(f"{interrupts.cause}; {interrupts.advice}")
                    raise
                finally:
                    disconnect()
        if not folder.finished:
            folder.finish()
        seconds = time.monotonic() - began
        return Summary(len(clips), tuple(folder.failures), tuple(folder.gaps), seconds, extracted)


@contextmanager
def _removed_if_refused(out: Path) -> Iterator[None]:
    """Remove a folder that the body has made, if the body raises ConfigError."""
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        yield
    except ConfigError:
        if new:
            shutil.rmtree(out)
        for folder in new[1:]:
            folder.rmdir()
        raise


def _too_many(folder: ExtractionFolder, max_failed: int, out: Path) -> str:
    latest = "".join(f"\n  {f.sample_id}: {f.reason}: {f.details}" for f in folder.failures[-5:])
    return (
        f"{folder.failed} clips have no features, more than --max-failed allows ({max_failed}); the last:{latest}"
        f"\nFinished shards stay in {out}; mend the cause and run the command again with --retry-failed, or allow more."
    )
