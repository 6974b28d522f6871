"""MMSA's pickles of MOSI, MOSEI and CH-SIMS, and those of MulT: a dictionary of parts, each of arrays by name.

A part has ``text``, ``audio`` and ``vision`` (n, T, d), ``id``, ``raw_text`` and several kinds of labels. Unaligned
files have ``audio_lengths`` and ``vision_lengths``; the mask of aligned ones is the second row of ``text_bert``.
``text_bert`` itself holds numbers of tokens, which are no features. HDF5 and `.pt` files of the same shape are read.

Identifiers of MOSI and MOSEI are ``<video>$_$<clip>``, those of CH-SIMS ``<video>/<clip>``: the video is a group.

Source: thuiar/MMSA, ``src/MMSA/data_loader.py``; yaohungt/Multimodal-Transformer, ``src/dataset.py``.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from conclugen.features.manifest import FeatureSetError
from conclugen.formats.arrays import rows_of, stack_table
from conclugen.formats.content import Source
from conclugen.formats.options import Options
from conclugen.formats.roles import split_of
from conclugen.formats.table import Column, Table, value_column

__all__ = ["MMSA", "video_column"]

_VIDEO = re.compile(r"(.+?)(?:\$_\$|/)[^/$]+")
_FEWEST_KEYS = 2


class _Mmsa:
    """A dictionary of parts."""

    name = "mmsa"
    meaning = "a dictionary of parts, such as train, valid and test, each of arrays by name"

    def recognise(self, source: Source) -> str | None:
        """Return what shows the layout, or None."""
        parts = _parts(source.tree)
        if not parts:
            return None
        keys = [key for key in next(iter(parts.values())) if all(key in part for part in parts.values())]
        return f"parts {', '.join(parts)}, each of {', '.join(map(str, keys))}" if len(keys) >= _FEWEST_KEYS else None

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return a table for each part.

        Raises:
            FeatureSetError: the parts do not have the same arrays.
        """
        parts = _parts(source.tree)
        tables = [stack_table(part, source.name, name, options) for name, part in parts.items()]
        features = [{key for key, column in table.columns.items() if column.role == "feature"} for table in tables]
        named = Counter(key for own in features for key in own)
        odd = {key for key, count in named.items() if count < len(features)}
        if odd and not options.modalities:
            lacking = [name for name, own in zip(parts, features, strict=True) if odd - own]
            raise FeatureSetError(
                f"{source.path}: part {', '.join(lacking)} has no {', '.join(sorted(odd))}; name the modalities that "
                "all parts have by --modalities."
            )
        return [_with_videos(table) for table in tables]


MMSA = _Mmsa()


def _parts(tree: Any) -> dict[str, Mapping[str, Any]]:
    """Return the parts of a tree; none if it is something else."""
    if (
        not isinstance(tree, Mapping)
        or not tree
        or not all(isinstance(part, Mapping) and part for part in tree.values())
    ):
        return {}
    if not any(split_of(str(name)) for name in tree):
        return {}
    entries = [value for part in tree.values() for value in part.values()]
    return {str(name): part for name, part in tree.items()} if all(_is_column(value) for value in entries) else {}


def _is_column(value: object) -> bool:
    return rows_of(value) is not None


def _with_videos(table: Table) -> Table:
    column = video_column(table.ids) if table.named and "video" not in table.columns else None
    return table if column is None else replace(table, columns={**table.columns, "video": column})


def video_column(ids: Sequence[str]) -> Column | None:
    """Return the videos that identifiers such as ``<video>$_$<clip>`` name; None if they name none."""
    videos = [match[1] if (match := _VIDEO.fullmatch(each)) else None for each in ids]
    return None if None in videos or not videos else value_column("video", videos, role="group")
