"""The pickles of DialogueRNN and its heirs for IEMOCAP and MELD: dictionaries by dialogue, a list for its utterances.

They lie in one tuple, in an order that readers have to know: identifiers, speakers, labels, text, audio, (visual,)
sentences, dialogues of train, and of test. Heirs add features (four of RoBERTa), labels of sentiment, and dialogues of
validation. What an entry holds tells what it is: strings, whole numbers, vectors with a single 1 (MELD's speakers),
vectors. Only the names of the features follow from their order, and only where the field has settled one. Files with
another number of them are asked about.

Speakers of IEMOCAP are ``M`` and ``F`` within a session, which the dialogue names: Ses01_F is a person.

Source: declare-lab/conv-emotion, ``DialogueRNN/dataloader.py`` and ``COSMIC/erc-training/dataloader.py``;
hujingwen6666/MMGCN, ``dataloader.py``.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from conclugen.features.manifest import FeatureSetError
from conclugen.formats.clips import clip_table
from conclugen.formats.content import Source, is_array
from conclugen.formats.options import Options
from conclugen.formats.roles import split_of
from conclugen.formats.table import Table, numbers, value_column

__all__ = ["DIALOGUES"]

_Kind = Literal["names", "sentences", "whole", "one_hot", "vectors", "part"]
_NAMES: Mapping[int, Sequence[str]] = {
    1: ("text",),
    2: ("text", "audio"),
    3: ("text", "audio", "visual"),
    4: ("roberta1", "roberta2", "roberta3", "roberta4"),
    6: ("text", "roberta2", "roberta3", "roberta4", "audio", "visual"),
}
"""Number of features -> their names, in the order in which published files have them."""
_PARTS: Mapping[int, Sequence[str]] = {2: ("train", "test"), 3: ("train", "test", "valid")}
_SESSION = re.compile(r"(Ses\d\d)")
_WIDEST_ONE_HOT = 64
_CHECKED = 20
"""Dialogues whose utterances tell what an entry is."""


@dataclass(frozen=True)
class _Entry:
    """One entry of the tuple."""

    kind: _Kind
    content: Any
    key: str = ""
    """Its name, if the file is a dictionary."""


class _Dialogues:
    """A tuple of dictionaries by dialogue."""

    name = "dialogues"
    meaning = "a tuple of dictionaries by dialogue, as DialogueRNN's pickles"

    def recognise(self, source: Source) -> str | None:
        """Return what shows the layout, or None."""
        entries = _entries(source.tree)
        kinds = Counter(entry.kind for entry in entries)
        if not kinds["vectors"] or len(entries) < 3:
            return None
        dialogues = {dialogue for entry in entries if entry.kind == "vectors" for dialogue in entry.content}
        return (
            f"{len(entries)} entries for {len(dialogues):,} dialogues, {kinds['vectors']} of them vectors of utterances"
        )

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return a table of the utterances.

        Raises:
            FeatureSetError: dialogues are in several parts, or the user has to name features or parts.
        """
        entries = _entries(source.tree)
        features = _features(source, entries, options)
        counts = _counts(entries)
        ids = _identifiers(entries, counts)
        order = [(dialogue, place) for dialogue, count in counts.items() for place in range(count)]

        def utterances(content: Mapping[Any, Any]) -> list[Any]:
            return [
                content[dialogue][place] if dialogue in content and len(content[dialogue]) == counts[dialogue] else None
                for dialogue, place in order
            ]

        def vectors(content: Mapping[Any, Any]) -> list[Any]:
            reasons = {
                dialogue: f"its dialogue has {len(content[dialogue]):,} vectors for {count:,} utterances"
                if dialogue in content
                else "its dialogue is not there"
                for dialogue, count in counts.items()
            }
            return [
                reasons[dialogue] if each is None else np.asarray(each, np.float32)
                for each, (dialogue, _) in zip(utterances(content), order, strict=True)
            ]

        columns = [value_column("dialogue", [str(dialogue) for dialogue, _ in order], role="group")]
        known = (_ids_entry(entries), _speakers_entry(entries))
        labels = [entry for entry in entries if entry.kind in ("whole", "names") and entry not in known]
        for number, entry in enumerate(labels, 1):
            key = entry.key or ("labels" if number == 1 else f"labels_{number}")
            columns.append(value_column(key, [_plain(each) for each in utterances(entry.content)], role="label"))
        if (speakers := _speakers_entry(entries)) is not None:
            columns.append(value_column("speaker", _speakers(utterances(speakers.content), order), role="speaker"))
        if parts := _splits(source, entries, options):
            columns.append(value_column("split", [parts.get(dialogue) for dialogue, _ in order], role="split"))
        arrays = {key: vectors(entry.content) for key, entry in features.items()}
        return [clip_table(source.name, [ids[each] for each in order], arrays, columns)]


