"""RAVDESS: 24 actors speak two sentences in eight emotions; evaluation is by cross-validation over actors.

Published layout: ``Actor_<two digits>/<seven numbers>.mp4``; an actor's folder may lie within its archive's
``Video_Speech_Actor_<two digits>``. The numbers are modality (01 is video with sound), vocal channel (01 is speech),
emotion, intensity (02 is strong; neutral has only 01), statement, repetition, actor. Only speech with video and sound
is listed. So each actor should have 60 files, and the missing ones are known.

There are ten folds, and each actor is in one of them. Odd actors are men, even ones women. They form pairs, and pair p
of 0 to 11 is in fold p modulo 10. So every fold has as many women as men: two actors, or four in folds 0 and 1. Single
actors were rejected as units: with ten folds, a fold's actors would be all men or all women.

Source: Livingstone, Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)", PLoS ONE 13(5),
2018. The classes have the order of the file names (docs/method.md, section 1).
"""

from itertools import product
from pathlib import Path

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.datasets.listing import Listing
from conclugen.features.manifest import Labels

__all__ = ["read"]

_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
_ACTORS = 24
_FOLDS = 10


def read(root: Path) -> Listing:
    """List the clips.

    Args:
        root: folder with the actors' folders, or with those of the archives.

    Raises:
        ClipListError: there is no actor's folder.
    """
    clips, missing = [], []
    actors = 0
    for actor in range(1, _ACTORS + 1):
        actor_name = f"Actor_{actor:02d}"
        candidates = (root / actor_name, root / f"Video_Speech_{actor_name}" / actor_name)
        folder = next((candidate for candidate in candidates if candidate.is_dir()), candidates[0])
        actors += folder.is_dir()
        for emotion, intensity, statement, repetition in product(range(1, 9), (1, 2), (1, 2), (1, 2)):
            if emotion == 1 and intensity == 2:
                continue
            name = "-".join(f"{part:02d}" for part in (1, 1, emotion, intensity, statement, repetition, actor))
            video = (folder / f"{name}.mp4").relative_to(root).as_posix()
            if not (root / video).is_file():
                missing.append(video)
                continue
            clips.append(
                Clip(
                    sample_id=name,
                    fold=(actor - 1) // 2 % _FOLDS,
                    video=video,
                    transcript=_STATEMENTS[statement - 1],
                    labels=(emotion - 1,),
                    speaker=actor_name,
                )
            )
    if not actors:
        raise ClipListError([f"--root {root}: has no folder Actor_01 to Actor_24; give the dataset's own folder."])
    return Listing(clips=clips, labels=Labels(classes=_EMOTIONS), missing=missing)
