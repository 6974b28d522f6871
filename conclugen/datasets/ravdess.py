"""RAVDESS: 24 actors speak two sentences in eight emotions; evaluated by cross-validation over actors.

Layout, as published: ``Actor_<two digits>/<seven numbers>.mp4``, each actor's folder perhaps within the
``Video_Speech_Actor_<two digits>`` of its archive. The numbers are modality (01 is video with sound), vocal channel (01
is speech), emotion, intensity (02 is strong; neutral has only 01), statement, repetition, actor. Only speech with video
and sound is listed. So each actor should have 60 files, and which ones are missing is known.

Folds: ten, and an actor is in one only. Actors come in pairs, odd numbers men and even ones women; pair p of 0 to 11
is in fold p modulo 10. Every fold then has as many women as men: two actors, in folds 0 and 1 four. Taking actors one
by one was rejected, since with ten folds a fold's actors would be all men or all women.

Source: Livingstone, Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)", PLoS ONE 13(5),
2018; order of the classes: METHOD, section 1, which is that of the file names.
"""

from itertools import product
from pathlib import Path

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.datasets.listing import Listing
from conclugen.features.manifest import Labels

__all__ = ["read"]

_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
_ACTORS, _FOLDS = 24, 10


def read(root: Path) -> Listing:
    """List the clips.

    Args:
        root: holds the actors' folders, or those of the archives.

    Raises:
        ClipListError: there is no actor's folder.
    """
    clips, missing, actors = [], [], 0
    for actor in range(1, _ACTORS + 1):
        own = f"Actor_{actor:02d}"
        places = (root / own, root / f"Video_Speech_{own}" / own)
        folder = next((place for place in places if place.is_dir()), places[0])
        actors += folder.is_dir()
        for emotion, intensity, statement, repetition in product(range(1, 9), (1, 2), (1, 2), (1, 2)):
            if emotion == 1 and intensity == 2:
                continue
            name = "-".join(f"{part:02d}" for part in (1, 1, emotion, intensity, statement, repetition, actor))
            place = (folder / f"{name}.mp4").relative_to(root).as_posix()
            if not (root / place).is_file():
                missing.append(place)
                continue
            clips.append(
                Clip(
                    sample_id=name,
                    fold=(actor - 1) // 2 % _FOLDS,
                    video=place,
                    transcript=_STATEMENTS[statement - 1],
                    labels=(emotion - 1,),
                    speaker=own,
                )
            )
    if not actors:
        raise ClipListError([f"--root {root}: has no folder Actor_01 to Actor_24; give the dataset's own folder."])
    return Listing(clips=clips, labels=Labels(classes=_EMOTIONS), missing=missing)
