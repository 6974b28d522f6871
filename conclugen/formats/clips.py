"""Arrays by clip: a file, or an entry of a dictionary, for each clip and modality.

``clips`` is a folder of ``<clip>.npy``, each a vector (d,) or frames (T, d), or a folder of such folders, one for each
modality: ConCluGen's own layout, and that of MERTools and MERBench. ``by_clip`` is a dictionary clip -> array.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conclugen.features.manifest import SPLITS, FeatureSetError, split_name
from conclugen.formats.content import Source, is_array
from conclugen.formats.options import Options
from conclugen.formats.roles import clip_ids, part_of
from conclugen.formats.table import Column, Content, Numbers, Read, Role, Table, numbers, random_access, value_column

__all__ = ["BY_CLIP", "CLIPS", "clip_column", "clip_table"]

_ODD_SHARE = 0.01
"""Share of clips whose arrays may have another width; more than these mean that the files are not of one backbone."""
_ODD_CLIPS = 3
_FEW_CLIPS = 3
_SEQUENCE_BYTES = 2**20
_FRAME = re.compile(r"\d+|(frame|face|img|image)[a-z_]*[\d_]*\d", re.IGNORECASE)
"""Names of files of frames, such as 0001 or OpenFace's frame_det_00_000001."""


class _Clips:
    """A folder of .npy files."""

    name = "clips"
    meaning = "a folder with an .npy file for each clip, a folder for each modality"

    def recognise(self, source: Source) -> str | None:
        """Return what shows the layout, or None."""
        if source.kind != "folder":
            return None
        if count := len(_arrays(source.path)):
            return f"{count:,} .npy files"
        folders = [folder for folder in _folders(source.path) if _is_modality(folder)]
        return f"folders of .npy files: {', '.join(folder.name for folder in folders[:8])}" if folders else None

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return a table for each modality.

        Raises:
            FeatureSetError: folders may be clips or modalities, and the user has to say which.
        """
        if _arrays(source.path):
            return [_folder_table(source.path, options)]
        folders = [folder for folder in _folders(source.path) if _is_modality(folder)]
        if all(split_name(folder.name) in SPLITS for folder in folders):
            return [_folder_table(source.path, options)]
        if options.rows is None and all(_look_like_frames(_arrays(folder)) for folder in folders):
            raise FeatureSetError(
                f"{source.path}: its {len(folders):,} folders hold files such as {_first(folders)}. Either each folder "
                "is a clip, and its files are frames: give --rows frames. Or each folder is a modality, and its files "
                "are clips: give --rows clips."
            )
        if options.rows == "frames" and all(_look_like_frames(_arrays(folder)) for folder in folders):
            return [_folder_table(source.path, options)]
        return [_folder_table(folder, options) for folder in folders]


class _ByClip:
    """A dictionary clip -> array."""

    name = "by_clip"
    meaning = "a dictionary with an array for each clip"

    def recognise(self, source: Source) -> str | None:
        """Return what shows the layout, or None."""
        tree = source.tree
        if not isinstance(tree, Mapping) or len(tree) < _FEW_CLIPS or source.kind == "matlab":
            return None
        shapes = [
            value.shape for value in tree.values() if is_array(value) and value.ndim in (1, 2) and value.shape[-1] > 1
        ]
        if len(shapes) < 0.9 * len(tree):
            return None
        width, count = Counter(shape[-1] for shape in shapes).most_common(1)[0]
        return (
            f"{count:,} of {len(tree):,} entries are arrays whose vectors have {width:,} features"
            if count > 0.9 * len(tree)
            else None
        )

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return the table, whose only column is named after the file."""
        tree = source.tree
        part, key = part_of(source.name)
        ids = clip_ids([*map(str, tree)])
        split = [] if part is None else [value_column("split", [part] * len(ids), role="split")]
        return [clip_table(source.name, ids, {key or "features": [*tree.values()]}, split)]


