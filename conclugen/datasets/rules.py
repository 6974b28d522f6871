"""The rules of clip lists: which rows break one, and what to do."""

import reprlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from conclugen.features.columns import group_of_column
from conclugen.features.manifest import FOLDS, LEAST_FOLDS, SPLITS, Labels
from conclugen.names import MISSING

__all__ = ["ROWS_SHOWN", "row_problems"]

ROWS_SHOWN = 5
"""Most rows that a message names."""


def row_problems(table: pa.Table, labels: Labels | None, place: Callable[..., str]) -> Iterator[str]:
    """Yield a message per rule that rows break; ``place`` turns rows into words."""
    if not len(table):
        yield "clips: there is none."
        return
    for column, broken, fault, remedy in [
        *_texts(table),
        *_membership(table["split"], table["fold"]),
        *_times(table["start"], table["end"]),
        *_labelling(table["labels"], labels),
    ]:
        if len(rows := np.flatnonzero(np.asarray(broken))):
            values = dict.fromkeys(reprlib.repr(table[column][row].as_py()) for row in rows[:ROWS_SHOWN].tolist())
            given = ", ".join(value for value in values if value != "None")
            yield f"{column}: {fault} in {place(rows)}{f' ({given})' if given else ''}; {remedy}."
    folds = pc.count_distinct(table["fold"]).as_py()
    if 0 < folds < LEAST_FOLDS:
        yield f"fold: {folds} are too few; train, val and test take {LEAST_FOLDS} at least."
    if not folds and not pc.any(pc.equal(table["split"], "train")).as_py():
        yield "split: no clip is 'train'; the standardisation of features needs training clips."


_Rules = Iterator[tuple[str, Any, str, str]]
"""Rules as tuples: column, mask of the rows that break the rule, fault of these rows, remedy."""


def _texts(table: pa.Table) -> _Rules:
    name, video, transcript = table["sample_id"], table["video"], table["transcript"]
    yield "sample_id", _blank(name, or_null=True), "missing", "give every clip one"
    yield "sample_id", _repeated(_tidy(name)), "the same", "make them unique"
    yield "sample_id", _controlled(name), "with a line break or another control character", "rename it"
    yield "speaker", _unknown(table["speaker"]), "blank, or a word for that,", "an unknown speaker is null"
    for column in table.schema.names:
        if group_of_column(column) is not None:
            nameless = pc.or_(_unknown(table[column]), pc.is_null(table[column]))
            yield column, nameless, "missing, or a word for that,", "give every clip its group, or leave the column out"
            yield column, _controlled(table[column]), "with a line break or another control character", "rename it"
    yield "video", _blank(video), "blank", "a clip without a video has null"
    yield "transcript", _blank(transcript), "blank", "a clip without a transcript has null"
    neither = pc.and_(pc.is_null(video), pc.is_null(transcript))
    yield "video", neither, "missing, as is the transcript,", "give either"


def _membership(split: pa.ChunkedArray, fold: pa.ChunkedArray) -> _Rules:
    """Yield the rules of splits and folds: a list has either splits or folds."""
    if fold.null_count == len(fold):
        unknown = pc.invert(pc.is_in(split, value_set=pa.array(SPLITS)))
        yield "split", unknown, f"none of {', '.join(SPLITS)}", "correct it; a list that has folds has them everywhere"
        return
    outside = pc.or_(pc.less(fold, 0), pc.greater_equal(fold, FOLDS))
    yield "fold", pc.fill_null(outside, False), f"not in 0..{FOLDS - 1}", "number folds from 0"
    yield "fold", pc.is_null(fold), "missing", "give every clip one, or none"
    yield "split", pc.is_valid(split), "given beside a fold", "clips of a list with folds have null"


def _times(start: pa.ChunkedArray, end: pa.ChunkedArray) -> _Rules:
    for name, column in (("start", start), ("end", end)):
        valid = pc.and_(pc.is_finite(column), pc.greater_equal(column, 0.0))
        invalid = pc.fill_null(pc.invert(valid), False)
        yield name, invalid, "negative or not finite", "give seconds from the file's beginning, or null"
    early = pc.less_equal(end, pc.fill_null(start, 0.0))
    yield "end", pc.fill_null(early, False), "not after the start", "correct one of the two"


def _labelling(column: pa.ChunkedArray, labels: Labels | None) -> _Rules:
    if labels is None:
        yield "labels", pc.is_valid(column), "given without classes", "name the classes in the metadata, or give null"
        return
    yield "labels", pc.is_null(column), "missing", "label every clip of a labelled list, or leave it out"
    parents = np.asarray(pc.list_parent_indices(column))
    values = pc.fill_null(pc.list_flatten(column), -1).to_numpy()
    outside = parents[(values < 0) | (values >= len(labels.classes))]
    allowed = f"0..{len(labels.classes) - 1}"
    yield "labels", _mask(outside, column), f"not in {allowed}", f"give indices of {', '.join(labels.classes)}"
    if labels.kind == "multiclass":
        several = pc.fill_null(pc.not_equal(pc.list_value_length(column), 1), False)
        yield "labels", several, "not one index", "give each clip one class"
    else:
        unordered = parents[1:][(np.diff(values) <= 0) & (np.diff(parents) == 0)]
        yield "labels", _mask(unordered, column), "not in ascending order", "sort them, each index once"


def _mask(rows: npt.NDArray[np.integer], column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    mask = np.zeros(len(column), bool)
    mask[rows] = True
    return mask


def _blank(column: pa.ChunkedArray, *, or_null: bool = False) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), or_null)


def _tidy(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return names as :func:`conclugen.names.tidy` does, but for invisible characters; a list may have a million."""
    return pc.utf8_trim_whitespace(pc.utf8_normalize(names, form="NFC"))


def _unknown(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return which names are blank, or a word for a missing value."""
    words = pc.utf8_lower(pc.utf8_trim_whitespace(names))
    return pc.fill_null(pc.is_in(words, value_set=pa.array(MISSING)), False)


def _controlled(names: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.match_substring_regex(names, pattern=r"\p{Cc}|\p{Zl}|\p{Zp}"), False)


def _repeated(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    codes = np.asarray(pc.index_in(column, value_set=pc.unique(column)))
    repeated: npt.NDArray[np.bool_] = np.bincount(codes)[codes] > 1
    repeated &= np.asarray(pc.invert(_blank(column, or_null=True)))
    return repeated
