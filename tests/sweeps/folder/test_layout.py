"""The files of a sweep folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.config import ConfigError, load_config
from sweeps.folder.layout import SweepFolder


@pytest.mark.parametrize("content", [b"\xff" * 32, b"", b"0123456789abcdef0123456789abcdeg"])
def test_a_damaged_identity_is_named_and_replaced(
    write_config: Callable[..., Path], tmp_path: Path, content: bytes
) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    config = load_config(write_config())
    folder.prepare(config)
    identity = folder.identity
    folder.prepare(config)
    assert folder.identity == identity
    (folder.root / "id").write_bytes(content)
    with pytest.raises(ConfigError, match=r"id: is damaged; `conclugen sweep resume .*` makes a new one"):
        _ = folder.identity
    folder.prepare(config)
    assert folder.identity != identity
    assert len(folder.identity) == 32
