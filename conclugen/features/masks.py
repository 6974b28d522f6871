"""Rows that lack some of their modalities: the rules of masks and their counts.

A row with a gap stores zeros in place of the missing vector. A boolean column ``present:MODALITY`` of its shard tells.
Only shards with gaps have such columns, and only for modalities that some of their rows lack. So sets without gaps
are, byte for byte, those of earlier versions. NaN as a mark was rejected: it would hide a faulty backbone.

A mask is modality -> (n,) booleans, True where a row has the modality. Modalities that a mask does not name are there.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Mask", "lacking_counts", "mask_problems"]

Mask = Mapping[str, npt.NDArray[Any]]
_EXAMPLES = 3


def lacking_counts(present: Mask, modalities: Sequence[str]) -> dict[str, int]:
    """Return the modalities that rows lack, joined by ``+`` -> number of such rows; complete rows are not counted.

    Args:
        present: the mask of the rows.
        modalities: all modalities of the set, in their order.
    """
    masked = [name for name in modalities if name in present]
    if not masked:  # nothing to stack
        return {}
    absent = ~np.stack([present[name] for name in masked], axis=1)
    counts = Counter(map(tuple, absent[absent.any(axis=1)].tolist()))
    named = {"+".join(name for name, gap in zip(masked, gaps, strict=True) if gap): n for gaps, n in counts.items()}
    return dict(sorted(named.items()))


def mask_problems(
    present: Mask, modalities: Sequence[str], ids: Sequence[object], training: npt.NDArray[np.bool_]
) -> list[str]:
    """Return a message for everything that is wrong with the mask of a set.

    Args:
        present: the mask.
        modalities: all modalities of the set.
        ids: the identifiers of the n rows.
        training: (n,) which rows are training rows.
    """
    problems = []
    sound = {}
    for name, mask in present.items():
        if name not in modalities:
            problems.append(f"mask of {name!r}: there is no such modality; there are {', '.join(modalities)}.")
        elif mask.shape != (len(ids),) or mask.dtype != np.bool_:
            problems.append(f"mask of {name!r}: expected {len(ids)} booleans, got {mask.dtype} {mask.shape}.")
        elif not mask.any():
            problems.append(f"modality {name!r}: no row has it; leave it out.")
        elif not mask[training].any():
            problems.append(f"modality {name!r}: no training row has it, and the standardisation needs some.")
        else:
            sound[name] = mask
    if modalities and sound.keys() == set(modalities):
        empty = np.flatnonzero(~np.any([*sound.values()], axis=0))
        if len(empty):
            shown = ", ".join(repr(ids[row]) for row in empty[:_EXAMPLES]) + (", ..." if len(empty) > _EXAMPLES else "")
            problems.append(f"{len(empty)} rows have no modality at all ({shown}); leave these rows out.")
    return problems
