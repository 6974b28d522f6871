"""Durable files: whole or absent after a failed write, and refused after any damage."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conclugen.files import durable
from conclugen.files.durable import SEAL, DamagedError, read_sealed, set_aside, sync_folder, write_sealed, write_whole
from tests.damage import Damage, damages


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.binary(max_size=100).filter(lambda text: b"seal-sha256:" not in text),
    after=st.binary(max_size=100),
    damage=damages,
)
def test_a_sealed_file_is_read_back_unchanged_or_refused(
    tmp_path: Path, before: bytes, after: bytes, damage: Damage
) -> None:
    path = tmp_path / "file"
    write_sealed(path, before + SEAL.encode() + after)
    content = read_sealed(path)
    assert content == path.read_bytes()
    assert content.startswith(before)
    assert content.endswith(after)
    assert len(content) == len(before + SEAL.encode() + after)
    path.write_bytes(damage(content))
    if damage(content) == content:
        assert read_sealed(path) == content
    else:
        with pytest.raises(DamagedError, match=f"{path} is damaged"):
            read_sealed(path)


@pytest.mark.parametrize("content", [b"", b"no seal", b"seal-sha256:0", b"seal-sha256:x" + SEAL.encode()])
def test_content_without_a_clear_place_for_the_seal_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match="no place for the seal"):
        write_sealed(tmp_path / "file", content)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced_only_if_asked(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"first")
    write_whole(tmp_path / "file", b"sec", b"ond")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "file", b"third", replace=False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"second"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_an_existing_file_is_kept_on_file_systems_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(durable.os, "link", refuse)
    write_whole(tmp_path / "file", b"first", replace=False)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "file", b"second", replace=False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"first"]


def test_a_failed_write_keeps_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_whole(tmp_path / "file", b"first")
    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "file", b"second")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"first"]


@pytest.mark.parametrize(("code", "raised"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_cannot_synchronise_folders_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, raised: bool
) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(durable.os, "fsync", fail)
    if raised:
        with pytest.raises(OSError, match=os.strerror(code)):
            sync_folder(tmp_path)
    else:
        sync_folder(tmp_path)


@pytest.mark.parametrize("copy", [False, True])
def test_set_aside_takes_the_first_free_name(tmp_path: Path, copy: bool) -> None:
    path, folder = tmp_path / "file", tmp_path / "aside"
    for content in (b"first", b"second", b"third"):
        path.write_bytes(content)
        set_aside(path, (folder / f"file-{number}" for number in range(1, 100)), copy=copy)
        assert path.exists() == copy
    contents = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert contents == {"file-1": b"first", "file-2": b"second", "file-3": b"third"}


def test_set_aside_replaces_the_last_name_if_none_is_free(tmp_path: Path) -> None:
    path, target = tmp_path / "file", tmp_path / "file.damaged"
    for content in (b"first", b"second"):
        path.write_bytes(content)
        assert set_aside(path, [target]) == target
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"second"]


def test_a_missing_file_cannot_be_set_aside(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        set_aside(tmp_path / "file", [tmp_path / "file.damaged"])
