"""CAER: clips of TV shows, labelled with seven emotions.

Published layout: ``{train,validation,test}/<Emotion>/<number>.avi``. The dataset has no transcripts and names no
speakers.

Source: Lee, Kim, Kim, Park, Sohn, "Context-Aware Emotion Recognition Networks", ICCV 2019; order of the classes:
docs/method.md, section 1.
"""

from difflib import get_close_matches
from pathlib import Path

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.datasets.listing import Listing
from conclugen.datasets.survey import Survey
from conclugen.features.manifest import Labels, split_name

__all__ = ["read"]

_FOLDERS = {
    "neutral": "Neutral",
    "surprise": "Surprise",
    "fear": "Fear",
    "sadness": "Sad",
    "joy": "Happy",
    "disgust": "Disgust",
    "anger": "Anger",
}
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def read(root: Path) -> Listing:
    """List the clips; an emotion's folder that is absent or empty counts as missing.

    Args:
        root: folder with ``train``, ``validation`` and ``test``, or with one folder that holds them.

    Raises:
        ClipListError: there is no folder ``train``, or an emotion's folder has another name, or there is no video.
    """
    survey = Survey(root)
    base = survey.find("train", holds="a folder per emotion").parent
    split_folders: dict[str, Path] = {}
    clips, missing, problems = [], [], []
    for folder in survey.folders(base, holds="folders of splits"):
        if (split := split_name(folder.name)) not in _SPLITS:
            survey.leave_out("a folder that is no split", folder)
        elif (other := split_folders.setdefault(split, folder)) != folder:
            problems.append(f"{other} and {folder}: could both be {split}; take one away.")
    for split, name in _SPLITS.items():
        emotions = {}
        if split in split_folders:
            inner = survey.folders(split_folders[split], holds="folders of emotions")
            emotions = {folder.name.lower(): folder for folder in inner}
        problems += _misnamed(survey, emotions)
        for label, emotion in enumerate(_FOLDERS.values()):
            place = emotions.get(emotion.lower())
            videos = survey.videos(place, ".avi") if place is not None else {}
            if not videos:
                missing.append(f"{name}/{emotion}/*.avi")
            for stem, file in videos.items():
                video = file.relative_to(root).as_posix()
                clips.append(Clip(sample_id=f"{name}/{emotion}/{stem}", split=split, video=video, labels=(label,)))
    if not clips and not problems:
        problems.append(f"--root {root}: holds no video in {base / 'train'}/<Emotion>.{survey.found()}")
    if problems:
        raise ClipListError(problems)
    notes = [sentence.strip()] if missing and (sentence := survey.archives()) else []
    return Listing(
        clips=clips, labels=Labels(classes=tuple(_FOLDERS)), missing=missing, left_out=survey.left_out, notes=notes
    )


def _misnamed(survey: Survey, folders: dict[str, Path]) -> list[str]:
    """Return a message per folder that may be a class under another name; leave out those that cannot be one."""
    absent = [emotion for emotion in _FOLDERS.values() if emotion.lower() not in folders]
    problems = []
    for name, folder in folders.items():
        if name.capitalize() in _FOLDERS.values():
            continue
        if not absent:
            survey.leave_out("a folder that is no emotion", folder)
            continue
        nearest = get_close_matches(name.capitalize(), absent, 1, 0.4) or [" or ".join(absent)]
        problems.append(
            f"{folder}: is no emotion of CAER, and {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} absent; "
            f"rename it to {nearest[0]}, or take it away."
        )
    return problems
