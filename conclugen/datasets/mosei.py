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

One bad entry must not cost 23,000 good ones. A transcript's line that cannot be read is left out with its number; its
clip then has no transcript. An interval whose intensities are not numbers has no label and is left out. More than a few
bad lines mean another format, which is refused.

Source: Bagher Zadeh et al., "Multimodal Language Analysis in the Wild: CMU-MOSEI Dataset and Interpretable Dynamic
Fusion Graph", ACL 2018. A label is present where its intensity is above 0; docs/method.md, section 1, has this rule and
the order of the classes.
"""

import ast
import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.datasets.listing import Listing
from conclugen.datasets.survey import Survey, shown
from conclugen.datasets.transcripts import mended
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
_LINE_BREAK = re.compile(rb"\r\n|\n|\r")
"""What editors take for the end of a line; str.splitlines would also split at characters within a text."""
_BAD_SHARE = 0.01
_BAD_LINES = 10
"""Lines that may be bad whatever their share, as long as most are good."""
_BAD_LINE = "a transcript's line that is not video___segment___start___end___text in UTF-8"


@dataclass(frozen=True)
class _Interval:
    """A labelled part of a video, with its times in seconds."""

    start: float
    end: float
    intensities: Mapping[str, float]


_Segment = tuple[float, float, str]
"""Start and end in seconds, and text, of a line of a transcript."""


def read(root: Path, *, labels: Literal["emotion", "sentiment"] = "emotion") -> Listing:
    """List the labelled intervals of the videos of the three splits.

    Args:
        root: folder with ``Raw``, the label file and the file of splits.
        labels: emotion (a clip has any number of six) or sentiment (negative, neutral or positive).

    Raises:
        ClipListError: a folder or file is absent or cannot be understood, there is no clip, or h5py is not installed.
    """
    survey = Survey(root)
    problems: list[str] = []
    places = {"videos": root, "transcripts": root}
    for name, content in (("Videos/Full/Combined", "videos"), ("Transcript/Segmented/Combined", "transcripts")):
        try:
            places[content] = survey.find(f"Raw/{name}", name, holds=content)
        except ClipListError as error:
            problems += error.problems
    split_of = _splits(_file(survey, _SPLIT_FILE), problems)
    intervals_of = _intervals(_file(survey, _LABEL_FILE), problems)
    if problems:
        raise ClipListError(problems)

    videos = survey.videos(places["videos"], ".mp4")
    transcripts = _Transcripts(survey)
    clips, missing = [], []
    for video, split in split_of.items():
        intervals = intervals_of.get(video)
        if intervals is None:
            continue
        file = videos.get(video)
        if file is None:
            missing.append(survey.name(places["videos"] / f"{video}.mp4"))
            continue
        transcript = places["transcripts"] / f"{video}.txt"
        if not transcript.is_file():
            missing.append(survey.name(transcript))
        segments = transcripts.read(transcript) if transcript.is_file() else []
        for index, interval in enumerate(intervals):
            name = f"{video}[{index}]"
            if fault := _fault(interval, labels):
                survey.leave_out(fault, name)
                continue
            clips.append(
                Clip(
                    sample_id=name,
                    split=split,
                    video=file.relative_to(root).as_posix(),
                    start=max(interval.start, 0.0),
                    end=interval.end,
                    transcript=_text_of(interval, segments),
                    labels=_classes(interval.intensities, labels),
                    groups={"video": video},
                )
            )
    transcripts.check()
    if not clips:
        found = f"{len(missing):,} files are missing, such as {missing[0]}." if missing else "No file is missing."
        none = f"no labelled interval of the {len(split_of):,} videos of the splits can be listed"
        raise ClipListError([f"--root {root}: {none}. {found}{survey.found()}"])
    clips, notes = mended(clips)
    counts = {
        f"videos with labels are in no split of {_SPLIT_FILE}; they are left out": len(intervals_of.keys() - split_of),
        f"videos of a split have no labels in {_LABEL_FILE}; they are left out": len(split_of.keys() - intervals_of),
        "clips have no transcript": sum(clip.transcript is None for clip in clips),
    }
    notes += [f"{count:,} {fact}." for fact, count in counts.items() if count]
    if missing and (sentence := survey.archives()):
        notes.append(sentence.strip())
    classes = (
        Labels(kind="multilabel", classes=tuple(_EMOTIONS)) if labels == "emotion" else Labels(classes=_SENTIMENTS)
    )
    return Listing(clips=clips, labels=classes, missing=missing, left_out=survey.left_out, notes=notes)


def _file(survey: Survey, name: str) -> Path:
    """Return the path of a file that lies in the root or below, or the path that it should have."""
    return next(iter(survey.matches(name, files=True)), survey.root / name)


def _fault(interval: _Interval, labels: str) -> str | None:
    """Return why an interval is no clip; None if it is one."""
    needed = _EMOTIONS.values() if labels == "emotion" else ("sentiment",)
    if not all(isfinite(interval.intensities[column]) for column in needed):
        return "a labelled interval whose intensities are not all numbers"
    if not (isfinite(interval.start) and isfinite(interval.end)):
        return "a labelled interval whose times are not numbers"
    if interval.end <= interval.start:
        return "a labelled interval that ends before it begins"
    return "a labelled interval that lies before its video" if interval.end <= 0 else None


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
    except OSError as error:
        problems.append(f"{file}: cannot be read: {error.strerror}; copy it there from the CMU Multimodal SDK.")
        return {}
    except (ValueError, SyntaxError, RecursionError) as error:
        problems.append(f"{file}: is not the SDK's file of lists: {error}; copy the file of the CMU Multimodal SDK.")
        return {}
    lists = {}
    for statement in statements:
        for target in statement.targets if isinstance(statement, ast.Assign) else ():
            if isinstance(statement, ast.Assign) and isinstance(target, ast.Name) and target.id in _SPLITS:
                try:
                    lists[target.id] = ast.literal_eval(statement.value)
                except (ValueError, TypeError, RecursionError):  # the error would name objects of Python's parser
                    lists[target.id] = None
    if absent := [name for name in _SPLITS if name not in lists]:
        problems.append(f"{file}: has no {', '.join(absent)}; copy the file of the CMU Multimodal SDK.")
    split_of: dict[str, str] = {}
    for name, videos in lists.items():
        if not isinstance(videos, list | tuple | set) or not all(isinstance(video, str) for video in videos):
            problems.append(f"{file}: {name} is no list of videos; copy the file of the CMU Multimodal SDK.")
            continue
        for video in sorted(videos) if isinstance(videos, set) else videos:
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
        others = ", ".join(sorted(shown(other.name) for other in file.parent.glob("*.csd")))
        hint = f" The folder has {others}." if others else ""
        problems.append(f"{file}: there is no such file; download the SDK's labels of CMU-MOSEI there.{hint}")
        return {}
    try:
        with h5py.File(file, "r") as content:
            if len(content) != 1:
                raise ValueError(f"it holds {', '.join(content) or 'nothing'} where one sequence is expected")
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
    except (OSError, ValueError, LookupError, AttributeError, TypeError, RuntimeError) as error:
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


class _Transcripts:
    """Reads transcripts, and keeps count of their lines, good and bad."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._lines = 0

    def read(self, file: Path) -> list[_Segment]:
        """Return the segments of a video; lines that cannot be read are left out with their numbers.

        Raises:
            ClipListError: the file cannot be read.
        """
        try:
            content = file.read_bytes().removeprefix(codecs.BOM_UTF8)
        except OSError as error:
            raise ClipListError([f"{file}: cannot be read: {error.strerror}."]) from None
        segments = []
        for number, line in enumerate(_LINE_BREAK.split(content), 1):
            if line.strip():
                self._lines += 1
                try:
                    segments.append(_segment(line.decode(), file.stem))
                except ValueError:  # bytes that are no UTF-8 are one, too
                    self._survey.leave_out(_BAD_LINE, f"{self._survey.name(file)}: line {number}")
        return segments

    def check(self) -> None:
        """Refuse transcripts of which more than a few lines could not be read.

        Raises:
            ClipListError: with the first of these lines.
        """
        bad = self._survey.left_out.get(_BAD_LINE, [])
        if len(bad) > max(_BAD_SHARE * self._lines, min(_BAD_LINES, self._lines / 2)):
            summary = (
                f"{len(bad):,} of {self._lines:,} lines of the transcripts cannot be read, more than one in a hundred"
            )
            more = f" and {len(bad) - _BAD_LINES:,} more" if len(bad) > _BAD_LINES else ""
            places = "; ".join(bad[:_BAD_LINES])
            raise ClipListError([f"{summary}: they are not video___segment___start___end___text: {places}{more}."])


def _segment(line: str, video: str) -> _Segment:
    """Return the times and the text of a line.

    Raises:
        ValueError: the line is not ``<video>___<segment>___<start>___<end>___<text>``.
    """
    # The identifier of a video may itself hold three underscores.
    rest = line.removeprefix(f"{video}___") if line.startswith(f"{video}___") else line.partition("___")[2]
    _, start, end, text = rest.split("___", 3)
    segment = (float(start), float(end), text)
    if not (isfinite(segment[0]) and isfinite(segment[1])):
        raise ValueError("times must be numbers")
    return segment


def _text_of(interval: _Interval, segments: list[_Segment]) -> str | None:
    """Return the text of the segment with the interval's times; None if there is none."""

    def distance(segment: _Segment) -> float:
        return max(abs(segment[0] - interval.start), abs(segment[1] - interval.end))

    nearest = min(segments, key=distance, default=None)
    return nearest[2] if nearest is not None and distance(nearest) <= _TOLERANCE else None
