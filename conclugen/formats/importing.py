"""Import of files in any layout as one feature set: what is understood, then the writing.

:func:`understand` reads names, labels and shapes, and no features. So its result can be shown before anything is
written. :func:`write` reads features block by block, pools sequences into files beside the set, and hands these to the
writer of all imports. Neither the features as they are nor the pooled ones have to fit into memory.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from conclugen.features.importing import import_arrays
from conclugen.features.manifest import FeatureSetError, Manifest
from conclugen.formats.joining import Place, reason_of
from conclugen.formats.options import Options
from conclugen.formats.plan import Plan, understand
from conclugen.formats.pooling import pool
from conclugen.formats.table import Content, Numbers, Table

__all__ = ["import_files", "write"]

_LOCK = "lock"
_NON_FINITE = "holds NaN or infinite values"
_STEP = 4096
"""Rows that are moved at a time."""


def import_files(
    paths: Sequence[Path],
    out: Path,
    options: Options,
    *,
    note: Callable[[str], object] = lambda _: None,
    tick: Callable[[int], object] = lambda _: None,
) -> tuple[Plan, Manifest]:
    """Turn files into a feature set; see :func:`understand` and :func:`write`.

    Raises:
        FeatureSetError: the files have problems; the message has one line for each.
    """
    plan = understand(paths, options)
    return plan, write(plan, out, note=note, tick=tick)


def write(
    plan: Plan,
    out: Path,
    *,
    note: Callable[[str], object] = lambda _: None,
    tick: Callable[[int], object] = lambda _: None,
) -> Manifest:
    """Write the feature set that was understood.

    Rows that turn out to have no features are added to ``plan.left_out``. If incomplete rows are kept, those that turn
    out to lack some modalities are added to ``plan.lacking``.

    Args:
        plan: what was understood.
        out: folder for the set; must not hold one yet.
        note: called with a sentence for each class that labels were merged into, and for each folder that an import
            that was killed left behind, which is removed.
        tick: called with the number of rows after each block of each file.

    Raises:
        FeatureSetError: features cannot be read or stored; nothing is written.
    """
    beside = next(folder for folder in out.absolute().parents if folder.is_dir())
    with _scratch(out, beside, note) as scratch:
        pooled = {
            name: _array_on_disk(scratch / str(number), (len(plan.ids), plan.width(name)))
            for number, name in enumerate(plan.modalities)
        }
        gaps = _pool(plan, pooled, tick)
        kept = _kept(plan, gaps)
        arrays = {name: _compacted(array, kept) for name, array in pooled.items()}
        ids = [plan.ids[row] for row in kept]
        return import_arrays(
            arrays,
            out,
            labels=None if plan.labels is None else np.array(plan.labels)[kept],
            class_names=plan.classes,
            split=None if plan.splits is None else np.array(plan.splits)[kept],
            folds=None if plan.folds is None else np.array(plan.folds)[kept],
            groups={name: np.array(of_rows)[kept] for name, of_rows in plan.groups.items()},
            sample_ids=ids,
            present={name: np.array([name not in plan.lacking.get(key, ()) for key in ids]) for name in arrays},
            sources={name: plan.source(name) for name in plan.modalities},
            merge_labels=plan.options.merge_labels,
            dtype=plan.options.dtype,
            note=note,
        )


@contextmanager
def _scratch(out: Path, beside: Path, note: Callable[[str], object]) -> Iterator[Path]:
    """Yield a hidden folder for pooled vectors, after removing those of killed imports into ``out``.

    A lock in the folder shows that its import runs: the system frees the lock of a process that dies.
    """
    prefix = f".{out.name}.import-"
    for folder in sorted(path for path in beside.iterdir() if path.name.startswith(prefix) and path.is_dir()):
        with suppress(Timeout), FileLock(folder / _LOCK, blocking=False):
            shutil.rmtree(folder)
            note(f"Removed {folder}, which an import that was killed left behind.")
    with tempfile.TemporaryDirectory(prefix=prefix, dir=beside) as folder_name:
        folder = Path(folder_name)
        with FileLock(folder / _LOCK):
            yield folder


def _array_on_disk(file: Path, shape: tuple[int, int]) -> Numbers:
    """Return an array of zeros in a file of its full size.

    Raises:
        OSError: the disk has no room for it; writing to a file that has yet to grow would end the process.
    """
    with file.open("wb") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, 4 * shape[0] * shape[1])
    return np.memmap(file, np.float32, "r+" if file.stat().st_size else "w+", shape=shape)


def _pool(plan: Plan, pooled: Mapping[str, Numbers], tick: Callable[[int], object]) -> dict[str, dict[int, str]]:
    """Write one vector for each row into ``pooled``, and return modality -> row -> why it has none."""
    place_of_id = {key: row for row, key in enumerate(plan.ids)}
    gaps: dict[str, dict[int, str]] = {name: {} for name in plan.modalities}
    for table, keys in _by_table(plan.modalities):
        targets = {
            name: np.array([-1 if name in plan.lacking.get(key, ()) else place_of_id.get(key, -1) for key in table.ids])
            for name in keys
        }
        start = 0
        for block in table.blocks(list(dict.fromkeys(keys.values()))):
            size = 0
            for name, key in keys.items():
                size = len(block[key])
                _place(block[key], targets[name][start : start + size], pooled[name], gaps[name], plan.options)
            start += size
            tick(size)
    return gaps


def _by_table(modalities: Mapping[str, Sequence[Place]]) -> Iterator[tuple[Table, dict[str, str]]]:
    """Yield each table with modality -> key, so that it is read once."""
    tables: dict[int, tuple[Table, dict[str, str]]] = {}
    for name, places in modalities.items():
        for place in places:
            tables.setdefault(id(place.table), (place.table, {}))[1][name] = place.column.key
    yield from tables.values()


def _place(rows: Content, targets: Numbers, pooled: Numbers, gaps: dict[int, str], options: Options) -> None:
    """Pool the rows of a block into their places; a target of -1 is a row that is left out."""
    if isinstance(rows, np.ndarray) and rows.ndim == 2:  # vectors, which need no pooling
        wanted = np.flatnonzero(targets >= 0)
        vectors = rows[wanted]
        finite = np.isfinite(vectors)
        if options.non_finite != "zero":
            gaps |= dict.fromkeys(targets[wanted[~finite.all(axis=1)]].tolist(), _NON_FINITE)
        with np.errstate(over="ignore"):  # what the stored precision cannot hold is reported by the writer
            pooled[targets[wanted]] = vectors if finite.all() else np.where(finite, vectors, 0)
        return
    for row in np.flatnonzero(targets >= 0).tolist():
        target, content = int(targets[row]), rows[row]
        if isinstance(content, str):
            gaps[target] = content
            continue
        frames = np.atleast_2d(content)
        if not frames.size:
            gaps[target] = "it has no true frame"
            continue
        frames = frames.astype(np.float64, copy=False)
        finite = np.isfinite(frames)
        if not finite.all():
            if options.non_finite != "zero":
                gaps[target] = _NON_FINITE
                continue
            frames = np.where(finite, frames, 0)
        vector = pool(frames, options.pool) if pooled.shape[1] != frames.shape[1] or len(frames) > 1 else frames[0]
        pooled[target] = vector


def _kept(plan: Plan, gaps: Mapping[str, Mapping[int, str]]) -> list[int]:
    """Return the rows that have all modalities, or some if incomplete ones are kept; list what is missing in the plan.

    Raises:
        FeatureSetError: values are not finite, and the user has not said what to do; or no row is left.
    """
    problems = []
    for name, of_rows in gaps.items():
        bad = [row for row, reason in of_rows.items() if reason == _NON_FINITE]
        if bad and plan.options.non_finite == "refuse":
            effect = "lack the modality" if plan.options.keep_incomplete else "are left out"
            problems.append(
                f"modality {name!r}: {len(bad):,} of {len(plan.ids):,} rows hold NaN or infinite values, such as "
                f"{plan.ids[min(bad)]!r}. Give --non-finite zero (they become 0 before frames are averaged) or "
                f"--non-finite drop (these rows {effect})."
            )
    reasons: dict[int, dict[str, str]] = {}
    for name, of_rows in gaps.items():
        for row, reason in of_rows.items():
            reasons.setdefault(row, dict(plan.lacking.get(plan.ids[row], {})))[name] = reason
    kept = [
        row
        for row in range(len(plan.ids))
        if row not in reasons or (plan.options.keep_incomplete and len(reasons[row]) < len(plan.modalities))
    ]
    if not problems and not kept:
        shown = Counter(map(reason_of, reasons.values())).most_common(1)[0][0]
        problems.append(f"no row is left: {shown}.")
    if problems:
        raise FeatureSetError("\n".join(problems))
    with_gaps = {row: reasons.pop(row) for row in kept if row in reasons}
    plan.lacking |= {plan.ids[row]: lacking for row, lacking in with_gaps.items()}
    for row, lacking in sorted(reasons.items()):
        plan.lacking.pop(plan.ids[row], None)
        plan.left_out.setdefault(reason_of(lacking), []).append(plan.ids[row])
    return kept


def _compacted(array: Numbers, kept: Sequence[int]) -> Numbers:
    """Move the kept rows to the front, in place, and return them; rows only move forward, so none is lost."""
    if len(kept) < len(array):
        for start in range(0, len(kept), _STEP):
            rows = kept[start : start + _STEP]
            array[start : start + len(rows)] = array[rows]
    return array[: len(kept)]
