"""MELD: utterances of the TV series Friends, labelled with seven emotions, and with sentiment.

Published layout: the annotations are ``train_sent_emo.csv``, ``dev_sent_emo.csv`` and ``test_sent_emo.csv``. The videos
are in ``train_splits``, ``dev_splits_complete`` and ``output_repeated_splits_test``, wherever in the root the archives
were unpacked. Each utterance has one video ``dia<dialogue>_utt<utterance>.mp4``; some of test are named
``final_videos_testdia<dialogue>_utt<utterance>.mp4``. StartTime and EndTime count within the episode, so a clip is its
whole file. Dialogues are numbered anew in each part. Without the three CSV files, the reader takes
``meld_utterances.csv``, the same annotations in one file (split, dialogue_id, utterance_id, speaker, text, emotion,
sentiment).

Known flaws of the release are handled. dia110_utt7 of dev has no video. dia125_utt3 of train has a video that cannot be
decoded: it is listed, and extraction reports it. dev and test have videos without annotation; they are left out.

Source: Poria et al., "MELD: A Multimodal Multi-Party Dataset for Emotion Recognition in Conversations", ACL 2019; order
of the classes: docs/method.md, section 1.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.datasets.listing import Listing
from conclugen.datasets.survey import Survey
from conclugen.datasets.transcripts import PUNCTUATION, mended
from conclugen.features.manifest import SPLIT_ALIASES, Labels
from conclugen.files.tables import TextTable, read_table, whole_number

__all__ = ["read"]

_CLASSES = {
    "emotion": ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"),
    "sentiment": ("negative", "neutral", "positive"),
}
_RENAMED = "final_videos_test"
_PARTS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
_SINGLE_FILE = "meld_utterances.csv"
_COLUMNS = ("split", "dialogue_id", "utterance_id", "speaker", "text", "emotion", "sentiment")
_OFFICIAL = {
    "Dialogue_ID": "dialogue_id",
    "Utterance_ID": "utterance_id",
    "Speaker": "speaker",
    "Utterance": "text",
    "Emotion": "emotion",
    "Sentiment": "sentiment",
}


def read(
    root: Path,
    *,
    labels: Literal["emotion", "sentiment"] = "emotion",
    text_only: bool = False,
    encoding: str | None = None,
) -> Listing:
    """List the clips in the order of the annotations, with sample_ids such as ``train/dia0_utt0``.

    Args:
        root: folder with annotations and videos.
        labels: annotation that becomes the labels.
        text_only: list the utterances without their videos, which then may be absent.
        encoding: encoding of the annotations; None for UTF-8, or what a byte order mark says.

    Raises:
        ClipListError: there are no annotations, or some cannot be understood.
        TableError: annotations cannot be read.
    """
    classes = _CLASSES[labels]
    survey = Survey(root)
    videos = {part: _videos(survey, folder) if not text_only else {} for part, folder in _PARTS.items()}
    clips: list[Clip] = []
    missing: list[str] = []
    problems: list[str] = []
    first_places: dict[str, str] = {}
    tables = _annotations(survey, encoding, problems)
    for place, row in _utterances(tables):
        numbers = [whole_number(row[name]) for name in ("dialogue_id", "utterance_id")]
        part = {"val": "dev"}.get(row["split"], row["split"])
        faults = [
            *([] if part in _PARTS else [f"split: {row['split']!r} is none of train, dev (val), test; correct it."]),
            *(
                f"{name}: {row[name]!r} is no whole number; correct it."
                for name, number in zip(("dialogue_id", "utterance_id"), numbers, strict=True)
                if number is None or number < 0
            ),
            *(
                []
                if row[labels].lower() in classes
                else [f"{labels}: {row[labels]!r} is none of {', '.join(classes)}; correct it."]
            ),
        ]
        if faults:
            problems += [f"{place}: {fault}" for fault in faults]
            continue
        name = "dia{}_utt{}".format(*numbers)
        split = SPLIT_ALIASES.get(part, part)
        sample_id = f"{split}/{name}"
        if (first := first_places.setdefault(sample_id, place)) != place:
            problems.append(f"{place}: {name} of {part} is there already, in {first}; leave one out.")
            continue
        file = videos[part].pop(name, None)
        if not text_only and file is None:
            missing.append(f"{_PARTS[part]}/{name}.mp4")
            continue
        clips.append(
            Clip(
                sample_id=sample_id,
                split=split,
                video=None if file is None else file.relative_to(root).as_posix(),
                transcript=row["text"] or None,
                labels=(classes.index(row[labels].lower()),),
                speaker=row["speaker"].translate(PUNCTUATION) or None,
                groups={"dialogue": f"{split}/dia{numbers[0]}"},
            )
        )
    if not clips and missing:
        problems.append(
            f"--root {root}: none of {len(missing):,} videos exists, such as {missing[0]}; give the dataset's own "
            f"folder, or --text-only for a list without videos.{survey.found()}"
        )
    if problems:
        raise ClipListError(problems)
    for file in (file for files in videos.values() for file in files.values()):
        survey.leave_out("a video without annotation", file)
    clips, mends = mended(clips)
    notes = [table.note for _, table in tables] + mends
    if text_only and (silent := [clip.sample_id for clip in clips if clip.transcript is None]):
        survey.left_out["an utterance without text"] = silent
        clips = [clip for clip in clips if clip.transcript is not None]
    if missing and (sentence := survey.archives()):
        notes.append(sentence.strip())
    return Listing(clips=clips, labels=Labels(classes=classes), missing=missing, left_out=survey.left_out, notes=notes)


def _videos(survey: Survey, folder_name: str) -> dict[str, Path]:
    """Return dia<dialogue>_utt<utterance> -> video of a part; of a clip that is there twice, the first is taken."""
    videos: dict[str, Path] = {}
    renamed: dict[str, Path] = {}
    for folder in survey.matches(folder_name):
        for stem, file in survey.videos(folder, ".mp4").items():
            name = stem.lower().removeprefix(_RENAMED)
            place = videos if name == stem.lower() else renamed
            if place.setdefault(name, file) != file:
                survey.leave_out("the same clip again", file)
    for name, file in renamed.items():
        if videos.setdefault(name, file) != file:
            survey.leave_out("the same clip again", file)
    return videos


def _annotations(survey: Survey, encoding: str | None, problems: list[str]) -> list[tuple[str | None, TextTable]]:
    """Return the part and the table of each file; the part is None for the single file, which has a column of it."""
    files: dict[str, Path | None] = {}
    for part in _PARTS:
        found = survey.matches(f"{part}_sent_emo.csv", files=True)
        files[part] = found[0] if found else None
        for other in found[1:]:
            survey.leave_out("annotations that are there again, farther from the root", other)
    single = survey.matches(_SINGLE_FILE, files=True)
    if all(file is None for file in files.values()) and single:
        return [(None, read_table(single[0], _COLUMNS, problems, encoding=encoding))]
    if absent := [f"{part}_sent_emo.csv" for part, file in files.items() if file is None]:
        problem = f"has no {', '.join(absent)}; give the folder with MELD's CSV files."
        raise ClipListError([f"--root {survey.root}: {problem}{survey.archives()}"])
    return [
        (part, read_table(file, _COLUMNS[1:], problems, aliases=_OFFICIAL, encoding=encoding))
        for part, file in files.items()
        if file is not None
    ]


def _utterances(tables: Iterable[tuple[str | None, TextTable]]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield file and line of each utterance, and its row under the column names of the single file."""
    for part, table in tables:
        for line, row in table:
            yield f"{table.file}: line {line}", row if part is None else {**row, "split": part}
