"""Computational sequences of the CMU-MultimodalSDK (``.csd``, HDF5), aligned to the intervals of their labels.

A sequence holds, for each video, ``features`` (T, d) and ``intervals`` (T, 2) in seconds. A sample is a labelled
interval, called ``<video>[<number>]`` as in the SDK. Its frames are those whose intervals overlap it; a frame without
duration has to lie in it. They are averaged with equal weight, as the SDK's example of a collapse function does.

The SDK's lists of videos (``cmu_mosei_std_folds.py``) give the splits. They are read as literals and not executed.

Source: CMU-MultiComp-Lab/CMU-MultimodalSDK, ``mmsdk/mmdatasdk/dataset/dataset.py`` (``align``).
"""

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conclugen.features.manifest import FeatureSetError
from conclugen.formats.content import Source, is_array
from conclugen.formats.options import Options
from conclugen.formats.roles import split_of
from conclugen.formats.table import Column, Content, Numbers, Table, random_access, shape_text, value_column

__all__ = ["CSD", "FOLDS", "aligned"]

_SEQUENCE_BYTES = 2**22
_INTERVALS = "intervals"
"""Column of the intervals of labels, by which the tables of features are aligned."""


class _Csd:
    """A computational sequence."""

    name = "csd"
    meaning = "a computational sequence of the CMU-MultimodalSDK"

    def recognise(self, source: Source) -> str | None:
        """Return what shows the layout, or None."""
        data = _data(source.tree)
        if data is None:
            return None
        shape = next(iter(data.values()))["features"].shape
        return f"{_title(source.tree)}, {len(data):,} videos, the first is {shape_text(shape)}"

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return the table of labelled intervals, or of videos; :func:`aligned` makes the latter one of intervals."""
        data = _data(source.tree) or {}
        if _is_of_labels(source):
            return [_label_table(source, data)]
        return [_video_table(source, data)]


class _Folds:
    """The SDK's lists of the videos of each split."""

    name = "folds"
    meaning = "lists of videos of the CMU-MultimodalSDK, such as cmu_mosei_std_folds.py"

    def recognise(self, source: Source) -> str | None:
        """Return what shows the layout, or None."""
        if source.kind != "text" or source.path.suffix != ".py":
            return None
        lists = _lists(source)
        return f"lists {', '.join(lists)}" if lists else None

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return a table video -> split.

        Raises:
            FeatureSetError: a video is in two lists.
        """
        split_of_video: dict[str, str] = {}
        for name, videos in _lists(source).items():
            for video in videos:
                if split_of_video.setdefault(video, name) != name:
                    raise FeatureSetError(
                        f"{source.path}: {video} is in {split_of_video[video]} and in {name}; mend the lists."
                    )
        columns = {"split": value_column("split", [*split_of_video.values()], role="split")}
        return [Table(name=source.name, ids=[*split_of_video], columns=columns, blocks=lambda _: iter(()))]


CSD, FOLDS = _Csd(), _Folds()


def _data(tree: Any) -> Mapping[str, Any] | None:
    """Return video -> features and intervals; None if the file holds something else."""
    if not isinstance(tree, Mapping) or len(tree) != 1:
        return None
    (sequence,) = tree.values()
    data = sequence.get("data") if isinstance(sequence, Mapping) else None
    if not isinstance(data, Mapping) or not data:
        return None
    whole = all(isinstance(video, Mapping) and "features" in video and _INTERVALS in video for video in data.values())
    return data if whole and hasattr(next(iter(data.values()))["features"], "shape") else None


def _title(tree: Any) -> str:
    return str(next(iter(tree)))


def _is_of_labels(source: Source) -> bool:
    return "label" in _title(source.tree).lower() or "label" in source.name.lower()


def _label_table(source: Source, data: Mapping[str, Any]) -> Table:
    """Return the table of labelled intervals, with a column for each dimension."""
    ids, videos, rows, intervals = [], [], [], []
    for video, content in data.items():
        labels, times = np.asarray(content["features"][()]), np.asarray(content[_INTERVALS][()])
        if labels.ndim != 2 or times.shape != (len(labels), 2):
            raise FeatureSetError(
                f"{source.path}: {video} has features {labels.shape} and intervals {times.shape}; fetch it again."
            )
        ids += [f"{video}[{number}]" for number in range(len(labels))]
        videos += [video] * len(labels)
        rows += labels.tolist()
        intervals += times.tolist()
    names = _dimensions(source.tree, len(rows[0]) if rows else 0)
    columns = {name: value_column(name, [row[place] for row in rows], role="label") for place, name in enumerate(names)}
    columns["video"] = value_column("video", videos, role="group")
    columns[_INTERVALS] = value_column(_INTERVALS, intervals)
    return Table(name=source.name, ids=ids, columns=columns, blocks=lambda _: iter(()))


def _dimensions(tree: Any, count: int) -> list[str]:
    """Return the names of the columns: the file's own, or numbers."""
    (sequence,) = tree.values()
    given = (sequence.get("metadata") or {}).get("dimension names")
    try:
        names = json.loads(given[0] if isinstance(given, list) else given) if given else None
    except (ValueError, TypeError):
        names = None
    if isinstance(names, list) and len(names) == len(set(names)) == count:
        return [str(name) for name in names]
    return ["label"] if count == 1 else [f"label_{number}" for number in range(1, count + 1)]


