"""Seeds derived from names, so that no random stream depends on what ran before.

Every random choice takes its seed from the name of its purpose: initial weights, the data order of an epoch, dropout,
label draws, a sampler's proposals. There is no global generator to save, restore or disturb. A trial that
resumes draws the same numbers again.
"""

import hashlib

__all__ = ["derive_seed"]


def derive_seed(*identity: str | int) -> int:
    """Return a seed in 0..2^31-1 that depends on ``identity`` alone.

    It has 31 bits, because faiss takes a C int, and NumPy's legacy generators, which Optuna uses, take at most 32.
    """
    digest = hashlib.sha256("\x1f".join(map(str, identity)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