CLIPS, BY_CLIP = _Clips(), _ByClip()


def clip_table(
    name: str, ids: Sequence[str], features: Mapping[str, Sequence[Any]], values: Sequence[Column] = ()
) -> Table:
    """Return a table of arrays by clip.

    Args:
        name: name of the source.
        ids: the n clips.
        features: key -> array of each clip; where there is none, None or the reason.
        values: further columns.
    """
    columns, reads = {}, {}
    for key, arrays in features.items():
        columns[key], reads[key] = clip_column(key, arrays, role="feature")
    columns |= {column.key: column for column in values}
    return Table(name=name, ids=ids, columns=columns, blocks=random_access(reads, len(ids), _SEQUENCE_BYTES))


def clip_column(key: str, arrays: Sequence[Any], *, role: Role | None = None) -> tuple[Column, Read]:
    """Return the column of the arrays of clips, (d,) or (T, d) each, and how it is read."""

    def load(row: int) -> Any:
        return arrays[row]

    return _shaped(key, [_shape(array) for array in arrays], load, role)


def _shape(array: Any) -> tuple[int, ...] | str:
    """Return the shape of an array, or why it is none."""
    if array is None or isinstance(array, str):
        return array or "there is none"
    if not is_array(array):
        array = numbers(array)
    return "it holds no numbers" if array is None else tuple(array.shape)


def _shaped(
    key: str, shapes: Sequence[tuple[int, ...] | str], load: Callable[[int], Any], role: Role | None
) -> tuple[Column, Read]:
    """Return the column of arrays of the given shapes.

    A single array in a clip's place may have a leading 1. Arrays of another width than most are left out, as long as
    they are few.
    """
    inner = [shape if isinstance(shape, str) else _squeezed(shape) for shape in shapes]
    widths = Counter(
        shape[-1] for shape in inner if not isinstance(shape, str) and len(shape) in (1, 2) and 0 not in shape
    )
    width, _ = widths.most_common(1)[0] if widths else (0, 0)
    missing: dict[int, str] = {}
    odd: Counter[tuple[int, ...]] = Counter()
    for row, (shape, whole) in enumerate(zip(inner, shapes, strict=True)):
        if isinstance(shape, str):
            missing[row] = shape
        elif 0 in shape:
            missing[row] = "it has no frame"
        elif len(shape) not in (1, 2) or shape[-1] != width:
            missing[row] = f"its shape is {whole}, the others' width is {width:,}"
            odd[shape] += 1
    frames = [shape[0] for row, shape in enumerate(inner) if row not in missing and len(shape) == 2]
    described = f"{len(shapes) - len(missing):,} arrays of width {width:,}"
    if frames:
        described += f", {min(frames):,} to {max(frames):,} frames"

    def fault() -> str | None:
        number = sum(odd.values())
        if not width:
            return f"{key}: holds no vector and no frames of numbers; name another column."
        if number <= max(_ODD_CLIPS, _ODD_SHARE * len(shapes)):
            return None
        same = {
            shape[0]
            for shape in [*odd, *(shape for row, shape in enumerate(inner) if row not in missing)]
            if len(shape) == 2
        }
        if len(same) == 1 and len(odd) > 1:
            return f"{key}: arrays are ({same.pop():,}, T), so their frames are columns; save array.T of each."
        shown = ", ".join(f"{shape} ({count:,})" for shape, count in odd.most_common(3))
        return (
            f"{key}: {number:,} of {len(shapes):,} arrays have another shape than most, such as {shown}; "
            "give those of one backbone."
        )

    def read(start: int, stop: int) -> Content:
        return [_loaded(load, row, width) if row not in missing else missing[row] for row in range(start, stop)]

    kind: Any = "sequence" if frames else "vector"
    column = Column(
        key=key, kind=kind, shape=described, width=width, role=role, missing=missing, fault=fault,
        lengths="each array's own" if frames else "",
    )  # fmt: skip
    return column, read


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without leading 1s beyond frames and features."""
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _loaded(load: Callable[[int], Any], row: int, width: int) -> Numbers | str:
    """Return the frames (t, d) of a clip, or why they cannot be read; a vector is one frame."""
    try:
        return np.asarray(load(row)).reshape(-1, width)
    except (OSError, ValueError, EOFError) as error:
        return f"it cannot be read ({str(error)[:60]})"


def _folder_table(folder: Path, options: Options) -> Table:
    """Return the table of one modality's folder."""
    files: dict[str, list[Path]] = {file.stem: [file] for file in _arrays(folder)}
    parts: dict[str, str] = {}
    inner = [child for child in _folders(folder) if _arrays(child)]
    if inner and all(split_name(child.name) in SPLITS for child in inner):
        for child in inner:
            for file in _arrays(child):
                files.setdefault(file.stem, []).append(file)
                parts[file.stem] = split_name(child.name)
    elif inner:
        if options.rows is None:
            raise FeatureSetError(
                f"{folder}: has folders, such as {_first(inner)}. Either a folder is a clip, and its files are frames: "
                "give --rows frames. Or each file is a clip: give --rows clips."
            )
        for child in inner:
            if options.rows == "frames":
                files[child.name] = sorted(_arrays(child), key=lambda file: (len(file.stem), file.stem))
            else:
                files |= {f"{child.name}/{file.stem}": [file] for file in _arrays(child)}
    if doubled := [name for name, paths in files.items() if len(paths) > 1 and name in parts]:
        raise FeatureSetError(
            f"{folder}: {doubled[0]} is in several parts ({len(doubled):,} such clips). If these are the same "
            "clips, keep one of each. If not, rename their files."
        )
    ids = sorted(files)
    shapes = [_files_shape(files[name]) for name in ids]

    def load(row: int) -> Numbers:
        arrays = [np.load(file, allow_pickle=False) for file in files[ids[row]]]
        return arrays[0] if len(arrays) == 1 else np.stack([array.reshape(-1) for array in arrays])

    column, read = _shaped(folder.name, shapes, load, "feature")
    columns = {folder.name: column}
    if parts:
        columns["split"] = value_column("split", [parts.get(name) for name in ids], role="split")
    largest = max(
        (int(np.prod(shape, dtype=np.int64)) * 4 for shape in shapes if not isinstance(shape, str)), default=1
    )
    blocks = random_access({folder.name: read}, len(ids), largest)
    return Table(name=folder.name, ids=ids, columns=columns, blocks=blocks)