def _video_table(source: Source, data: Mapping[str, Any]) -> Table:
    """Return the table of whole videos."""
    ids = [*data]
    column, missing = _column(source.name, data, ids)

    def read(start: int, stop: int) -> Content:
        return [missing.get(row) or np.asarray(data[ids[row]]["features"][()]) for row in range(start, stop)]

    return Table(
        name=source.name, ids=ids, columns={source.name: column},
        blocks=random_access({source.name: read}, len(ids), _SEQUENCE_BYTES),
    )  # fmt: skip


def _column(key: str, data: Mapping[str, Any], videos: Sequence[str]) -> tuple[Column, dict[int, str]]:
    """Return the column of features of the given videos, which may come several times, and why some have none."""
    first = next((content["features"] for content in data.values() if is_array(content["features"])), None)
    width = int(first.shape[1]) if first is not None and first.ndim == 2 else 0
    missing = {}
    for row, video in enumerate(videos):
        content = data.get(video)
        if content is None:
            missing[row] = "its video is not there"
        elif not is_array(content["features"]) or content["features"].shape[1:] != (width,):
            missing[row] = "its video has no features of this width"
        elif content[_INTERVALS].shape != (content["features"].shape[0], 2):
            missing[row] = (
                f"its video has {content['features'].shape[0]:,} frames and {content[_INTERVALS].shape[0]:,} intervals"
            )
    frames = sum(content["features"].shape[0] for content in data.values() if is_array(content["features"]))
    problem = None if width else f"{key}: holds no numbers, such as words; leave the file out."
    column = Column(
        key=key, kind="sequence", shape=f"{len(data):,} videos, {frames:,} frames of width {width:,}", width=width,
        role="feature", missing=missing, lengths="all frames of each video", fault=lambda: problem,
    )  # fmt: skip
    return column, missing


