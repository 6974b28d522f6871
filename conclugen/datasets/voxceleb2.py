"""VoxCeleb2: a million unlabelled utterances of celebrities, what ConCluGen is pretrained on.

Layout, as published: ``{dev,test}/mp4/<speaker id>/<YouTube id>/<number>.mp4``, one utterance a file. It has neither
labels nor transcripts; a CSV of transcripts, such as a speech recogniser makes, may be given.

Source: Chung, Nagrani, Zisserman, "VoxCeleb2: Deep Speaker Recognition", Interspeech 2018.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.datasets.listing import Listing, folders, read_csv, the_folder, visible

__all__ = ["VAL_SHARE", "read"]

VAL_SHARE = 0.01


def read(root: Path, *, transcripts: Path | None = None, val_share: float = VAL_SHARE) -> Listing:
    """List the clips: dev is train, but for the speakers that are val; test, where it is there, is test.

    Args:
        root: holds ``dev``, and perhaps ``test``.
        transcripts: CSV with the columns ``sample_id`` (such as ``id00012/21Uxsk56VDQ/00001``) and ``transcript``.
        val_share: share of the dev speakers that are val. A speaker's own name decides, so that the same speakers are
            val whoever else is there; of few speakers none may be.

    Raises:
        ClipListError: ``root`` is not such a folder, or ``transcripts`` not such a file.
    """
    dev = the_folder(root, "dev/mp4", holds="speakers' folders")
    said = _transcripts(transcripts) if transcripts is not None else {}
    clips = list(_clips(root, dev, said, val_share))
    if (test := root / "test" / "mp4").is_dir():
        clips += _clips(root, test, said, None)
    listed = {clip.sample_id for clip in clips}
    notes = []
    if transcripts is not None and (silent := sum(clip.transcript is None for clip in clips)):
        notes.append(f"{silent:,} clips have no transcript in {transcripts}.")
    missing = tuple(f"*/mp4/{name}.mp4" for name in said if name not in listed)
    return Listing(clips=clips, labels=None, missing=missing, notes=notes)


def _clips(root: Path, part: Path, said: Mapping[str, str], val_share: float | None) -> list[Clip]:
    """Clips of one part, whose split is test where there is no share of val."""
    found = []
    for speaker in folders(part):
        split = "test" if val_share is None else "val" if _place(speaker.name) < val_share else "train"
        for video in folders(speaker):
            for file in visible(video, "*.mp4"):
                name = f"{speaker.name}/{video.name}/{file.stem}"
                found.append(
                    Clip(
                        sample_id=name,
                        split=split,
                        video=file.relative_to(root).as_posix(),
                        transcript=said.get(name),
                        speaker=speaker.name,
                    )
                )
    return found


def _place(speaker: str) -> float:
    """A number in [0, 1) that the name alone decides."""
    return int.from_bytes(hashlib.sha256(speaker.encode()).digest()[:6]) / 2**48


def _transcripts(file: Path) -> dict[str, str]:
    said: dict[str, str] = {}
    twice = []
    for line, row in read_csv(file, ("sample_id", "transcript")):
        if row["sample_id"] in said:
            twice.append(f"{file}: line {line}: {row['sample_id']} has a transcript already; leave one out.")
        elif row["transcript"]:
            said[row["sample_id"]] = row["transcript"]
    if twice:
        raise ClipListError(twice)
    return said