def _files_shape(files: Sequence[Path]) -> tuple[int, ...] | str:
    """Return the shape of a clip's array, from the header of its file, or why it has none."""
    shapes = []
    for file in files:
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            if not file.stat().st_size:
                return "its file is empty (0 bytes)"
            return f"its file cannot be read ({str(error)[:60]})"
        if not is_array(array):
            return "it holds no numbers"
        shapes.append(tuple(array.shape))
    if len(files) == 1:
        return shapes[0]
    widths = {int(np.prod(shape, dtype=np.int64)) for shape in shapes}
    return (len(files), widths.pop()) if len(widths) == 1 else "its frames have several widths"


def _arrays(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.suffix == ".npy" and not file.name.startswith(".")]


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _is_modality(folder: Path) -> bool:
    """Return whether a folder holds clips, or folders of splits or of clips' frames; and not other modalities."""
    inner = [child for child in _folders(folder) if _arrays(child)]
    splits = all(split_name(child.name) in SPLITS for child in inner)
    frames = all(_look_like_frames(_arrays(child)) for child in inner)
    return bool(_arrays(folder)) or (bool(inner) and (splits or frames))


def _look_like_frames(files: Sequence[Path]) -> bool:
    return bool(files) and all(_FRAME.fullmatch(file.stem) for file in files)


def _first(folders: Sequence[Path]) -> str:
    return f"{folders[0].name}/{min(_arrays(folders[0])).name}"
