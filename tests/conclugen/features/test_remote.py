import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch
from hypothesis import given, settings

from conclugen.features import manifest, remote
from conclugen.features.manifest import FeatureSetError, Manifest, damaged_shards, local_folder, location_of
from conclugen.features.remote import NodeCache, RemoteError
from conclugen.features.shards import FeatureSet
from tests.buckets import served
from tests.conftest import write_planted
from tests.damage import Damage, damages

ROOT = Path(__file__).parents[3]
FILES = {"a": b"the first file", "b": b"second", "c": b""}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache for this process."""
    monkeypatch.setenv("CONCLUGEN_CACHE", str(tmp_path / "cache"))
    _forget()
    yield tmp_path / "cache" / "features"
    remote.node_cache().close()
    _forget()


def _forget() -> None:
    """Be as a new process is."""
    remote.node_cache.cache_clear()
    manifest._remote_file.cache_clear()


@pytest.fixture
def elsewhere(planted: Path) -> Iterator[str]:
    """A set in fsspec's file system in memory."""
    system = fsspec.filesystem("memory")
    system.put(f"{planted}/", "/sets/planted", recursive=True)
    yield "memory://sets/planted"
    system.rm("/sets", recursive=True)


def _sums(files: dict[str, bytes]) -> dict[str, str]:
    return {name: remote._digest(content) for name, content in files.items()}


