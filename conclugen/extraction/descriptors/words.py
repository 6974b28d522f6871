"""Descriptor of text: hashed character n-grams, which need no vocabulary."""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["char_ngrams"]


def char_ngrams(text: str) -> npt.NDArray[np.float32]:
    """Return the hashed counts (512,) of a text's 2- to 4-grams within words, of length 1."""
    return np.asarray(_hashing().transform([text]).toarray()[0], np.float32)


@cache
def _hashing() -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=512)
