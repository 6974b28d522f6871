"""Import of arrays as a feature set: the work of `conclugen features import`.

All problems of the input are reported before anything is written, so that a user can correct them in one go.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conclugen.features.arrays import remedy_of, texts
from conclugen.features.groups import group_columns, name_problems
from conclugen.features.manifest import (
    FOLDS,
    LEAST_FOLDS,
    MODALITY_NAME,
    SPEAKER,
    SPLITS,
    FeatureSetError,
    Labels,
    Manifest,
    Modality,
    fold_name,
    split_name,
)
from conclugen.features.masks import Mask, mask_problems
from conclugen.features.npz import Array, read_npz
from conclugen.features.shards import FeatureWriter
from conclugen.names import class_problems, classes_of, look_alikes, merges_shown, name_problem, tidy

__all__ = ["SHARD_BYTES", "import_arrays", "import_npz"]

SHARD_BYTES = 256 * 2**20
"""Most bytes of features in a shard, unless a single row has more."""
_ROWS_CHECKED = 4096
"""Rows whose values are checked at a time, as an array may be larger than memory."""


def import_npz(
    file: Path,
    out: Path,
    modalities: Mapping[str, str],
    *,
    labels: str | None = None,
    split: str | None = None,
    folds: str | None = None,
    groups: Mapping[str, str] | None = None,
    merge_labels: bool = False,
    dtype: str = "float32",
    note: Callable[[str], object] = lambda _: None,
) -> Manifest:
    """Turn the arrays of one .npz file into a feature set.

    Args:
        file: the .npz file; object arrays are refused, so nothing in it is executed. Strings may be bytes in UTF-8.
        out: folder for the set; must not hold one yet.
        modalities: modality -> key of its (n, d_m) array, in modality order.
        labels: key of the (n,) labels, integers or strings. If the file has the key ``class_names``, this array gives
            the classes in their order, and labels are their names or indices; a class may have no row. Otherwise the
            classes are the sorted labels, and integers must not be negative. An array (n, classes) of 0 and 1 says
            which of ``class_names`` each sample has.
        split: key of the (n,) split names (train, val, test; dev and valid mean val); without it all rows are train.
        folds: key of the (n,) fold numbers of a cross-validated set, instead of ``split``.
        groups: name, such as speaker or video -> key of the (n,) names or numbers of each sample's group.
        merge_labels: whether labels that look alike are one class; otherwise they are refused.
        dtype: stored precision, float16 or float32.
        note: called with a sentence for each class that labels were merged into.

    Raises:
        FeatureSetError: the file has problems; the message has one line for each.
    """
    groups = groups or {}
    key_of = {
        **{f"modality {name!r}": key for name, key in modalities.items()},
        "--labels": labels,
        "--split": split,
        "--folds": folds,
        **{"--speakers" if name == SPEAKER else f"--groups {name}": key for name, key in groups.items()},
    }
    needed = {key for key in key_of.values() if key is not None} | ({"class_names"} if labels is not None else set())
    problems: list[str] = []
    arrays, keys = read_npz(file, needed, problems)
    problems += [
        f"{argument}: {file} has no array {key!r}; it has {', '.join(keys)}."
        for argument, key in key_of.items()
        if key is not None and key not in keys
    ]
    for kind, one, given_keys in (("modalities", "modality", modalities), ("groups", "kind of groups", groups)):
        by_key: dict[str, list[str]] = {}
        for name, key in given_keys.items():
            by_key.setdefault(key, []).append(name)
        problems += [
            f"{kind} {', '.join(several)}: read the same array {key!r}; give each {one} an array of its own."
            for key, several in by_key.items()
            if len(several) > 1
        ]
    problems += name_problems([name for name, key in groups.items() if key not in arrays])  # the others are next
    names = arrays.get("class_names") if labels is not None else None
    if names is not None and (names.ndim != 1 or names.dtype.kind not in "iuUS"):
        problems.append(f"class_names: expected names of shape (classes,), {file} has {names.dtype} {names.shape}.")
        names = None
    elif names is not None:
        names = texts("class_names", names, problems)
    given = {argument: arrays.get(key) if key is not None else None for argument, key in key_of.items()}
    return import_arrays(
        {name: arrays[key] for name, key in modalities.items() if key in arrays},
        out,
        labels=given["--labels"],
        class_names=[str(name) for name in names] if names is not None else None,
        split=given["--split"],
        folds=given["--folds"],
        groups={name: arrays[key] for name, key in groups.items() if key in arrays},
        sources={name: f"{file.name}:{key}" for name, key in modalities.items()},
        merge_labels=merge_labels,
        dtype=dtype,
        note=note,
        known_problems=problems,
    )


def import_arrays(
    features: Mapping[str, Array],
    out: Path,
    *,
    labels: Array | None,
    class_names: Sequence[str] | None,
    split: Array | None,
    folds: Array | None = None,
    groups: Mapping[str, Array] | None = None,
    sample_ids: Sequence[str] | None = None,
    present: Mask | None = None,
    sources: Mapping[str, str],
    merge_labels: bool = False,
    dtype: str = "float32",
    note: Callable[[str], object] = lambda _: None,
    known_problems: Sequence[str] = (),
) -> Manifest:
    """Write ``features``, modality -> (n, d_m), as a feature set; see :func:`import_npz` for the other arguments.

    The arrays may be memory-mapped, and larger than memory. ``sample_ids`` are the n different identifiers; by default
    they are the numbers of the rows. ``present`` says which rows have which modalities
    (:mod:`conclugen.features.masks`); by default all have all.

    ``known_problems`` are reported with those of the arrays. So a user can mend all of them in one go.

    Raises:
        FeatureSetError: the arrays have problems; the message has one line for each.
    """
    problems = list(known_problems)
    if dtype not in ("float16", "float32"):
        problems.append(f"dtype: expected float16 or float32, got {dtype!r}.")
        dtype = "float32"  # the other checks need a valid precision
    if not features and not known_problems:
        problems.append("modalities: there is none; give one at least.")
    groups = groups or {}
    given = (*features.values(), labels, split, folds, *groups.values())
    lengths = Counter(len(array) for array in given if array is not None and array.ndim and len(array))
    n = max(lengths, key=lengths.__getitem__, default=0)  # most arrays have the right one
    for name, array in features.items():
        if not re.fullmatch(MODALITY_NAME, name):
            problems.append(
                f"modality {name!r}: rename it; names start with a letter, hold only letters, digits and underscores "
                "(A-Z, a-z, 0-9, _), and are not sample_id, augmentation, speaker or label."
            )
        if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
            problems.append(
                f"modality {name!r}: expected numbers of shape (samples, width), neither of them 0, "
                f"got {array.dtype} {array.shape}{_vectors_from(array)}."
            )
        elif len(array) != n:
            remedy = "give array.T" if array.shape[1] == n else "give every array one row per sample"
            problems.append(f"modality {name!r}: has {len(array)} rows, another array has {n}; {remedy}.")
        elif fault := _value_fault(array, dtype):
            problems.append(f"modality {name!r}: {fault}.")
    valid = [name for name in features if re.fullmatch(MODALITY_NAME, name)]
    problems += [f"modalities {', '.join(group)}: look alike; rename all but one." for group in look_alikes(valid)]
    split = split if split is None else texts("split", split, problems)
    splits = _canonical_splits(split, n, problems) if folds is None else _fold_names(folds, n, problems)
    if folds is not None and split is not None:
        problems.append("folds: a set has splits or folds; give one of the two.")
    codes, classes = _encode_labels(labels, class_names, n, problems, merge=merge_labels, note=note)
    group_of = group_columns(groups, n, problems)
    present = present or {}
    training = ~np.isin(splits, ("val", "test"))
    problems += mask_problems(present, [*features], sample_ids if sample_ids is not None else range(n), training)
    if problems:
        raise FeatureSetError("\n".join(problems))

    columns = [Modality(name=m, width=a.shape[1], source=sources[m]) for m, a in features.items()]
    row_bytes = np.dtype(dtype).itemsize * sum(column.width for column in columns)
    rows_per_shard = max(1, SHARD_BYTES // row_bytes)
    meaning = None
    if codes is not None and classes is not None:
        meaning = Labels(kind="multiclass" if codes.ndim == 1 else "multilabel", classes=tuple(classes))
    with FeatureWriter(out, columns, dtype=dtype, labels=meaning, groups=list(group_of)) as writer:
        for name in sorted(set(splits.tolist()), key=lambda name: (SPLITS.index(name) if name in SPLITS else 0, name)):
            members = np.flatnonzero(splits == name)
            for start in range(0, len(members), rows_per_shard):
                rows = members[start : start + rows_per_shard]
                writer.write(
                    name,
                    [str(row) if sample_ids is None else sample_ids[row] for row in rows],
                    {m: a[rows].astype(dtype) for m, a in features.items()},
                    labels=codes[rows] if codes is not None else None,
                    groups={kind: [column[row] for row in rows] for kind, column in group_of.items()},
                    present={name: mask[rows] for name, mask in present.items()},
                )
    return Manifest.read(out)


def _vectors_from(array: Array) -> str:
    """Return the end of a message: how features of another shape or type become numbers (samples, width)."""
    if 0 in array.shape:
        return "; leave it out"
    if array.dtype.kind == "b":
        return "; give array.astype('float32')"
    if array.dtype.kind not in "fiu":
        return "; give real numbers, such as by array.astype('float32')"
    if array.ndim == 1:
        return "; give array[:, None] if it is one feature per sample"
    return "; give one vector per sample, such as by array.mean(axis=1) over steps of time" if array.ndim > 2 else ""


def _value_fault(array: Array, dtype: str) -> str | None:
    """Return which values of an array (n, d_m) cannot be stored, and what to do; None if there are none."""
    with np.errstate(over="ignore"):
        parts = (array[start : start + _ROWS_CHECKED] for start in range(0, len(array), _ROWS_CHECKED))
        bad = np.flatnonzero(np.concatenate([~np.isfinite(part.astype(dtype)).all(axis=1) for part in parts]))
    if not len(bad):
        return None
    fault = f"{len(bad)} of {len(array)} rows hold NaN or infinite values in {dtype}, the first is array[{bad[0]}]"
    if np.isfinite(array[bad]).all():
        largest = np.abs(array[bad]).max()
        remedy = "store float32" if dtype == "float16" and largest <= np.finfo(np.float32).max else "scale them"
        return f"{fault}; values up to {largest:.3g} are too large for {dtype}, so {remedy}"
    return f"{fault}; leave these rows out of every array, or replace the values"


def _canonical_splits(split: Array | None, n: int, problems: list[str]) -> npt.NDArray[np.str_]:
    if split is None:
        return np.full(n, "train")
    if split.shape != (n,):
        problems.append(f"split: expected {n} names, got shape {split.shape}{remedy_of('split', split, n)}.")
        return np.full(n, "train")
    names = [split_name(str(value)) for value in split]
    counts = Counter(names)
    if unknown := sorted(counts.keys() - set(SPLITS)):
        shown = ", ".join(f"{name!r} ({counts[name]:,})" for name in unknown)
        remedy = {
            "i": "give names, such as numpy.array(['train', 'val', 'test'])[split]",
            "b": "give names, such as numpy.where(split, 'train', 'test')",
        }.get(split.dtype.kind, "rename them")
        problems.append(f"split: {shown} is none of train, val (dev, valid, validation), test; {remedy}.")
    elif "train" not in names:
        problems.append("split: no row is 'train'; the standardisation needs training rows.")
    return np.array(names)


def _fold_names(folds: Array, n: int, problems: list[str]) -> npt.NDArray[np.str_]:
    if folds.shape != (n,) or folds.dtype.kind not in "iu" or not np.isin(folds, range(FOLDS)).all():
        outside = "" if folds.dtype.kind not in "iu" or not folds.size else f" from {folds.min()} to {folds.max()}"
        problems.append(
            f"folds: expected {n} integers in 0..{FOLDS - 1}, got {folds.dtype} {folds.shape}{outside}"
            f"{remedy_of('folds', folds, n)}."
        )
        return np.full(n, "train")
    if (count := len(np.unique(folds))) < LEAST_FOLDS:
        problems.append(f"folds: {count} are too few; train, val and test take {LEAST_FOLDS} at least.")
    return np.array([fold_name(fold) for fold in folds.tolist()])


def _encode_labels(
    labels: Array | None,
    class_names: Sequence[str] | None,
    n: int,
    problems: list[str],
    *,
    merge: bool,
    note: Callable[[str], object],
) -> tuple[npt.NDArray[np.int64] | None, Sequence[str] | None]:
    """Return the labels as a feature set stores them, and the classes; the classes alone if there are problems."""
    if labels is None:
        return None, None
    labels = texts("labels", labels, problems)
    names = None if class_names is None else [tidy(name) for name in class_names]
    if names is not None:
        problems += class_problems(names, "class_names")
    if labels.ndim == 2:
        problems += _problems_of_several(labels, n, names or [])
        return labels.astype(np.int64) if labels.dtype.kind in "biu" else None, names
    if labels.shape != (n,):
        problems.append(f"labels: expected {n} values, got shape {labels.shape}{remedy_of('labels', labels, n)}.")
        return None, names
    if labels.dtype.kind not in "iuU":
        problems.append(f"labels: expected integers or strings, got {labels.dtype}{remedy_of('labels', labels, n)}.")
        return None, names
    unique, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    values = unique.tolist()
    if labels.dtype.kind == "U" or names is None:
        tidied = [tidy(str(value)) for value in values]
        counts: Counter[str] = Counter()
        for name, size in zip(tidied, sizes.tolist(), strict=True):
            counts[name] += size
        class_of = classes_of(counts, problems, classes=names, merge=merge)
        for sentence in merges_shown(class_of, counts):
            note(sentence)
        chosen = [class_of[name] for name in tidied]
        in_order = sorted(set(chosen)) if labels.dtype.kind == "U" else chosen  # the values are sorted as numbers
        order = names if names is not None else in_order
    else:
        order = names
        chosen = [order[value] if 0 <= value < len(order) else str(value) for value in values]
    if labels.dtype.kind != "U":
        outside = [value for value in values if value < 0 or (names is not None and value >= len(names))]
        allowed: Sequence[object] = [*range(len(order))]
    else:
        outside = sorted({name for name in chosen if name not in order and name_problem(name) is None})
        allowed = order
    if outside and names is None:
        problems.append(f"labels: {outside} are negative; drop these rows if they have no label, else give strings.")
    elif outside:
        problems.append(f"labels: {outside} are none of {allowed}, which class_names allows; correct one of the two.")
    if problems:
        return None, names
    return np.array([order.index(name) for name in chosen], np.int64)[codes], order


def _problems_of_several(labels: Array, n: int, names: Sequence[str]) -> list[str]:
    """Return the problems of labels (n, classes) of 0 and 1."""
    if labels.shape == (n, 1) and len(names) != 1:
        return [f"labels: expected {n} values, got shape {labels.shape}; give labels[:, 0]."]
    if labels.shape != (n, len(names)) or labels.dtype.kind not in "biu" or not np.isin(labels, (0, 1)).all():
        return [
            f"labels: several labels per sample are 0 or 1 in an array of shape ({n}, classes), with as many "
            f"class_names; got {labels.dtype} {labels.shape} and {len(names)} names. "
            f"{_several_from(labels, n)}For one label per sample give labels.argmax(axis=1)."
        ]
    if (labels.sum(axis=1) == 1).all():
        return ["labels: every row has exactly one 1, so no sample has several labels; give labels.argmax(axis=1)."]
    return []


def _several_from(labels: Array, n: int) -> str:
    """Return a sentence: how 0 and 1 of another type become integers, if the labels are that."""
    zero_one = labels.dtype.kind == "f" and len(labels) == n and bool(np.isin(labels, (0, 1)).all())
    return "Give labels.astype(int). " if zero_one else ""
