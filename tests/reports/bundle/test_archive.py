"""The file of a bundle: the same content gives the same bytes, and nothing unsafe is unpacked."""

import struct
import subprocess
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reports.bundle.archive import ROOT, SUMS, unpack, write_archive
from reports.errors import ReportError

FILES = {"README.txt": b"read me", "sweeps/1-s/ledger/search-Con@10%-00001.arrow": bytes(range(256)), "a b": b""}


def write(path: Path, files: dict[str, bytes] = FILES) -> Path:
    write_archive(path, {name: partial(bytes, content) for name, content in files.items()})
    return path


def unpacked(path: Path, folder: Path) -> dict[str, str]:
    folder.mkdir()
    return unpack(path, folder)


def test_a_bundle_unpacks_to_what_was_written(tmp_path: Path) -> None:
    assert unpacked(write(tmp_path / "b.zip"), tmp_path / "out") == {}
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == FILES


names = st.text("ab.%@[]é ", min_size=1, max_size=8).filter(lambda name: name not in (".", "..") and name != SUMS)


@given(files=st.dictionaries(names, st.binary(max_size=200), max_size=5))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_files_come_back(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("archive")
    assert unpacked(write(folder / "b.zip", files), folder / "out") == {}
    assert {name: (folder / "out" / name).read_bytes() for name in files} == files


def test_the_same_files_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    first = write(tmp_path / "first.zip")
    second = write(tmp_path / "second.zip", dict(reversed(FILES.items())))
    assert first.read_bytes() == second.read_bytes()


def test_sha256sum_checks_the_files(tmp_path: Path) -> None:
    unpacked(write(tmp_path / "b.zip"), tmp_path / "out")
    command = ["sha256sum", "--check", "--strict", SUMS]
    result = subprocess.run(command, cwd=tmp_path / "out", capture_output=True, encoding="utf-8")
    assert result.returncode == 0
    assert sorted(result.stdout.splitlines()) == sorted(f"{name}: OK" for name in FILES)


def test_a_bundle_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = write(tmp_path / "b.zip")
    before = path.read_bytes()

    def gone() -> bytes:
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        write_archive(path, {"a": lambda: b"new", "b": gone})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"README.txt": b"read mE"}, {"README.txt": "is not as it was written"}),
        ({"README.txt": None}, {"README.txt": "is missing"}),
        ({"more": b""}, {"more": f"is not listed in {SUMS}"}),
    ],
)
def test_each_changed_file_is_named(tmp_path: Path, changes: dict[str, bytes | None], problems: dict[str, str]) -> None:
    path = write(tmp_path / "b.zip")
    with zipfile.ZipFile(path) as archive:
        files: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    files |= {f"{ROOT}/{name}": content for name, content in changes.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(name, content)
    assert unpacked(path, tmp_path / "out") == problems


@pytest.mark.parametrize(
    "name",
    ["../evil", f"{ROOT}/../../evil", "/evil", f"{ROOT}/./evil", f"{ROOT}/a//evil", f"{ROOT}\\..\\evil", "evil", ROOT],
)
def test_a_member_outside_the_bundle_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{ROOT}/fine", b"fine")
        archive.writestr(name, b"evil")
    with pytest.raises(ReportError, match="lies outside"):
        unpacked(path, tmp_path / "out")
    assert {entry.name for entry in tmp_path.rglob("*")} == {"b.zip", "out"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [["a", "a"], ["a", "a/b"]])
def test_two_members_of_one_name_are_refused(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"{ROOT}/{name}", b"content")
    with pytest.raises(ReportError, match="several members 'conclugen-bundle/a'"):
        unpacked(path, tmp_path / "out")


def test_a_link_is_unpacked_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    entry = zipfile.ZipInfo(f"{ROOT}/link")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
        archive.writestr(f"{ROOT}/{SUMS}", "")
    unpacked(path, tmp_path / "out")
    assert not (tmp_path / "out" / "link").is_symlink()
    assert (tmp_path / "out" / "link").read_text(encoding="utf-8") == "/etc/passwd"


def _with_size(content: bytes, size: int) -> bytes:
    """Let the first entry of a ZIP's directory declare another size."""
    place = content.index(b"PK\x01\x02") + 24
    return content[:place] + struct.pack("<I", size) + content[place + 4 :]


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "is no ZIP, or a damaged one"),
        (lambda content: content[:-1], "is no ZIP, or a damaged one"),
        (lambda content: b"", "is no ZIP, or a damaged one"),
        (lambda content: content.replace(b"conclugen", b"something"), "lies outside"),
        (lambda content: _with_size(content, 2**32 - 2), "would unpack to 4,294,967,"),
    ],
)
def test_a_damaged_file_is_refused_with_one_message(tmp_path: Path, damage: Damage, message: str) -> None:
    path = write(tmp_path / "b.zip")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ReportError, match=message):
        unpacked(path, tmp_path / "out")


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=150, deadline=None)
def test_a_flipped_bit_is_found_or_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("bit")
    path = write(folder / "b.zip")
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        problems = unpacked(path, folder / "out")
    except ReportError:
        return
    same = all((folder / "out" / name).read_bytes() == data for name, data in FILES.items() if name not in problems)
    assert same


def test_another_zip_is_no_bundle(tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{ROOT}/README.txt", b"read me")
    with pytest.raises(ReportError, match=f"is no bundle of a report: {ROOT}/{SUMS} is missing"):
        unpacked(path, tmp_path / "out")
