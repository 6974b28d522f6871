"""RAVDESS: 24 actors speak two sentences in eight emotions; evaluation is by cross-validation over actors.

Published layout: ``Actor_<two digits>/<seven numbers>.mp4``. The numbers are modality (01 is video with sound, 02 video
alone, 03 sound alone), vocal channel (01 is speech, 02 song), emotion, intensity (02 is strong; neutral has only 01),
statement, repetition, actor. Archives come per actor and channel (``Video_Speech_Actor_01.zip``, with 01 and 02), and
for the sound of all actors (``Audio_Speech_Actors_01-24.zip``). All of them hold folders ``Actor_<two digits>``. A name
says everything about a clip, so files are found by it, in whatever folder an archive was unpacked.

Only speech with video and sound is listed. So each actor should have 60 files, and the missing ones are known. A
video and its sound in two files (02 and 03) are not paired: a clip is one file, and 01 holds the same recording.

There are ten folds, and each actor is in one of them. Odd actors are men, even ones women. They form pairs, and pair p
of 0 to 11 is in fold p modulo 10. So every fold has as many women as men: two actors, or four in folds 0 and 1. Single
actors were rejected as units: with ten folds, a fold's actors would be all men or all women.

Source: Livingstone, Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)", PLoS ONE 13(5),
2018, and the record of the archives. The classes have the order of the file names (docs/method.md, section 1).
"""

import re
from itertools import product
from pathlib import Path

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.datasets.listing import Listing
from conclugen.datasets.survey import Survey
from conclugen.features.manifest import LEAST_FOLDS, Labels

__all__ = ["read"]

_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
_ACTORS = 24
_FOLDS = 10
_NAME = re.compile(r"(\d\d)-(\d\d)-\d\d-\d\d-\d\d-\d\d-(\d\d)", re.ASCII)
_UNUSED = {
    ("01", "02"): "song, with video and sound (01-02)",
    ("02", "01"): "speech, video without sound (02-01)",
    ("02", "02"): "song, video without sound (02-02)",
    ("03", "01"): "speech, sound without video (03-01)",
    ("03", "02"): "song, sound without video (03-02)",
}


def read(root: Path) -> Listing:
    """List the clips.

    Args:
        root: folder with the actors' folders, or with those of the archives.

    Raises:
        ClipListError: there is no clip of speech with video and sound, or the actors are of too few folds.
    """
    survey = Survey(root)
    videos = _videos(survey)
    folder_of = {int(name[-2:]): file.parent for name, file in reversed(videos.items())}
    clips, missing = [], []
    for actor in range(1, _ACTORS + 1):
        actor_name = f"Actor_{actor:02d}"
        for emotion, intensity, statement, repetition in product(range(1, 9), (1, 2), (1, 2), (1, 2)):
            if emotion == 1 and intensity == 2:
                continue
            name = "-".join(f"{part:02d}" for part in (1, 1, emotion, intensity, statement, repetition, actor))
            file = videos.pop(name, None)
            if file is None:
                missing.append(survey.name(folder_of.get(actor, root / actor_name) / f"{name}.mp4"))
                continue
            clips.append(
                Clip(
                    sample_id=name,
                    fold=(actor - 1) // 2 % _FOLDS,
                    video=file.relative_to(root).as_posix(),
                    transcript=_STATEMENTS[statement - 1],
                    labels=(emotion - 1,),
                    speaker=actor_name,
                )
            )
    for file in videos.values():
        survey.leave_out("a name that RAVDESS does not have", file)
    if not clips:
        remedy = (
            "unpack Video_Speech_Actor_01.zip to Video_Speech_Actor_24.zip there; "
            "a clip is one file, so a video and its sound in two files are not paired"
        )
        nothing = f"--root {root}: holds no speech with video and sound, files 01-01-*.mp4"
        raise ClipListError([f"{nothing}; {remedy}.{survey.found()}"])
    if (folds := len({clip.fold for clip in clips})) < LEAST_FOLDS:
        actors = ", ".join(sorted({clip.speaker for clip in clips if clip.speaker is not None}))
        problem = f"has clips of {actors} alone, which are in {folds} of the {_FOLDS} folds"
        remedy = "three folds are the least, so unpack the archives of more actors"
        raise ClipListError([f"--root {root}: {problem}; {remedy}.{survey.archives()}"])
    return Listing(clips=clips, labels=Labels(classes=_EMOTIONS), missing=missing, left_out=survey.left_out)


def _videos(survey: Survey) -> dict[str, Path]:
    """Return name -> video of all speech with video and sound; everything else is left out."""
    videos: dict[str, Path] = {}
    for entry in sorted(survey.walk(), key=lambda entry: not entry.name.lower().endswith(".mp4")):
        file = Path(entry.path)
        numbers = _NAME.fullmatch(file.stem)
        if numbers is not None and (numbers[1], numbers[2]) in _UNUSED:
            survey.leave_out(_UNUSED[numbers[1], numbers[2]], file)
        elif fault := survey.video_fault(entry):
            survey.leave_out(fault, file)
        elif numbers is None:
            survey.leave_out("a name that RAVDESS does not have", file)
        elif file.stem in videos:
            survey.leave_out("the same clip again", file)
        else:
            videos[file.stem] = file
    return videos
