"""The columns of a feature shard; clip lists name their groups in the same way."""

import re
from collections.abc import Sequence

import pyarrow as pa

from conclugen.features.manifest import MODALITY_NAME, SPEAKER, Labels, Modality

__all__ = ["AUGMENTATION", "LABEL", "SAMPLE_ID", "group_column", "group_of_column", "shard_schema"]

SAMPLE_ID, AUGMENTATION, LABEL = "sample_id", "augmentation", "label"
_ARROW_TYPES = {"float16": pa.float16(), "float32": pa.float32()}


def group_column(name: str) -> str:
    """Return the column of the groups ``name``; a modality may have the same name, such as video."""
    return name if name == SPEAKER else f"group:{name}"


def group_of_column(column: str) -> str | None:
    """Return the name of the groups in a column such as ``group:dialogue``; None if it holds no groups."""
    prefix, _, name = column.partition(":")
    return name if prefix == "group" and re.fullmatch(MODALITY_NAME, name) else None


def shard_schema(dtype: str, modalities: Sequence[Modality], labels: Labels | None, groups: Sequence[str]) -> pa.Schema:
    """Return the columns of every shard of a set; ``groups`` are the names of its groups."""
    grouped = [(group_column(name), pa.string()) for name in groups]
    label = []
    if labels is not None:
        multi_label = labels.kind == "multilabel"
        label = [(LABEL, pa.list_(pa.int8(), len(labels.classes)) if multi_label else pa.int64())]
    features = [(modality.name, pa.list_(_ARROW_TYPES[dtype], modality.width)) for modality in modalities]
    return pa.schema([(SAMPLE_ID, pa.string()), (AUGMENTATION, pa.int16()), *grouped, *label, *features])
