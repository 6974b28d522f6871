"""Seeds derived from names, so that no random stream depends on what ran before it.

Every random choice (initial weights, data order of one epoch, dropout, label draws, a sampler's proposals) takes its
seed from the identity of the thing it belongs to. There is no global generator to save, to restore or to disturb, and
a trial that restarts in mid-run draws the same numbers again.
"""

import hashlib

__all__ = ["derive_seed"]


def derive_seed(*identity: str | int) -> int:
    """Return a seed in 0..2^31-1 that is a function of ``identity`` alone.

    31 bits because faiss takes a C int and NumPy's legacy generators, which Optuna uses, take no more than 32.
    """
    digest = hashlib.sha256("\x1f".join(map(str, identity)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
