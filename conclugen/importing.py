"""Arrays to feature shards: what `conclugen features import` does.

All problems of the input are found before anything is written, so that a user corrects them in one go.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conclugen.features import FeatureWriter
from conclugen.manifest import SPLITS, FeatureSetError, Manifest, Modality

__all__ = ["import_arrays", "import_npz"]

_SHARD_BYTES = 256 * 2**20
_SPLIT_ALIASES = {"dev": "val", "valid": "val", "validation": "val"}
Array = npt.NDArray[np.generic]


def import_npz(
    file: Path,
    out: Path,
    modalities: Mapping[str, str],
    *,
    labels: str | None = None,
    split: str | None = None,
    dtype: str = "float32",
) -> Manifest:
    """Turn arrays of one .npz file into a feature set.

    Args:
        file: the .npz file; object arrays are refused, so nothing in it is executed.
        out: folder for the set; must not hold one yet.
        modalities: modality -> key of its (n, d_m) array, in modality order.
        labels: key of the (n,) labels: integers, or strings that become class names. Class names for integer labels
            are read from the key ``class_names`` where the file has it.
        split: key of the (n,) split names (train, val, test; dev and valid mean val); without it all rows are train.
        dtype: stored precision, float16 or float32.

    Raises:
        FeatureSetError: with every problem of the file, one a line.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError) as error:
        raise FeatureSetError(f"{file} cannot be read as an .npz file of plain arrays: {error}") from None
    wanted = {**{f"modality {name!r}": key for name, key in modalities.items()}, "--labels": labels, "--split": split}
    missing = [
        f"{what}: {file} has no array {key!r}; it has {', '.join(sorted(arrays))}."
        for what, key in wanted.items()
        if key is not None and key not in arrays
    ]
    if missing:
        raise FeatureSetError("\n".join(missing))
    return import_arrays(
        {name: arrays[key] for name, key in modalities.items()},
        out,
        labels=arrays[labels] if labels is not None else None,
        class_names=[str(name) for name in arrays["class_names"]] if "class_names" in arrays else None,
        split=arrays[split] if split is not None else None,
        sources={name: f"{file.name}:{key}" for name, key in modalities.items()},
        dtype=dtype,
    )


def import_arrays(
    features: Mapping[str, Array],
    out: Path,
    *,
    labels: Array | None,
    class_names: Sequence[str] | None,
    split: Array | None,
    sources: Mapping[str, str],
    dtype: str = "float32",
) -> Manifest:
    """Write ``features``, modality -> (n, d_m), as a feature set; see :func:`import_npz` for the other arguments.

    Raises:
        FeatureSetError: with every problem of the arrays, one a line.
    """
    problems: list[str] = []
    n = len(next(iter(features.values())))
    for name, array in features.items():
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            problems.append(
                f"modality {name!r}: expected numbers of shape (samples, width), got {array.dtype} {array.shape}."
            )
        elif len(array) != n:
            problems.append(f"modality {name!r}: has {len(array)} rows, the first modality has {n}.")
        elif bad := int((~np.isfinite(array.astype(dtype))).any(axis=1).sum()):
            problems.append(f"modality {name!r}: {bad} of {n} rows hold NaN or infinite values in {dtype}.")
    splits = _canonical_splits(split, n, problems)
    codes, classes = _encode_labels(labels, class_names, n, problems)
    if not problems and "train" not in splits:
        problems.append("split: no row is 'train'; the standardisation needs training rows.")
    if problems:
        raise FeatureSetError("\n".join(problems))

    columns = [Modality(name=m, width=a.shape[1], source=sources[m]) for m, a in features.items()]
    row_bytes = np.dtype(dtype).itemsize * sum(column.width for column in columns)
    rows_per_shard = max(1, _SHARD_BYTES // row_bytes)
    with FeatureWriter(out, columns, dtype=dtype, classes=classes) as writer:
        for name in SPLITS:
            members = np.flatnonzero(splits == name)
            for start in range(0, len(members), rows_per_shard):
                rows = members[start : start + rows_per_shard]
                writer.write(
                    name,
                    [str(row) for row in rows],
                    {m: a[rows].astype(dtype) for m, a in features.items()},
                    labels=codes[rows] if codes is not None else None,
                )
    return Manifest.read(out)


def _canonical_splits(split: Array | None, n: int, problems: list[str]) -> npt.NDArray[np.str_]:
    if split is None:
        return np.full(n, "train")
    if split.shape != (n,):
        problems.append(f"split: expected {n} names, got shape {split.shape}.")
        return np.full(n, "train")
    names = np.array([_SPLIT_ALIASES.get(str(value), str(value)) for value in split])
    unknown = sorted(set(names.tolist()) - set(SPLITS))
    if unknown:
        problems.append(f"split: {', '.join(map(repr, unknown))} is none of train, val (dev, valid, validation), test.")
    return names


def _encode_labels(
    labels: Array | None, class_names: Sequence[str] | None, n: int, problems: list[str]
) -> tuple[npt.NDArray[np.int64] | None, Sequence[str] | None]:
    if labels is None:
        return None, None
    if labels.shape != (n,):
        problems.append(f"labels: expected {n} values, got shape {labels.shape}.")
        return None, None
    if labels.dtype.kind in "iu" and class_names is not None:
        outside = sorted({int(v) for v in labels if not 0 <= v < len(class_names)})
        if outside:
            problems.append(f"labels: {outside} are outside 0..{len(class_names) - 1}, the indices of class_names.")
        return labels.astype(np.int64), class_names
    if labels.dtype.kind not in "iuU":
        problems.append(f"labels: expected integers or strings, got {labels.dtype}.")
        return None, None
    values, codes = np.unique(labels, return_inverse=True)
    return codes.astype(np.int64), [str(value) for value in values]
