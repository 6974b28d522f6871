"""What disks, crashes and full file systems do to a file."""

from hypothesis import strategies as st

__all__ = ["Damage", "damages"]


class Damage:
    """One way of damaging a file of any length; ``where`` is a share of its length."""

    def __init__(self, kind: str, where: float, more: bytes) -> None:
        self.kind, self._where, self._more = kind, where, more

    def __repr__(self) -> str:
        return f"Damage({self.kind!r}, {self._where!r}, {self._more!r})"

    def __call__(self, content: bytes) -> bytes:
        at = min(int(self._where * len(content)), len(content) - 1)
        if self.kind == "flip":
            return content[:at] + bytes([content[at] ^ (1 << self._more[0] % 8)]) + content[at + 1 :]
        if self.kind == "truncate":
            return content[:at]
        if self.kind == "append":
            return content + self._more
        size = 16 * (1 + self._more[0])
        return content[:at] + bytes(len(content[at : at + size])) + content[at + size :]  # a block of zeros


damages = st.builds(
    Damage,
    st.sampled_from(["flip", "truncate", "append", "zero"]),
    st.floats(0, 1, exclude_max=True),
    st.binary(min_size=1, max_size=40),
)