DIALOGUES = _Dialogues()


def _entries(tree: Any) -> list[_Entry]:
    """Return the entries of a tuple: dictionaries by dialogue, or dialogues of a part; none if there are others."""
    if isinstance(tree, Mapping):
        named = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple):
        named = [("", value) for value in tree]
    else:
        return []
    entries = []
    for key, value in named:
        if (kind := _kind(value)) is not None:
            entries.append(_Entry(kind, value, key))
        elif not _is_empty(value):
            return []
    return entries


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping | list | tuple | set | np.ndarray) and not len(value))


def _kind(value: Any) -> _Kind | None:
    """Return what an entry holds; None if it is none of the layout."""
    if isinstance(value, set | list | tuple) and value and all(isinstance(each, str | int) for each in value):
        return "part"
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "USiu":
        return "part"
    if not isinstance(value, Mapping) or not value:
        return None
    of_dialogues = [dialogue for dialogue in [*value.values()][:_CHECKED] if _is_list(dialogue) and len(dialogue)]
    utterances = [utterance for dialogue in of_dialogues for utterance in dialogue]
    if not utterances or len(of_dialogues) < min(len(value), _CHECKED) / 2:
        return None
    if all(isinstance(each, str) for each in utterances):
        return "sentences" if sum(" " in each.strip() for each in utterances) > len(utterances) / 4 else "names"
    if all(isinstance(each, int | np.integer) for each in utterances):
        return "whole"
    vectors = [numbers(each) for each in utterances]
    if any(vector is None or not vector.ndim for vector in vectors):
        return None
    hot = all(
        vector is not None and vector.ndim == 1 and len(vector) <= _WIDEST_ONE_HOT
        and sorted(set(vector.tolist())) == [0, 1] and vector.sum() == 1
        for vector in vectors
    )  # fmt: skip
    return "one_hot" if hot else "vectors"


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple) or is_array(value) or isinstance(value, np.ndarray)


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _features(source: Source, entries: Sequence[_Entry], options: Options) -> dict[str, _Entry]:
    """Return name -> features.

    Raises:
        FeatureSetError: the field has no settled order for so many.
    """
    vectors = [entry for entry in entries if entry.kind == "vectors"]
    if all(entry.key for entry in vectors):
        return {entry.key.removeprefix("video").lower() or entry.key: entry for entry in vectors}
    numbered = {f"features_{number}": entry for number, entry in enumerate(vectors, 1)}
    names = _NAMES.get(len(vectors))
    widths = [_width(entry) for entry in vectors]
    if names is not None and (len(vectors) != 4 or len(set(widths)) == 1):
        return dict(zip(names, vectors, strict=True))
    if not options.modalities:
        shown = ", ".join(f"{key} (width {width:,})" for key, width in zip(numbered, widths, strict=True))
        raise FeatureSetError(
            f"{source.path}: which modality is which cannot be told from {len(vectors)} kinds of vectors: {shown}; "
            "name them, such as by --modalities text=features_1,audio=features_2."
        )
    return numbered


def _width(entry: _Entry) -> int:
    first = next(dialogue for dialogue in entry.content.values() if len(dialogue))
    return int(np.asarray(first[0]).shape[-1])


def _counts(entries: Sequence[_Entry]) -> dict[Any, int]:
    """Return dialogue -> number of its utterances, which most entries have."""
    sizes: dict[Any, Counter[int]] = {}
    for entry in entries:
        if entry.kind != "part":
            for dialogue, utterances in entry.content.items():
                sizes.setdefault(dialogue, Counter())[len(utterances)] += 1
    return {dialogue: max(counts, key=lambda size: (counts[size], size)) for dialogue, counts in sizes.items()}


