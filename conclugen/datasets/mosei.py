"""CMU-MOSEI: sentences of YouTube monologues, each with the intensities of six emotions, and of sentiment.

Layout, as published: ``Raw/Videos/Full/Combined/<video>.mp4``, and ``Raw/Transcript/Segmented/Combined/<video>.txt``
with lines ``<video>___<segment>___<start>___<end>___<text>``. Labels are those of the SDK's computational sequence
``CMU_MOSEI_Labels.csd`` (HDF5: ``All Labels/data/<video>/{features,intervals}``), which is aggregated over annotators;
the CSV files in ``Raw/Labels`` are single annotators' answers, so they are not read. The official division is that of
the SDK's ``cmu_mosei_std_folds.py``, whose three lists of videos are read as literals: it is not executed. Both files
are looked for in the root.

A clip is an interval that has labels, named as the SDK does, ``<video>[<index>]``. Its transcript is that of the
segment which begins and ends with it, to a tenth of a second. Columns are found by the names that the file gives
them: they are sentiment, happy, sad, anger, surprise, disgust and fear, which is not the order of the classes here.

Some intervals of the release begin before their video (-NFrJFQijFE has one at -0.48 s): they are cut to its beginning.
Its users also report intervals that are shifted against their video (issues 227 and 278 of the SDK), which is not set
right here.

Source: Bagher Zadeh et al., "Multimodal Language Analysis in the Wild: CMU-MOSEI Dataset and Interpretable Dynamic
Fusion Graph", ACL 2018; label present where its intensity is above 0, and order of the classes: METHOD, section 1.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.datasets.listing import Listing, the_folder
from conclugen.features.manifest import Labels

__all__ = ["read"]

_EMOTIONS = {
    "happiness": "happy",
    "sadness": "sad",
    "anger": "anger",
    "fear": "fear",
    "disgust": "disgust",
    "surprise": "surprise",
}
_SENTIMENTS = ("negative", "neutral", "positive")
_PUBLISHED_COLUMNS = ("sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear")
_LABEL_FILE, _SPLIT_FILE = "CMU_MOSEI_Labels.csd", "cmu_mosei_std_folds.py"
_SPLITS = {"standard_train_fold": "train", "standard_valid_fold": "val", "standard_test_fold": "test"}
_TOLERANCE = 0.1
"""Seconds that a segment's times may be off a labelled interval's."""


@dataclass(frozen=True)
class _Interval:
    start: float
    end: float
    intensities: Mapping[str, float]


def read(root: Path, *, labels: Literal["emotion", "sentiment"] = "emotion") -> Listing:
    """List the labelled intervals of the videos of the three splits.

    Args:
        root: holds ``Raw``, the label file and the file of splits.
        labels: six emotions, of which a clip has any number, or negative, neutral and positive sentiment.

    Raises:
        ClipListError: something of the above is not there or cannot be understood, or h5py is not installed.
    """
    problems: list[str] = []
    videos = transcripts = root
    for name, holds in (("Videos/Full/Combined", "videos"), ("Transcript/Segmented/Combined", "transcripts")):
        try:
            folder = the_folder(root, f"Raw/{name}", name, holds=holds)
            videos, transcripts = (folder, transcripts) if holds == "videos" else (videos, folder)
        except ClipListError as error:
            problems += error.problems
    split_of = _splits(root / _SPLIT_FILE, problems)
    labelled = _labelled(root / _LABEL_FILE, problems)
    if problems:
        raise ClipListError(problems)

    clips, missing, empty = [], [], 0
    unused = sum(video not in split_of for video in labelled)
    for video, split in split_of.items():
        intervals = labelled.get(video)
        if intervals is None:
            continue
        file = videos / f"{video}.mp4"
        if not file.is_file():
            missing.append(file.relative_to(root).as_posix())
            continue
        text = transcripts / f"{video}.txt"
        if not text.is_file():
            missing.append(text.relative_to(root).as_posix())
        segments = _segments(text, problems) if text.is_file() else []
        for index, interval in enumerate(intervals):
            if interval.end <= max(interval.start, 0.0):
                empty += 1
                continue
            clips.append(
                Clip(
                    sample_id=f"{video}[{index}]",
                    split=split,
                    video=file.relative_to(root).as_posix(),
                    start=max(interval.start, 0.0),
                    end=interval.end,
                    transcript=_said(interval, segments),
                    labels=_classes(interval.intensities, labels),
                )
            )
    if problems:
        raise ClipListError(problems)
    counted = {
        f"videos with labels are in no split of {_SPLIT_FILE}; they are left out": unused,
        f"videos of a split have no labels in {_LABEL_FILE}; they are left out": len(split_of.keys() - labelled.keys()),
        "labelled intervals hold nothing of their video; they are left out": empty,
        "clips have no transcript": sum(clip.transcript is None for clip in clips),
    }
    notes = [f"{count:,} {what}." for what, count in counted.items() if count]
    meaning = (
        Labels(kind="multilabel", classes=tuple(_EMOTIONS)) if labels == "emotion" else Labels(classes=_SENTIMENTS)
    )
    return Listing(clips=clips, labels=meaning, missing=missing, notes=notes)


def _classes(intensities: Mapping[str, float], labels: str) -> tuple[int, ...]:
    if labels == "emotion":
        return tuple(index for index, column in enumerate(_EMOTIONS.values()) if intensities[column] > 0)
    sentiment = intensities["sentiment"]
    return (1 + (sentiment > 0) - (sentiment < 0),)


def _splits(file: Path, problems: list[str]) -> dict[str, str]:
    """Video -> split."""
    try:
        statements = ast.parse(file.read_text(encoding="utf-8")).body
        lists = {
            target.id: ast.literal_eval(statement.value)
            for statement in statements
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name) and target.id in _SPLITS
        }
    except OSError as error:
        problems.append(f"{file}: cannot be read: {error.strerror}; copy it there from the CMU Multimodal SDK.")
        return {}
    except (ValueError, SyntaxError, RecursionError) as error:
        problems.append(f"{file}: is not the SDK's file of lists: {error}.")
        return {}
    if absent := [name for name in _SPLITS if name not in lists]:
        problems.append(f"{file}: has no {', '.join(absent)}; copy the file of the CMU Multimodal SDK.")
    split_of: dict[str, str] = {}
    for name, videos in lists.items():
        for video in videos:
            if split_of.setdefault(video, _SPLITS[name]) != _SPLITS[name]:
                problems.append(f"{file}: {video} is in {split_of[video]} and in {_SPLITS[name]}.")
    return split_of


def _labelled(file: Path, problems: list[str]) -> dict[str, list[_Interval]]:
    """Video -> its intervals, in their order."""
    try:
        import h5py
    except ModuleNotFoundError:
        problems.append(f"{file}: reading it takes h5py; install it: pip install 'conclugen-sweeps[mosei]'.")
        return {}
    if not file.is_file():
        problems.append(f"{file}: there is no such file; download the SDK's labels of CMU-MOSEI there.")
        return {}
    try:
        with h5py.File(file, "r") as opened:
            (sequence,) = opened.values()
            columns = _columns(sequence)
            found = {}
            for video, group in sequence["data"].items():
                rows, times = group["features"][:], group["intervals"][:]
                if rows.shape != (len(times), len(columns)) or times.shape[1:] != (2,):
                    raise ValueError(f"{video} has features {rows.shape} and intervals {times.shape}")
                found[video] = [
                    _Interval(float(start), float(end), dict(zip(columns, map(float, row), strict=True)))
                    for row, (start, end) in zip(rows, times, strict=True)
                ]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        problems.append(f"{file}: is no computational sequence of CMU-MOSEI's labels: {error}; download it again.")
        return {}
    return found


def _columns(sequence: Any) -> tuple[str, ...]:
    """The columns' names, as the file has them, or the published ones where it has none."""
    metadata = sequence.get("metadata")
    if metadata is None or "dimension names" not in metadata:
        return _PUBLISHED_COLUMNS
    columns = tuple(json.loads(metadata["dimension names"][0]))
    if absent := set(_PUBLISHED_COLUMNS) - set(columns):
        raise ValueError(f"its dimensions {', '.join(columns)} lack {', '.join(sorted(absent))}")
    return columns


def _segments(file: Path, problems: list[str]) -> list[tuple[float, float, str]]:
    """Start, end and text of each line."""
    segments = []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            _, _, start, end, text = line.split("___", 4)
            segments.append((float(start), float(end), text.strip()))
        except ValueError:
            problems.append(f"{file}: line {number} is not video___segment___start___end___text.")
    return segments


def _said(interval: _Interval, segments: list[tuple[float, float, str]]) -> str | None:
    """The text of the segment whose times are the interval's."""

    def distance(segment: tuple[float, float, str]) -> float:
        return max(abs(segment[0] - interval.start), abs(segment[1] - interval.end))

    nearest = min(segments, key=distance, default=None)
    return nearest[2] or None if nearest is not None and distance(nearest) <= _TOLERANCE else None
