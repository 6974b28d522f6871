"""Damage files as disks, crashes and full file systems do."""

from hypothesis import strategies as st

__all__ = ["Damage", "damages"]


class Damage:
    """A way to damage a file of any length.

    Args:
        kind: flip (a bit), truncate, append or zero (a block).
        where: place of the damage, as a share of the file's length.
        extra: bytes to append; the first also chooses the bit or the length of the block.
    """

    def __init__(self, kind: str, where: float, extra: bytes) -> None:
        self.kind = kind
        self._where = where
        self._extra = extra

    def __repr__(self) -> str:
        return f"Damage({self.kind!r}, {self._where!r}, {self._extra!r})"

    def __call__(self, content: bytes) -> bytes:
        place = min(int(self._where * len(content)), len(content) - 1)
        if self.kind == "flip":
            return content[:place] + bytes([content[place] ^ (1 << self._extra[0] % 8)]) + content[place + 1 :]
        if self.kind == "truncate":
            return content[:place]
        if self.kind == "append":
            return content + self._extra
        size = 16 * (1 + self._extra[0])
        block = content[place : place + size]
        return content[:place] + bytes(len(block)) + content[place + size :]


damages = st.builds(
    Damage,
    st.sampled_from(["flip", "truncate", "append", "zero"]),
    st.floats(0, 1, exclude_max=True),
    st.binary(min_size=1, max_size=40),
)
