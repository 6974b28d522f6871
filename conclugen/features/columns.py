"""The columns of a feature shard; clip lists name their groups in the same way."""

import re
from collections.abc import Sequence

import pyarrow as pa

from conclugen.features.manifest import MODALITY_NAME, SPEAKER, Labels, Modality

__all__ = ["AUGMENTATION", "LABEL", "SAMPLE_ID", "group_column", "group_of_column", "mask_column", "shard_schema"]

SAMPLE_ID, AUGMENTATION, LABEL = "sample_id", "augmentation", "label"
_ARROW_TYPES = {"float16": pa.float16(), "float32": pa.float32()}


def group_column(name: str) -> str:
    """Return the column of the groups ``name``; a modality may have the same name, such as video."""
    return name if name == SPEAKER else f"group:{name}"


def group_of_column(column: str) -> str | None:
    """Return the name of the groups in a column such as ``group:dialogue``; None if it holds no groups."""
    prefix, _, name = column.partition(":")
    return name if prefix == "group" and re.fullmatch(MODALITY_NAME, name) else None


def mask_column(name: str) -> str:
    """Return the column that says which rows have the modality ``name``."""
    return f"present:{name}"


def shard_schema(
    dtype: str, modalities: Sequence[Modality], labels: Labels | None, groups: Sequence[str], masked: Sequence[str] = ()
) -> pa.Schema:
    """Return the columns of a shard.

    Args:
        dtype: precision of the stored features.
        modalities: the set's modalities.
        labels: the set's labels.
        groups: the names of the set's groups.
        masked: the modalities that some of the shard's rows lack, in the set's order.
    """
    grouped = [(group_column(name), pa.string()) for name in groups]
    label = []
    if labels is not None:
        multi_label = labels.kind == "multilabel"
        label = [(LABEL, pa.list_(pa.int8(), len(labels.classes)) if multi_label else pa.int64())]
    features = [(modality.name, pa.list_(_ARROW_TYPES[dtype], modality.width)) for modality in modalities]
    masks = [(mask_column(name), pa.bool_()) for name in masked]
    return pa.schema([(SAMPLE_ID, pa.string()), (AUGMENTATION, pa.int16()), *grouped, *label, *features, *masks])
