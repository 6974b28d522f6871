"""MELD: utterances of the TV series Friends, labelled with seven emotions, and with sentiment.

Published layout: the annotations are ``train_sent_emo.csv``, ``dev_sent_emo.csv`` and ``test_sent_emo.csv``. The videos
are in ``train_splits``, ``dev_splits_complete`` and ``output_repeated_splits_test``, which may lie within ``train``,
``dev`` and ``test``. Each utterance has one video ``dia<dialogue>_utt<utterance>.mp4``; some of test are named
``final_videos_testdia<dialogue>_utt<utterance>.mp4``. StartTime and EndTime count within the episode, so a clip is its
whole file. Without the three CSV files, the reader takes ``meld_utterances.csv``, the same annotations in one file
(split, dialogue_id, utterance_id, speaker, text, emotion, sentiment).

Known flaws of the release are handled. dia110_utt7 of dev has no video. dia125_utt3 of train has a video that cannot be
decoded: it is listed, and extraction reports it. In some copies, Windows-1252 punctuation became control characters;
the reader turns them back.

Source: Poria et al., "MELD: A Multimodal Multi-Party Dataset for Emotion Recognition in Conversations", ACL 2019; order
of the classes: docs/method.md, section 1.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.datasets.listing import Listing
from conclugen.features.manifest import SPLIT_ALIASES, Labels
from conclugen.files.tables import TextTable, read_table

__all__ = ["read"]

_CLASSES = {
    "emotion": ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"),
    "sentiment": ("negative", "neutral", "positive"),
}
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
# 0x80 to 0x9f are control characters in Unicode and punctuation in Windows-1252, which leaves five of them out
_PUNCTUATION = {
    code: bytes([code]).decode("cp1252") for code in range(0x80, 0xA0) if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
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
    clips: list[Clip] = []
    missing: list[str] = []
    problems: list[str] = []
    tables = _annotations(root, encoding, problems)
    for source, row in _utterances(tables):
        name = f"dia{row['dialogue_id']}_utt{row['utterance_id']}"
        part = {"val": "dev"}.get(row["split"], row["split"])
        if part not in _PARTS:
            problems.append(f"{source}: split: {row['split']!r} is none of train, dev (val), test.")
            continue
        if row[labels].lower() not in classes:
            problems.append(f"{source}: {labels}: {row[labels]!r} is none of {', '.join(classes)}.")
            continue
        video = None
        if not text_only:
            candidates = _video_candidates(part, name)
            video = next((candidate for candidate in candidates if (root / candidate).is_file()), None)
            if video is None:
                missing.append(candidates[0])
                continue
        clips.append(
            Clip(
                sample_id=f"{SPLIT_ALIASES.get(part, part)}/{name}",
                split=SPLIT_ALIASES.get(part, part),
                video=video,
                transcript=row["text"].translate(_PUNCTUATION).strip() or None,
                labels=(classes.index(row[labels].lower()),),
                speaker=row["speaker"].translate(_PUNCTUATION) or None,
            )
        )
    if not clips and missing:
        problems.append(
            f"--root {root}: none of {len(missing):,} videos exists, such as {missing[0]}; "
            "give the dataset's own folder, or --text-only for a list without videos."
        )
    if problems:
        raise ClipListError(problems)
    notes = [table.note for _, table in tables]
    return Listing(clips=clips, labels=Labels(classes=classes), missing=missing, notes=notes)


def _annotations(root: Path, encoding: str | None, problems: list[str]) -> list[tuple[str | None, TextTable]]:
    """Return the part and the table of each file; the part is None for the single file, which has a column of it."""
    files = {}
    for part in _PARTS:
        name = f"{part}_sent_emo.csv"
        files[part] = next((file for file in (root / name, root / part / name) if file.is_file()), None)
    if all(file is None for file in files.values()) and (root / _SINGLE_FILE).is_file():
        return [(None, read_table(root / _SINGLE_FILE, _COLUMNS, problems, encoding=encoding))]
    if absent := [f"{part}_sent_emo.csv" for part, file in files.items() if file is None]:
        raise ClipListError([f"--root {root}: has no {', '.join(absent)}; give the folder with MELD's CSV files."])
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


def _video_candidates(part: str, name: str) -> list[str]:
    """Return the paths that an utterance's video may have, relative to the root, the published one first."""
    names = [name, f"final_videos_test{name}"] if part == "test" else [name]
    return [f"{folder}/{file}.mp4" for folder in (_PARTS[part], f"{part}/{_PARTS[part]}") for file in names]