def aligned(sources: Sequence[tuple[Source, Sequence[Table]]], options: Options) -> dict[Source, list[Table]]:
    """Return the tables of computational sequences and lists of videos, with a row for each labelled interval.

    Args:
        sources: the sources of these layouts, with the tables that were read from each.
        options: what the user decided; ``rows="clips"`` makes each video a sample.

    Raises:
        FeatureSetError: there is no file of labels, or there are several with other intervals.
    """
    labels = {source: table for source, (table,) in sources if _INTERVALS in table.columns}
    features = {source: table for source, (table,) in sources if source.kind == "hdf5" and source not in labels}
    lists = [table for source, (table,) in sources if source.kind != "hdf5"]
    if not labels:
        if options.rows != "clips" and features:
            names = ", ".join(source.path.name for source in features)
            raise FeatureSetError(
                f"{names}: no file of labels says which intervals are samples. Give it, too, such as "
                "CMU_MOSEI_Labels.csd. Or each whole video is a sample: give --rows clips."
            )
        return {source: list(tables) for source, tables in sources}
    first = next(iter(labels.values()))
    intervals = first.columns[_INTERVALS].values
    if any(table.ids != first.ids or table.columns[_INTERVALS].values != intervals for table in labels.values()):
        raise FeatureSetError(
            f"{', '.join(source.path.name for source in labels)}: label other intervals; give one file of labels."
        )
    videos = [str(video) for video in first.columns["video"].values]
    split: dict[str, Column] = {}
    if lists:
        of_video = {
            key: value for table in lists for key, value in zip(table.ids, table.columns["split"].values, strict=True)
        }
        split = {"split": value_column("split", [of_video.get(video) for video in videos], role="split")}
    result: dict[Source, list[Table]] = {source: [] for source, _ in sources}
    for source, table in labels.items():
        columns = {key: column for key, column in table.columns.items() if key != _INTERVALS}
        result[source] = [replace(table, columns={**columns, **(split if table is first else {})})]
    for source in features:
        result[source] = [_interval_table(source, first.ids, videos, intervals)]
    return result


def _interval_table(source: Source, ids: Sequence[str], videos: Sequence[str], intervals: Sequence[Any]) -> Table:
    """Return the features of a sequence for each labelled interval."""
    data = _data(source.tree) or {}
    column, missing = _column(source.name, data, videos)
    last: dict[str, tuple[Numbers, Numbers]] = {}

    def of_video(video: str) -> tuple[Numbers, Numbers]:
        if video not in last:  # the intervals of a video come together
            last.clear()
            last[video] = np.asarray(data[video]["features"][()]), np.asarray(data[video][_INTERVALS][()])
        return last[video]

    def frames(row: int) -> Numbers | str:
        if row in missing:
            return missing[row]
        features, times = of_video(videos[row])
        inside = overlapping(times, *intervals[row])
        return features[inside] if inside.any() else "no frame lies in its interval"

    def read(start: int, stop: int) -> Content:
        return [frames(row) for row in range(start, stop)]

    column = replace(column, lengths="frames that overlap each labelled interval")
    return Table(
        name=source.name, ids=ids, columns={source.name: column},
        blocks=random_access({source.name: read}, len(ids), _SEQUENCE_BYTES),
    )  # fmt: skip


def overlapping(times: Numbers, start: float, end: float) -> Numbers:
    """Return which frames, with times (T, 2), overlap an interval; a frame without duration has to lie in it."""
    begins, ends = times[:, 0], times[:, 1]
    return np.asarray(np.where(begins == ends, (begins >= start) & (begins < end), (begins < end) & (ends > start)))


def _lists(source: Source) -> dict[str, list[str]]:
    """Return name -> videos of the lists of a Python file whose names say a split."""
    try:
        statements = ast.parse(source.path.read_text(encoding="utf-8")).body
    except (OSError, ValueError, SyntaxError, RecursionError):
        return {}
    lists = {}
    for statement in statements:
        if not isinstance(statement, ast.Assign):
            continue
        for target in statement.targets:
            if not isinstance(target, ast.Name) or split_of(target.id) is None:
                continue
            try:
                videos = ast.literal_eval(statement.value)
            except (ValueError, TypeError, RecursionError):
                continue
            if isinstance(videos, list | tuple | set) and all(isinstance(video, str) for video in videos):
                lists[target.id] = sorted(videos) if isinstance(videos, set) else list(videos)
    return lists
