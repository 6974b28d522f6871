"""Arrays that users give: strings from bytes, and how an array of another shape or type becomes the one expected."""

import numpy as np

from conclugen.features.npz import Array

__all__ = ["remedy_of", "texts"]


def texts(what: str, array: Array, problems: list[str]) -> Array:
    """Return an array of bytes as strings, and any other unchanged."""
    if array.dtype.kind != "S":
        return array
    content = array.astype(np.bytes_)
    try:
        return np.char.decode(content, "utf-8")
    except UnicodeDecodeError as error:
        problems.append(f"{what}: holds bytes that are not UTF-8 ({error.object!r}); give strings.")
        return np.char.decode(content, "utf-8", "replace")


def remedy_of(name: str, array: Array, n: int) -> str:
    """Return the end of a message: how an array becomes one integer or name per sample, if it can."""
    if array.shape == (n, 1):
        return f"; give {name}[:, 0]"
    if array.shape != (n,):
        return "; give one value per sample"
    if array.dtype.kind in "US" and name == "folds":
        return "; give numpy.unique(folds, return_inverse=True)[1]"
    if array.dtype.kind not in "bf":
        return ""
    if missing := int(np.isnan(array.astype(float)).sum()):
        return f", {missing} of them NaN; leave these rows out, and give {name}.astype(int)"
    if (array.astype(float) % 1).any():
        scale = "labels are classes, so divide a scale into some first"
        return f", not all of them whole; {scale if name == 'labels' else 'give whole numbers'}"
    return f"; give {name}.astype(int)"
