"""CMU-MOSEI: sentences of YouTube monologues, with the intensities of six emotions and of sentiment.

Published layout: ``Raw/Videos/Full/Combined/<video>.mp4``, and ``Raw/Transcript/Segmented/Combined/<video>.txt`` with
lines ``<video>___<segment>___<start>___<end>___<text>``. Two files of the CMU Multimodal SDK must lie in the root:

* ``CMU_MOSEI_Labels.csd`` (HDF5: ``All Labels/data/<video>/{features,intervals}``) holds the labels, aggregated over
  annotators. The CSV files in ``Raw/Labels`` are answers of single annotators, so they are not read.
* ``cmu_mosei_std_folds.py`` holds the official splits, three lists of videos. They are read as literals; the file is
  not executed.

A clip is a labelled interval, named ``<video>[<index>]`` as in the SDK. Its transcript is the text of the segment with
the same start and end, to a tenth of a second. The label file names its columns: sentiment, happy, sad, anger,
surprise, disgust and fear, which is not the order of the classes here.

Some intervals of the release begin before their video (-NFrJFQijFE has one at -0.48 s); they are cut to the video's
beginning. Users of the SDK also report intervals that are shifted against their video (the SDK's issues 227 and 278).
This reader does not correct them.

Source: Bagher Zadeh et al., "Multimodal Language Analysis in the Wild: CMU-MOSEI Dataset and Interpretable Dynamic
Fusion Graph", ACL 2018. A label is present where its intensity is above 0; docs/method.md, section 1, has this rule and
the order of the classes.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.datasets.listing import Listing, find_folder
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
_LABEL_FILE = "CMU_MOSEI_Labels.csd"
_SPLIT_FILE = "cmu_mosei_std_folds.py"
_SPLITS = {"standard_train_fold": "train", "standard_valid_fold": "val", "standard_test_fold": "test"}
_TOLERANCE = 0.1
"""Largest difference in seconds between the times of a segment and of a labelled interval."""


@dataclass(frozen=True)
class _Interval:
    """A labelled part of a video, with its times in seconds."""

    start: float
    end: float
    intensities: Mapping[str, float]


def read(root: Path, *, labels: Literal["emotion", "sentiment"] = "emotion") -> Listing:
    """List the labelled intervals of the videos of the three splits.

    Args:
        root: folder with ``Raw``, the label file and the file of splits.
        labels: emotion (a clip has any number of six) or sentiment (negative, neutral or positive).

    Raises:
        ClipListError: a folder or file is absent or cannot be understood, or h5py is not installed.
    """
    problems: list[str] = []
    places = {"videos": root, "transcripts": root}
    for name, content in (("Videos/Full/Combined", "videos"), ("Transcript/Segmented/Combined", "transcripts")):
        try:
            places[content] = find_folder(root, f"Raw/{name}", name, holds=content)
        except ClipListError as error:
            problems += error.problems
    split_of = _splits(root / _SPLIT_FILE, problems)
    intervals_of = _intervals(root / _LABEL_FILE, problems)
    if problems:
        raise ClipListError(problems)

    clips, missing = [], []
    empty = 0
    for video, split in split_of.items():
        intervals = intervals_of.get(video)
        if intervals is None:
            continue
        file = places["videos"] / f"{video}.mp4"
        if not file.is_file():
            missing.append(file.relative_to(root).as_posix())
            continue
        transcript = places["transcripts"] / f"{video}.txt"
        if not transcript.is_file():
            missing.append(transcript.relative_to(root).as_posix())
        segments = _segments(transcript, problems) if transcript.is_file() else []
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
                    transcript=_text_of(interval, segments),
                    labels=_classes(interval.intensities, labels),
                )
            )
    if problems:
        raise ClipListError(problems)
    counts = {
        f"videos with labels are in no split of {_SPLIT_FILE}; they are left out": len(intervals_of.keys() - split_of),
        f"videos of a split have no labels in {_LABEL_FILE}; they are left out": len(split_of.keys() - intervals_of),
        "labelled intervals lie outside their video; they are left out": empty,
        "clips have no transcript": sum(clip.transcript is None for clip in clips),
    }
    notes = [f"{count:,} {fact}." for fact, count in counts.items() if count]
    classes = (
        Labels(kind="multilabel", classes=tuple(_EMOTIONS)) if labels == "emotion" else Labels(classes=_SENTIMENTS)
    )
    return Listing(clips=clips, labels=classes, missing=missing, notes=notes)


def _classes(intensities: Mapping[str, float], labels: str) -> tuple[int, ...]:
    """Return the indices of the classes that are present."""
    if labels == "emotion":
        return tuple(index for index, column in enumerate(_EMOTIONS.values()) if intensities[column] > 0)
    sentiment = intensities["sentiment"]
    return (1 + (sentiment > 0) - (sentiment < 0),)


def _splits(file: Path, problems: list[str]) -> dict[str, str]:
    """Read video -> split, and append messages about a bad file to ``problems``."""
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


def _intervals(file: Path, problems: list[str]) -> dict[str, list[_Interval]]:
    """Read video -> labelled intervals in their order, and append messages about a bad file to ``problems``."""
    try:
        import h5py
    except ModuleNotFoundError:
        problems.append(f"{file}: reading it needs h5py; install it: pip install 'conclugen-sweeps[mosei]'.")
        return {}
    if not file.is_file():
        problems.append(f"{file}: there is no such file; download the SDK's labels of CMU-MOSEI there.")
        return {}
    try:
        with h5py.File(file, "r") as content:
            (sequence,) = content.values()
            columns = _columns(sequence)
            intervals = {}
            for video, group in sequence["data"].items():
                rows = group["features"][:]
                times = group["intervals"][:]
                if rows.shape != (len(times), len(columns)) or times.shape[1:] != (2,):
                    raise ValueError(f"{video} has features {rows.shape} and intervals {times.shape}")
                intervals[video] = [
                    _Interval(float(start), float(end), dict(zip(columns, map(float, row), strict=True)))
                    for row, (start, end) in zip(rows, times, strict=True)
                ]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        problems.append(f"{file}: is no computational sequence of CMU-MOSEI's labels: {error}; download it again.")
        return {}
    return intervals


def _columns(sequence: Any) -> tuple[str, ...]:
    """Return the names that the file gives to its columns, or the published ones if it gives none."""
    metadata = sequence.get("metadata")
    if metadata is None or "dimension names" not in metadata:
        return _PUBLISHED_COLUMNS
    columns = tuple(json.loads(metadata["dimension names"][0]))
    if absent := set(_PUBLISHED_COLUMNS) - set(columns):
        raise ValueError(f"its dimensions {', '.join(columns)} lack {', '.join(sorted(absent))}")
    return columns


def _segments(file: Path, problems: list[str]) -> list[tuple[float, float, str]]:
    """Read start, end and text of each line, and append messages about bad lines to ``problems``."""
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


def _text_of(interval: _Interval, segments: list[tuple[float, float, str]]) -> str | None:
    """Return the text of the segment with the interval's times; None if there is none."""

    def distance(segment: tuple[float, float, str]) -> float:
        return max(abs(segment[0] - interval.start), abs(segment[1] - interval.end))

    nearest = min(segments, key=distance, default=None)
    return nearest[2] or None if nearest is not None and distance(nearest) <= _TOLERANCE else None
