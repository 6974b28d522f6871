"""Extraction on Ray Data: stream clips through decoding tasks and one pool of actors per frozen backbone.

A row is a portion of one version of one clip. Many small decoding tasks on CPUs give a row the blocks of each backbone.
The actors of a backbone hold its model, on a share of a GPU where the cluster has any. They replace the row's blocks by
a sum and a weight. Descriptors have no actors: decoding tasks compute their vectors, and so all CPUs decode if a recipe
has no models. The driver adds up the sums and hands whole clips to the folder. Only a few tables of rows are in
flight, however long the clip list is.

One Ray Data pipeline per shard was rejected, because each would load all models again. One actor that holds all
backbones was rejected, too: the slowest backbone could not have more copies than the others.
"""

import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import torch
from safetensors.numpy import load, save

from conclugen.datasets.clips import Clip, ClipList
from conclugen.extraction.decoding import ClipError
from conclugen.extraction.descriptions import Description
from conclugen.extraction.descriptors.catalogue import DESCRIPTORS
from conclugen.extraction.folder import ExtractionFolder, Failure, Gap, Result
from conclugen.extraction.inputs import Preparation
from conclugen.extraction.readers import Block, Sums
from conclugen.extraction.recipe import Backbone, Recipe
from sweeps.config import ConfigError
from sweeps.estimate.room import Node
from sweeps.execution.cluster import alive_nodes
from sweeps.execution.code import Origin, change, code_here, origin
from sweeps.extraction.assembly import ClipResult, Gaps, assembled_clips

__all__ = [
    "SOFTWARE", "BackboneActor", "Shares", "decode", "pack_blocks", "results", "share_cluster", "to_result",
    "unpack_blocks",
]  # fmt: skip

SOFTWARE = ("torch", "transformers", "av", "pillow")
"""Packages whose versions features depend on."""
_CLIPS_PER_TASK = 64


@dataclass(frozen=True)
class Shares:
    """CPUs and GPUs of each copy of a backbone and of each decoding task."""

    copies: int
    """Copies of each backbone, at most."""
    cpus: float
    """CPUs of one copy."""
    gpus: tuple[float, ...]
    """GPUs of one copy of each backbone, in the recipe's order."""
    decode_cpus: float
    """CPUs of one decoding task."""


def results(
    clips: ClipList, recipe: Recipe, descriptions: Sequence[Description], folder: ExtractionFolder, todo: Sequence[int]
) -> Generator[Result, None, None]:
    """Extract the clips in ``todo`` (rows of the clip list) and yield the result of each, in any order.

    Raises:
        ConfigError: the recipe asks for more GPUs than the cluster has.
    """
    shares = share_cluster(recipe, alive_nodes())
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    settings = recipe.model_dump_json()
    code = origin(code_here())
    data = ray.data.from_arrow(_tables_of_versions(clips, folder, todo)).map_batches(
        partial(decode, settings=settings, code=code, keep_incomplete=folder.keep_incomplete),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=shares.decode_cpus,
    )
    for index, (backbone, description) in enumerate(zip(recipe.backbones, descriptions, strict=True)):
        if backbone.descriptor is not None:
            continue
        data = data.map_batches(
            BackboneActor,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_args=(settings, code, index, description.width, max(1, int(shares.cpus))),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=shares.copies),
            num_cpus=shares.cpus,
            num_gpus=shares.gpus[index],
        )
    # The pipeline is closed before Ray shuts down: a pipeline that runs on would start a cluster of its own.
    batches: Any = iter(data.iter_batches(batch_size=None, batch_format="pyarrow"))
    with closing(batches) as tables:
        for clip, result, gaps in assembled_clips(tables, descriptions, lambda clip: len(folder.versions(clip))):
            yield to_result(clips, recipe, clip, result, gaps)


def to_result(clips: ClipList, recipe: Recipe, clip: int, clip_result: ClipResult, gaps: Gaps) -> Result:
    """Turn the features and gaps of a clip (a row of ``clips``), or its reason and details, into the folder's form.

    A modality is missing if one of its backbones has nothing to read. A clip without any modality has failed.
    """
    sample_id = clips.table["sample_id"][clip].as_py()
    owners = [modality for modality, backbones in recipe.modalities.items() for _ in backbones]
    missing = {owners[index]: gaps[index] for index in sorted(gaps, reverse=True)}
    if not isinstance(clip_result, tuple):
        if missing.keys() != set(owners):
            kept = [
                Gap(sample_id=sample_id, modality=name, reason=missing[name][0], details=missing[name][1])
                for name in recipe.modalities
                if name in missing
            ]
            return Result(clip, clip_result, gaps=tuple(kept))
        clip_result = missing[owners[0]]
    reason, details = clip_result
    return Result(clip, failure=Failure(sample_id=sample_id, reason=reason, details=details))


