"""CAER: clips of TV shows, labelled with seven emotions.

Published layout: ``{train,validation,test}/<Emotion>/<number>.avi``. The dataset has no transcripts and names no
speakers.

Source: Lee, Kim, Kim, Park, Sohn, "Context-Aware Emotion Recognition Networks", ICCV 2019; order of the classes:
docs/method.md, section 1.
"""

from pathlib import Path

from conclugen.datasets.clips import Clip
from conclugen.datasets.listing import Listing, find_folder, visible
from conclugen.features.manifest import Labels

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
        root: folder with ``train``, ``validation`` and ``test``.

    Raises:
        ClipListError: ``root`` has no folder ``train``.
    """
    find_folder(root, "train", holds="a folder per emotion")
    clips, missing = [], []
    for split, folder in _SPLITS.items():
        for label, emotion in enumerate(_FOLDERS.values()):
            files = visible(root / folder / emotion, "*.avi")
            if not files:
                missing.append(f"{folder}/{emotion}/*.avi")
            for file in files:
                video = file.relative_to(root)
                name = video.with_suffix("").as_posix()
                clips.append(Clip(sample_id=name, split=split, video=video.as_posix(), labels=(label,)))
    return Listing(clips=clips, labels=Labels(classes=tuple(_FOLDERS)), missing=missing)
