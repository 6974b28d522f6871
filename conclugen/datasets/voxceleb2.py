"""VoxCeleb2: a million unlabelled utterances of celebrities, on which ConCluGen is pretrained.

Published layout: ``{dev,test}/mp4/<speaker id>/<YouTube id>/<number>.mp4``, one utterance per file. A folder ``aac``
beside ``mp4`` holds the sound alone, which the videos have, too. The dataset has neither labels nor transcripts; a CSV
of transcripts, such as a speech recogniser makes, can be added.

Source: Chung, Nagrani, Zisserman, "VoxCeleb2: Deep Speaker Recognition", Interspeech 2018.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.datasets.listing import Listing
from conclugen.datasets.survey import Survey, shown
from conclugen.datasets.transcripts import mended
from conclugen.files.tables import read_table

__all__ = ["VAL_SHARE", "read"]

VAL_SHARE = 0.01
"""Default share of the dev speakers that are val."""


def read(
    root: Path, *, transcripts: Path | None = None, encoding: str | None = None, val_share: float = VAL_SHARE
) -> Listing:
    """List the clips: dev clips become train or val, depending on the speaker; test clips become test.

    Args:
        root: folder with ``dev``, and perhaps ``test``.
        transcripts: CSV with the columns ``sample_id`` (such as ``id00012/21Uxsk56VDQ/00001``) and ``transcript``.
        encoding: encoding of ``transcripts``; None for UTF-8, or what its byte order mark says.
        val_share: expected share of the dev speakers that are val. A speaker's name alone decides, so a speaker stays
            val whichever other speakers exist. Among few speakers, perhaps none is val.

    Raises:
        ClipListError: there is no folder ``dev/mp4``, it holds no video, or ``transcripts`` has bad rows.
        TableError: ``transcripts`` cannot be read.
    """
    survey = Survey(root)
    dev = _part(survey, "dev")
    notes: list[str] = []
    texts = _transcripts(transcripts, encoding, notes) if transcripts is not None else {}
    clips = _clips(survey, dev, texts, val_share)
    tests = survey.matches("test/mp4")
    for test in tests[:1]:
        clips += _clips(survey, test, texts, None)
    if not clips:
        raise ClipListError([f"--root {root}: holds no video in {dev}/<speaker>/<video>.{survey.found()}"])
    for folder in survey.matches("dev/aac", "test/aac"):
        survey.leave_out("a folder of sound alone, as the mp4 files have sound", folder)
    for folder in survey.matches("mp4"):
        if folder != dev and folder not in tests[:1]:
            survey.leave_out("a folder mp4 that lies neither in dev nor in test, or is there again", folder)
    clips, mends = mended(clips)
    notes += mends
    names = {clip.sample_id for clip in clips}
    if transcripts is not None and (count := sum(clip.transcript is None for clip in clips)):
        notes.append(f"{count:,} clips have no transcript in {transcripts}.")
    missing = [f"*/mp4/{shown(name)}.mp4" for name in texts if name not in names]
    return Listing(clips=clips, labels=None, missing=missing, left_out=survey.left_out, notes=notes)


def _part(survey: Survey, part: str) -> Path:
    """Return the folder of a part's videos.

    Raises:
        ClipListError: there is none, or several; the message says so where there is sound alone.
    """
    try:
        return survey.find(f"{part}/mp4", holds="speakers' folders")
    except ClipListError as error:
        if sound := survey.matches(f"{part}/aac"):
            remedy = f"unpack the archives vox2_{part}_mp4 beside it."
            raise ClipListError([f"{error} {survey.name(sound[0])} holds sound alone; {remedy}"]) from None
        raise


def _clips(survey: Survey, part: Path, texts: Mapping[str, str], val_share: float | None) -> list[Clip]:
    """Return the clips of dev, or those of test if ``val_share`` is None."""
    clips = []
    for speaker in survey.folders(part, holds="speakers' folders"):
        split = "test" if val_share is None else "val" if _fraction(speaker.name) < val_share else "train"
        for video in survey.folders(speaker, holds="folders of videos"):
            for stem, file in survey.videos(video, ".mp4").items():
                name = f"{speaker.name}/{video.name}/{stem}"
                clips.append(
                    Clip(
                        sample_id=name,
                        split=split,
                        video=file.relative_to(survey.root).as_posix(),
                        transcript=texts.get(name),
                        speaker=speaker.name,
                    )
                )
    return clips


def _fraction(speaker: str) -> float:
    """Return a number in [0, 1) that depends on the speaker's name alone."""
    return int.from_bytes(hashlib.sha256(speaker.encode()).digest()[:6]) / 2**48


def _transcripts(file: Path, encoding: str | None, notes: list[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    problems: list[str] = []
    table = read_table(file, ("sample_id", "transcript"), problems, encoding=encoding)
    notes.append(table.note)
    for line, row in table:
        if row["sample_id"] in texts:
            problems.append(f"{file}: line {line}: {row['sample_id']} has a transcript already; leave one out.")
        elif row["transcript"]:
            texts[row["sample_id"]] = row["transcript"]
    if problems:
        raise ClipListError(problems)
    return texts
