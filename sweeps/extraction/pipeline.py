"""Extraction on Ray Data: clips stream through decoding tasks and one pool of actors per frozen backbone.

A row is a portion of one version of one clip. Decoding (many small tasks on CPUs) gives it each backbone's blocks; each
pool (actors that hold the model, on a share of a GPU where there are any) turns its blocks into a sum and a weight. The
driver adds the sums up, and hands whole clips to the folder. Only a few blocks of rows are in flight, however long the
list.

One Ray Data pipeline per shard was rejected: each would load all models again. So was one actor that holds all
backbones: the slowest of them could not have more copies than the others.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from safetensors.numpy import load, save

from conclugen.datasets.clips import Clip, ClipList
from conclugen.extraction.backbones import Description, Encoder
from conclugen.extraction.decoding import ClipError
from conclugen.extraction.folder import ExtractionFolder, Failure, Result
from conclugen.extraction.inputs import Block, Preparation
from conclugen.extraction.recipe import Recipe
from sweeps.config import ConfigError
from sweeps.execution.cluster import alive_nodes
from sweeps.extraction.assembly import ClipResult, assembled_clips

__all__ = []

_CLIPS_PER_TASK = 64
SOFTWARE = ("torch", "transformers", "av", "pillow")


@dataclass(frozen=True)
class _Shares:
    """What each copy of a backbone gets, and each decoding task."""

    copies: int
    cpus: float
    gpus: tuple[float, ...]
    decode_cpus: float


# -- the pipeline ----------------------------------------------------------------------------------------------------


def results(
    clips: ClipList, recipe: Recipe, descriptions: Sequence[Description], folder: ExtractionFolder, todo: Sequence[int]
) -> Generator[Result, None, None]:
    """Yield what becomes of each clip in ``todo``, in any order."""
    shares = _shares(recipe)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    settings = recipe.model_dump_json()
    data = ray.data.from_arrow(_jobs(clips, folder, todo)).map_batches(
        partial(_decode, settings=settings),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=shares.decode_cpus,
    )
    for index, description in enumerate(descriptions):
        data = data.map_batches(
            _Copy,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_args=(settings, index, description.width, max(1, int(shares.cpus))),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=shares.copies),
            num_cpus=shares.cpus,
            num_gpus=shares.gpus[index],
        )
    # Closed before Ray is left: a pipeline that runs on would start a cluster of its own.
    batches: Any = iter(data.iter_batches(batch_size=None, batch_format="pyarrow"))
    with closing(batches) as tables:
        for clip, features in assembled_clips(tables, descriptions, lambda clip: len(folder.versions(clip))):
            yield _result(clips, clip, features)


def _result(clips: ClipList, clip: int, found: ClipResult) -> Result:
    if not isinstance(found, tuple):
        return Result(clip, found)
    reason, details = found
    name = clips.table["sample_id"][clip].as_py()
    return Result(clip, failure=Failure(sample_id=name, reason=reason, details=details))


def _shares(recipe: Recipe) -> _Shares:
    """Divide the cluster: half of the CPUs decode, GPUs hold one copy of each backbone.

    Raises:
        ConfigError: the recipe asks for more GPUs than there are.
    """
    nodes = alive_nodes()
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    count = len(recipe.backbones)
    each = tuple(math.floor(1e4 * (b.gpus or 1 / count)) / 1e4 if gpus else 0.0 for b in recipe.backbones)
    if sum(each) > gpus:
        raise ConfigError([f"gpus: the backbones take {sum(each):g} together, but the cluster has {gpus}; take less."])
    copies = gpus or max(1, cpus // (8 * count))
    half = max(cpus, 1) / 2
    return _Shares(copies, math.floor(1e4 * half / (count * copies)) / 1e4, each, min(1.0, half))


def _jobs(clips: ClipList, folder: ExtractionFolder, todo: Sequence[int]) -> list[pa.Table]:
    """What is to be decoded: a row per version of a clip, in tables of one task's size."""
    per_task = max(1, min(_CLIPS_PER_TASK, len(todo) // 16))
    names = ("sample_id", "video", "start", "end", "transcript")
    table = clips.table.select(names).append_column("clip", pa.array(np.arange(len(clips))))
    table = table.append_column("root", pa.array([clips.header.root] * len(clips)))
    tables = []
    for start in range(0, len(todo), per_task):
        some = [(clip, version) for clip in todo[start : start + per_task] for version in folder.versions(clip)]
        rows = table.take([clip for clip, _ in some])
        tables.append(rows.append_column("version", pa.array([version for _, version in some], pa.int16())))
    return tables


@cache
def _preparation(settings: str) -> Preparation:
    """One per process: Ray gives the same process many tasks."""
    torch.set_num_threads(1)
    return Preparation(Recipe.model_validate_json(settings))


def _decode(jobs: Any, settings: str) -> Iterator[pa.Table]:
    """Yield a row per portion: of which clip and version, which and whether the last, why it failed, and blocks."""
    preparation = _preparation(settings)
    count = len(Recipe.model_validate_json(settings).backbones)
    for job in jobs.to_pylist():
        clip = Clip(**{name: job[name] for name in ("sample_id", "video", "start", "end", "transcript")})
        file = None if clip.video is None else Path(job["root"]) / clip.video
        number = -1
        held: list[list[Block]] | None = None
        try:
            for number, portion in enumerate(preparation.portions(clip, file, job["version"])):
                if held is not None:
                    yield _row(job, number - 1, held)
                held = portion
            yield _row(job, number, held or [[]] * count, last=True)
        except ClipError as error:
            yield _row(job, number + 1, [[]] * count, last=True, failure=error)


def _row(
    job: dict[str, Any],
    number: int,
    portion: Sequence[Sequence[Block]],
    *,
    last: bool = False,
    failure: ClipError | None = None,
) -> pa.Table:
    columns = {
        "clip": pa.array([job["clip"]], pa.int64()),
        "version": pa.array([job["version"]], pa.int16()),
        "portion": pa.array([number], pa.int32()),
        "last": pa.array([last]),
        "reason": pa.array([failure.reason if failure else ""]),
        "details": pa.array([failure.details if failure else ""]),
    }
    for index, blocks in enumerate(portion):
        columns[f"blocks_{index}"] = pa.array([_packed(blocks)], pa.large_binary())
    return pa.table(columns)


def _packed(blocks: Sequence[Block]) -> bytes:
    named = {f"{place}/{name}": array for place, block in enumerate(blocks) for name, array in block.items()}
    return save(named) if named else b""


def _unpacked(packed: bytes) -> list[Block]:
    blocks: dict[int, Block] = {}
    for key, array in (load(packed) if packed else {}).items():
        place, _, name = key.partition("/")
        blocks.setdefault(int(place), {})[name] = array
    return [blocks[place] for place in sorted(blocks)]


class _Copy:
    """An actor with one backbone: replaces its blocks by their sum, (width,) float64, and weight."""

    def __init__(self, settings: str, index: int, width: int, threads: int) -> None:
        torch.set_num_threads(threads)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._encoder = Encoder(Recipe.model_validate_json(settings).backbones[index], device)
        self._index, self._width = index, width

    def __call__(self, table: pa.Table) -> pa.Table:
        column = table[f"blocks_{self._index}"]
        blocks: list[Block] = []
        owners: list[int] = []
        for row, packed in enumerate(column):
            mine = _unpacked(packed.as_py())
            blocks += mine
            owners += [row] * len(mine)
        totals, heavy = np.zeros((len(table), self._width)), np.zeros(len(table))
        if blocks:
            sums, weights = self._encoder(blocks)
            np.add.at(totals, owners, sums)
            np.add.at(heavy, owners, weights)
        totals_column = pa.FixedSizeListArray.from_arrays(totals.reshape(-1), self._width)
        table = table.drop_columns([f"blocks_{self._index}"])
        table = table.append_column(f"sum_{self._index}", totals_column)
        return table.append_column(f"weight_{self._index}", pa.array(heavy))


# -- clips again -----------------------------------------------------------------------------------------------------