def share_cluster(recipe: Recipe, nodes: Sequence[Node]) -> Shares:
    """Divide a cluster: half of its CPUs decode, and each GPU holds one copy of each model.

    All of its CPUs decode if the recipe has descriptors only.

    Raises:
        ConfigError: the recipe asks for more GPUs than the cluster has.
    """
    cpus = sum(node.cpus for node in nodes)
    gpus = sum(node.gpus for node in nodes)
    models = [backbone for backbone in recipe.backbones if backbone.descriptor is None]
    if not models:
        return Shares(0, 0.0, (0.0,) * len(recipe.backbones), 1.0)
    count = len(models)
    gpu_shares = tuple(
        math.floor(1e4 * (b.gpus or 1 / count)) / 1e4 if gpus and b.descriptor is None else 0.0
        for b in recipe.backbones
    )
    if sum(gpu_shares) > gpus:
        raise ConfigError(
            [f"gpus: the backbones take {sum(gpu_shares):g} together, but the cluster has {gpus}; take less."]
        )
    copies = gpus or max(1, cpus // (8 * count))
    half = max(cpus, 1) / 2
    return Shares(copies, math.floor(1e4 * half / (count * copies)) / 1e4, gpu_shares, min(1.0, half))


def _tables_of_versions(clips: ClipList, folder: ExtractionFolder, todo: Sequence[int]) -> list[pa.Table]:
    """Make the tables that decoding tasks take, one each: a row per version of a clip in ``todo``."""
    per_task = max(1, min(_CLIPS_PER_TASK, len(todo) // 16))
    names = ("sample_id", "video", "start", "end", "transcript")
    table = clips.table.select(names).append_column("clip", pa.array(np.arange(len(clips))))
    table = table.append_column("root", pa.array([clips.header.root] * len(clips)))
    tables = []
    for start in range(0, len(todo), per_task):
        pairs = [(clip, version) for clip in todo[start : start + per_task] for version in folder.versions(clip)]
        rows = table.take([clip for clip, _ in pairs])
        tables.append(rows.append_column("version", pa.array([version for _, version in pairs], pa.int16())))
    return tables


def _refuse_other_code(code: Origin) -> None:
    if (difference := change(code)) is not None:
        raise RuntimeError(f"a process of Ray would run other code: {difference}")


@cache
def _preparation(settings: str, code: str) -> Preparation:
    """Return the preparation that all tasks in this process share."""
    _refuse_other_code(json.loads(code))
    torch.set_num_threads(1)
    cv2.setNumThreads(1)  # there is a decoding task per CPU
    return Preparation(Recipe.model_validate_json(settings))


def decode(versions: pa.Table, settings: str, code: Origin, *, keep_incomplete: bool = False) -> Iterator[pa.Table]:
    """Decode versions of clips into rows, one per portion.

    Args:
        versions: a row per version, with the columns sample_id, video, start, end, transcript, clip, root and version.
        settings: the recipe as JSON.
        code: the code that the extraction was started with.
        keep_incomplete: whether a clip may lack what some backbones read.

    Yields:
        Tables of one row with these columns: clip; version; portion (its number); last (whether it is the last);
        reason and details of a failure (empty without one); gaps (JSON: backbone, reason and details of each, in the
        last row); for each model blocks_0 or the like, from :func:`pack_blocks`, numbered as in the recipe; for each
        descriptor its sum and its weight.

    Raises:
        RuntimeError: this process has other code.
    """
    preparation = _preparation(settings, json.dumps(code))
    widths = [
        None if backbone.descriptor is None else DESCRIPTORS[backbone.descriptor].width
        for backbone in Recipe.model_validate_json(settings).backbones
    ]
    empty: list[list[Block]] = [[] for _ in widths]
    for version in versions.to_pylist():
        clip = Clip(**{name: version[name] for name in ("sample_id", "video", "start", "end", "transcript")})
        file = None if clip.video is None else Path(version["root"]) / clip.video
        number = -1
        previous: list[list[Block]] | None = None
        gaps: dict[int, ClipError] | None = {} if keep_incomplete else None
        try:
            for number, portion in enumerate(preparation.portions(clip, file, version["version"], gaps)):
                if previous is not None:
                    yield _row(version, number - 1, previous, widths)
                previous = portion
            yield _row(version, number, previous or empty, widths, last=True, gaps=gaps or {})
        except ClipError as error:
            yield _row(version, number + 1, empty, widths, last=True, failure=error)


def _row(
    version: dict[str, Any],
    number: int,
    portion: Sequence[Sequence[Block]],
    widths: Sequence[int | None],
    *,
    last: bool = False,
    failure: ClipError | None = None,
    gaps: Mapping[int, ClipError] = MappingProxyType({}),
) -> pa.Table:
    columns = {
        "clip": pa.array([version["clip"]], pa.int64()),
        "version": pa.array([version["version"]], pa.int16()),
        "portion": pa.array([number], pa.int32()),
        "last": pa.array([last]),
        "reason": pa.array([failure.reason if failure else ""]),
        "details": pa.array([failure.details if failure else ""]),
        "gaps": pa.array([json.dumps([[index, error.reason, error.details] for index, error in gaps.items()])]),
    }
    for index, (blocks, width) in enumerate(zip(portion, widths, strict=True)):
        if width is None:
            columns[f"blocks_{index}"] = pa.array([pack_blocks(blocks)], pa.large_binary())
        else:
            total = np.zeros((1, width))
            for block in blocks:
                total += np.asarray(block["vector"], np.float32)
            columns |= _sum_columns(index, total, np.array([float(len(blocks))]))
    return pa.table(columns)


def _sum_columns(index: int, sums: npt.NDArray[np.floating], weights: npt.NDArray[np.floating]) -> dict[str, pa.Array]:
    """Return the columns of a backbone's sums (rows, width) and weights (rows,)."""
    values = pa.FixedSizeListArray.from_arrays(sums.reshape(-1), sums.shape[1])
    return {f"sum_{index}": values, f"weight_{index}": pa.array(weights)}


def pack_blocks(blocks: Sequence[Block]) -> bytes:
    """Write blocks as one safetensors file in memory; no blocks are no bytes."""
    arrays = {f"{place}/{name}": array for place, block in enumerate(blocks) for name, array in block.items()}
    return save(arrays) if arrays else b""


def unpack_blocks(content: bytes) -> list[Block]:
    """Read the blocks that :func:`pack_blocks` wrote, in their order."""
    blocks: dict[int, Block] = {}
    for key, array in (load(content) if content else {}).items():
        place, _, name = key.partition("/")
        blocks.setdefault(int(place), {})[name] = array
    return [blocks[place] for place in sorted(blocks)]


def _encoder_of(backbone: Backbone, threads: int) -> Callable[[Sequence[Block]], tuple[Sums, Sums]]:
    """Load a backbone's model, on a GPU where this process has one."""
    if backbone.onnx is not None:
        from conclugen.extraction.onnx import OnnxEncoder

        return OnnxEncoder(backbone, threads)
    from conclugen.extraction.backbones import Encoder  # imports transformers, which decoding may do without

    return Encoder(backbone, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


class BackboneActor:
    """Replace the blocks of one backbone by their sum, (width,) float64, and their weight.

    Args:
        settings: the recipe as JSON.
        code: the code that the extraction was started with.
        index: which of the recipe's backbones.
        width: of its vectors.
        threads: of torch in this process.
    """

    def __init__(self, settings: str, code: Origin, index: int, width: int, threads: int) -> None:
        _refuse_other_code(code)
        torch.set_num_threads(threads)
        self._encoder = _encoder_of(Recipe.model_validate_json(settings).backbones[index], threads)
        self._index = index
        self._width = width

    def __call__(self, table: pa.Table) -> pa.Table:
        """Replace the column of blocks in ``table`` by a column of sums and a column of weights."""
        column = table[f"blocks_{self._index}"]
        blocks: list[Block] = []
        owners: list[int] = []
        for row, content in enumerate(column):
            row_blocks = unpack_blocks(content.as_py())
            blocks += row_blocks
            owners += [row] * len(row_blocks)
        row_sums = np.zeros((len(table), self._width))
        row_weights = np.zeros(len(table))
        if blocks:
            sums, weights = self._encoder(blocks)
            np.add.at(row_sums, owners, sums)
            np.add.at(row_weights, owners, weights)
        table = table.drop_columns([f"blocks_{self._index}"])
        for name, column in _sum_columns(self._index, row_sums, row_weights).items():
            table = table.append_column(name, column)
        return table