def _place(folder: Path, files: dict[str, bytes] = FILES) -> str:
    """Put files where a URI names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return f"file://{folder}"


def _contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


class TestSets:
    def test_is_read_as_the_same_set_is_here(self, cache: Path, elsewhere: str, planted: Path) -> None:
        here, there = FeatureSet(planted), FeatureSet(elsewhere)
        assert there.folder.parent == cache
        assert there.manifest == here.manifest == Manifest.read(elsewhere)
        for split in ("train", "val", "test"):
            a, b = here.split(split), there.split(split)
            assert torch.equal(a.labels, b.labels)
            assert torch.equal(a.gather("video", torch.arange(len(a))), b.gather("video", torch.arange(len(b))))
        assert torch.equal(here.standardisation.mean["text"], there.standardisation.mean["text"])

    def test_the_manifest_alone_fetches_no_shard(self, cache: Path, elsewhere: str, planted: Path) -> None:
        assert Manifest.read(elsewhere).fingerprint == Manifest.read(planted).fingerprint
        assert not cache.exists()

    def test_what_is_here_is_not_fetched_again(self, cache: Path, elsewhere: str) -> None:
        first = local_folder(elsewhere)
        _forget()
        system = fsspec.filesystem("memory")
        for file in system.glob("/sets/planted/*.arrow"):
            system.rm(file)
        assert local_folder(elsewhere) == first
        assert damaged_shards(elsewhere) == []

    @settings(deadline=None, max_examples=15)
    @given(damage=damages)
    def test_a_damaged_copy_is_fetched_again(
        self, tmp_path_factory: pytest.TempPathFactory, planted: Path, damage: Damage
    ) -> None:
        root = tmp_path_factory.mktemp("cache")
        files = {shard.file: shard.sha256 for shard in Manifest.read(planted).shards}
        copy = NodeCache(root, 10**9).folder(f"file://{planted}", "1", files, {})
        shard = next(copy.glob("test-*.arrow"))
        whole = shard.read_bytes()
        shard.write_bytes(damage(whole))
        assert NodeCache(root, 10**9).folder(f"file://{planted}", "1", files, {}) == copy
        assert shard.read_bytes() == whole

    def test_damage_that_keeps_size_and_time_is_found_when_a_sweep_starts(self, cache: Path, elsewhere: str) -> None:
        copy = local_folder(elsewhere)
        shard = next(copy.glob("test-*.arrow"))
        whole, times = shard.read_bytes(), shard.stat()
        with shard.open("r+b") as file:
            file.seek(len(whole) // 2)
            file.write(bytes([whole[len(whole) // 2] ^ 1]))
        os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert damaged_shards(elsewhere) == []
        assert shard.read_bytes() == whole

    def test_another_set_at_the_same_place_is_another_version(
        self, cache: Path, elsewhere: str, tmp_path: Path
    ) -> None:
        before = local_folder(elsewhere)
        other = write_planted(tmp_path / "other", seed=1)
        system = fsspec.filesystem("memory")
        system.rm("/sets/planted", recursive=True)
        system.put(f"{other}/", "/sets/planted", recursive=True)
        assert local_folder(elsewhere) == before  # a process sees one version
        _forget()
        assert local_folder(elsewhere) != before
        assert Manifest.read(local_folder(elsewhere)).fingerprint == Manifest.read(other).fingerprint

    @pytest.mark.parametrize(
        ("uri", "expected"),
        [
            ("memory://sets/nothing", r"is not a feature set: it holds no manifest\.json"),
            ("nosuch://sets/planted", "Protocol not known: nosuch"),
        ],
    )
    def test_what_cannot_be_read(self, cache: Path, uri: str, expected: str) -> None:
        with pytest.raises(FeatureSetError, match=expected):
            Manifest.read(uri)

    def test_a_set_without_statistics(self, cache: Path, elsewhere: str) -> None:
        fsspec.filesystem("memory").rm("/sets/planted/statistics.safetensors")
        with pytest.raises(FeatureSetError, match=r"lacks statistics\.safetensors"):
            FeatureSet(elsewhere)

    def test_locations(self) -> None:
        assert location_of("s3://bucket/set") == "s3://bucket/set"
        assert location_of("a/b") == Path("a/b")
        assert location_of("/c:/d") == Path("/c:/d")
        with pytest.raises(FeatureSetError, match="password") as caught:
            location_of("sftp://me:hunter2@host/set")
        assert "hunter2" not in str(caught.value)


def test_a_set_on_an_s3_compatible_server(
    cache: Path, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(planted, tmp_path / "bucket" / "sets" / "planted")
    with served(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        there = FeatureSet("s3://bucket/sets/planted")
        assert damaged_shards("s3://bucket/sets/planted") == []
        with pytest.raises(FeatureSetError, match=r"s3://bucket/nothing is not a feature set"):
            Manifest.read("s3://bucket/nothing")
    assert there.folder.is_relative_to(cache)
    assert there.manifest == Manifest.read(planted)
    for file in Manifest.read(planted).shards:
        assert (there.folder / file.file).read_bytes() == (planted / file.file).read_bytes()


class TestCopies:
    def test_a_copy_that_was_cut_short_goes_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        uri, cache = _place(tmp_path / "set"), NodeCache(tmp_path / "cache", 10**6)
        fetched, fetch = [], remote._fetch

        def failing(system: object, source: str, copy: Path, name: str, expected: str) -> None:
            if name == "b" and len(fetched) < 3:
                fetched.append("failed")
                raise RemoteError("the network is gone")
            fetched.append(name)
            fetch(system, source, copy, name, expected)

        monkeypatch.setattr(remote, "_fetch", failing)
        with pytest.raises(RemoteError, match="the network is gone"):
            cache.folder(uri, "1", _sums(FILES), {"manifest.json": b"{}"})
        (copy,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
        assert not (copy / "manifest.json").exists()  # which comes last
        fetched[:] = ["-", "-", "-"]
        assert _contents(cache.folder(uri, "1", _sums(FILES), {"manifest.json": b"{}"})) == FILES
        assert fetched[3:] == ["b"]
        assert (copy / "manifest.json").read_bytes() == b"{}"
        assert not list(copy.glob(".*.partial"))

    def test_what_is_damaged_where_it_comes_from_never_gets_its_name(self, tmp_path: Path) -> None:
        uri = _place(tmp_path / "set")
        with pytest.raises(RemoteError, match=r"set/b is damaged: its checksum is not the manifest's"):
            NodeCache(tmp_path / "cache", 10**6).folder(uri, "1", {**_sums(FILES), "b": "0" * 64}, {})
        assert not list((tmp_path / "cache").rglob("b"))

    @pytest.mark.parametrize("name", ["../b", "/etc/b", "x/b", ".."])
    def test_files_outside_the_folder_are_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(RemoteError, match="which lies elsewhere"):
            NodeCache(tmp_path / "cache", 10**6).folder(_place(tmp_path / "set"), "1", {name: "0"}, {})
        assert not (tmp_path / "cache").exists()

    def test_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "cache").write_bytes(b"")
        with pytest.raises(RemoteError, match=r"cannot be kept in .*choose another folder with CONCLUGEN_CACHE"):
            NodeCache(tmp_path / "cache", 10**6).folder(_place(tmp_path / "set"), "1", _sums(FILES), {})

    def test_a_limit_that_is_no_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(RemoteError, match="CONCLUGEN_CACHE_GB=much: must be a number"):
            remote.node_cache("anywhere", "much")


def _version(cache: NodeCache, tmp_path: Path, name: str, size: int) -> Path:
    files = {"x": name.encode() * size}
    return cache.folder(_place(tmp_path / name, files), "1", _sums(files), {})


class TestBound:
    """Versions of 1,000 bytes; the stamps beside them take some 200 more."""

    def test_the_least_recently_used_goes(self, tmp_path: Path) -> None:
        limit = 3000
        copies = {}
        for name in ("p", "q", "p", "r"):
            other = NodeCache(tmp_path / "cache", limit)
            copies[name] = _version(other, tmp_path, name, 1000)
            other.close()
        assert [copies[name].exists() for name in "pqr"] == [True, False, True]
        taken = sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*") if file.is_file())
        assert taken <= limit

    def test_what_is_too_large_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RemoteError, match=r"do not fit .*raise CONCLUGEN_CACHE_GB"):
            _version(NodeCache(tmp_path / "cache", 900), tmp_path, "p", 1000)

    def test_what_a_live_process_uses_stays(self, tmp_path: Path) -> None:
        """Until the process is dead, however it dies."""
        _place(tmp_path / "p", {"x": b"p" * 1000})
        script = (
            "import sys; from pathlib import Path; from tests.conclugen.features import test_remote as t\n"
            "cache = t.NodeCache(Path(sys.argv[1], 'cache'), 2000)\n"
            "print(t._version(cache, Path(sys.argv[1]), 'p', 1000), flush=True)\n"
            "sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as user:
            assert user.stdout is not None
            used = Path(user.stdout.readline().strip())
            assert (used / "x").read_bytes() == b"p" * 1000
            with pytest.raises(RemoteError, match="do not fit"):
                _version(NodeCache(tmp_path / "cache", 2000), tmp_path, "q", 1000)
            assert (used / "x").exists()
            user.kill()
        assert _version(NodeCache(tmp_path / "cache", 2000), tmp_path, "q", 1000).exists()
        assert not used.exists()


def test_processes_that_want_the_same_at_once_fetch_it_once(tmp_path: Path) -> None:
    """The log of the file system elsewhere, which counts what is asked of it, has each file once."""
    _place(tmp_path / "set")
    script = (
        "import sys; from pathlib import Path; from tests.conclugen.features import test_remote as t\n"
        "fetch = t.remote._fetch\n"
        "def counted(system, source, copy, name, expected):\n"
        "    with open(sys.argv[1] + '/log', 'a') as log: log.write(name + '\\n')\n"
        "    fetch(system, source, copy, name, expected)\n"
        "t.remote._fetch = counted\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "copy = t.NodeCache(Path(sys.argv[1], 'cache'), 10**6).folder("
        "'file://' + sys.argv[1] + '/set', '1', t._sums(t.FILES), {})\n"
        "assert t._contents(copy) == t.FILES"
    )
    users = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(3)
    ]
    for user in users:
        assert user.stdout is not None
        assert user.stdout.readline() == "ready\n"
    for user in users:
        user.communicate("\n")
    assert [user.returncode for user in users] == [0, 0, 0]
    assert sorted((tmp_path / "log").read_text().split()) == ["a", "b", "c"]


def test_a_removed_cache_is_fetched_anew(tmp_path: Path) -> None:
    uri, root = _place(tmp_path / "set"), tmp_path / "cache"
    NodeCache(root, 10**6).folder(uri, "1", _sums(FILES), {})
    shutil.rmtree(root)
    assert _contents(NodeCache(root, 10**6).folder(uri, "1", _sums(FILES), {})) == FILES
