"""The one place where sequences become vectors: over their true frames, never over padding.

Which frames are true follows from lengths or masks in the file. Where a file has neither, frames of zeros at an end may
be padding or may be silence. Nobody can tell, so users are asked, unless no sequence has such frames.

Shapes: n sequences, T frames of the longest, t true frames of one, d features of a frame.
"""

import numpy as np

from conclugen.formats.options import Padding, Pool
from conclugen.formats.table import Numbers

__all__ = ["length_problem", "padded_zeros", "pool", "pooled_width", "true_frames"]


def pooled_width(width: int, how: Pool) -> int:
    """Return the width of a pooled sequence whose frames have ``width`` features."""
    return 2 * width if how == "mean_std" else width


def pool(frames: Numbers, how: Pool) -> Numbers:
    """Return one vector for the true frames (t, d) of a sequence, t at least 1.

    Args:
        frames: the frames.
        how: ``mean``; ``mean_std`` for the mean and the standard deviation (of the population) one after the other; or
            ``max``.

    Returns:
        (d,), or (2 d,) for ``mean_std``, in float64.
    """
    values = np.asarray(frames, np.float64)
    if how == "max":
        return np.asarray(values.max(axis=0))
    mean = values.mean(axis=0)
    return np.concatenate([mean, values.std(axis=0)]) if how == "mean_std" else np.asarray(mean)


def true_frames(
    sequence: Numbers, *, length: int | None = None, mask: Numbers | None = None, zeros: bool = False
) -> Numbers:
    """Return the true frames (t, d) of a padded sequence (T, d); all of them if nothing says which.

    Args:
        sequence: the padded sequence.
        length: number of true frames, which come first.
        mask: (T,), true where a frame is.
        zeros: whether frames of zeros at both ends are padding.
    """
    if mask is not None:
        return np.asarray(sequence[np.asarray(mask).astype(bool)])
    if length is not None:
        return sequence[:length]
    if zeros:
        there = np.flatnonzero((sequence != 0).any(axis=1))
        return sequence[there[0] : there[-1] + 1] if len(there) else sequence[:0]
    return sequence


def padded_zeros(block: Numbers) -> int:
    """Return how many sequences of a block (b, T, d) begin or end with a frame of zeros."""
    ends = (block[:, [0, -1]] != 0).any(axis=2)
    return int((~ends).any(axis=1).sum())


def length_problem(what: str, lengths: Numbers, rows: int, steps: int, padding: Padding | None) -> str | None:
    """Return what is wrong with the lengths (n,) of sequences of ``steps`` frames, and what decides; or None."""
    if lengths.shape != (rows,) or lengths.dtype.kind not in "iuf" or (lengths != np.floor(lengths)).any():
        return (
            f"{what}: are {lengths.dtype} {lengths.shape}, not one whole number for each of {rows:,} rows; "
            "give --padding zeros (frames of zeros at an end are padding) or --padding none (there is none)."
        )
    if (lengths < 0).any():
        return f"{what}: {int((lengths < 0).sum()):,} are negative; give --padding zeros or --padding none."
    above = int((lengths > steps).sum())
    if above and padding != "clip":
        return (
            f"{what}: {above:,} of {rows:,} exceed the {steps:,} frames that are there, up to {int(lengths.max()):,}. "
            f"Either the sequences were cut to {steps:,} frames: give --padding clip. Or these are the lengths of "
            "something else: give --padding zeros (frames of zeros at an end are padding) or --padding none."
        )
    return None