def _ids_entry(entries: Sequence[_Entry]) -> _Entry | None:
    """Return the entry of the utterances' identifiers, which stands before the speakers."""
    speakers = _speakers_entry(entries)
    before = entries[: entries.index(speakers)] if speakers is not None else []
    named = [entry for entry in entries if re.fullmatch(r"(video|utterance)_?ids?", entry.key, re.IGNORECASE)]
    return next(iter([*named, *(entry for entry in before if entry.kind in ("names", "whole", "sentences"))]), None)


def _speakers_entry(entries: Sequence[_Entry]) -> _Entry | None:
    """Return the entry of the speakers: one-hot vectors, or names that come back."""
    for entry in entries:
        if entry.kind == "one_hot" or re.fullmatch(r"(video)?_?speakers?", entry.key, re.IGNORECASE):
            return entry
    for entry in entries:
        if entry.kind == "names":
            utterances = [each for dialogue in entry.content.values() for each in dialogue]
            if len(set(utterances)) < len(utterances) / 2:
                return entry
    return None


def _identifiers(entries: Sequence[_Entry], counts: Mapping[Any, int]) -> dict[tuple[Any, int], str]:
    """Return (dialogue, place) -> identifier: the file's own if they differ, else the dialogue's with a number."""
    entry = _ids_entry(entries)
    own = {}
    if entry is not None and entry.kind == "names":
        own = {
            (dialogue, place): str(each)
            for dialogue, utterances in entry.content.items()
            if len(utterances) == counts[dialogue]
            for place, each in enumerate(utterances)
        }
    usable = len(set(own.values())) == len(own) == sum(counts.values())
    return {
        (dialogue, place): own[dialogue, place] if usable else f"{dialogue}_{place}"
        for dialogue, count in counts.items()
        for place in range(count)
    }


def _speakers(utterances: Sequence[Any], order: Sequence[tuple[Any, int]]) -> list[str | None]:
    """Return the speaker of each utterance, unique in the file."""
    names = [
        None if each is None else each if isinstance(each, str) else str(int(np.argmax(np.asarray(each))))
        for each in utterances
    ]
    sessions = [match[1] if (match := _SESSION.match(str(dialogue))) else None for dialogue, _ in order]
    if None in sessions:
        return names
    return [None if name is None else f"{session}_{name}" for session, name in zip(sessions, names, strict=True)]


def _splits(source: Source, entries: Sequence[_Entry], options: Options) -> dict[Any, str]:
    """Return dialogue -> part.

    Raises:
        FeatureSetError: a dialogue is in two parts, or which part is which cannot be told.
    """
    parts = [entry for entry in entries if entry.kind == "part"]
    if not parts or options.split == "none":
        return {}
    named = [split_of(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", entry.key)) for entry in parts]
    names: Sequence[str] = [name for name in named if name is not None]
    sizes = [len(entry.content) for entry in parts]
    if len(names) != len(parts):
        names = _PARTS.get(len(parts), [])
        if not names or sizes[0] != max(sizes):
            names = [f"part{number}" for number in range(1, len(parts) + 1)]
            if not options.split_map:
                shown = ", ".join(f"{name} ({size:,} dialogues)" for name, size in zip(names, sizes, strict=True))
                raise FeatureSetError(
                    f"{source.path}: which part is train cannot be told from {shown}; give --split-map "
                    f"{','.join(f'{name}=train' for name in names[:1])}, and so on."
                )
    part_of: dict[Any, str] = {}
    doubled = []
    for name, entry in zip(names, parts, strict=True):
        for dialogue in entry.content:
            key = _plain(dialogue)
            if part_of.setdefault(key, name) != name:
                doubled.append(f"{key} ({part_of[key]} and {name})")
    if doubled:
        raise FeatureSetError(
            f"{source.path}: {len(doubled):,} dialogues are in two parts, such as {doubled[0]}; keep each in one, or "
            "give --split none."
        )
    return part_of
