import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given, settings

from conclugen.features import manifest, remote
from conclugen.features.manifest import FeatureSetError, Manifest, damaged_shards, local_folder, location_of
from conclugen.features.remote import NodeCache, RemoteError
from conclugen.features.shards import FeatureSet
from tests.buckets import served
from tests.conclugen.features.remote_files import FILES, checksums, contents, place, version
from tests.conftest import write_planted
from tests.damage import Damage, damages

ROOT = Path(__file__).parents[3]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache for this process."""
    monkeypatch.setenv("CONCLUGEN_CACHE", str(tmp_path / "cache"))
    _forget()
    yield tmp_path / "cache" / "features"
    remote.node_cache().close()
    _forget()


def _forget() -> None:
    """Forget everything that a new process would not know."""
    remote.node_cache.cache_clear()
    manifest.remote_file.cache_clear()


@pytest.fixture
def remote_set(planted: Path) -> Iterator[str]:
    """The URI of a set in fsspec's file system in memory."""
    system = fsspec.filesystem("memory")
    system.put(f"{planted}/", "/sets/planted", recursive=True)
    yield "memory://sets/planted"
    system.rm("/sets", recursive=True)


class TestSets:
    def test_a_remote_set_reads_like_the_local_one(self, cache: Path, remote_set: str, planted: Path) -> None:
        local, copied = FeatureSet(planted), FeatureSet(remote_set)
        assert copied.folder.parent == cache
        assert copied.manifest == local.manifest == Manifest.read(remote_set)
        for split in ("train", "val", "test"):
            a, b = local.split(split), copied.split(split)
            assert torch.equal(a.labels, b.labels)
            assert torch.equal(a.gather("video", torch.arange(len(a))), b.gather("video", torch.arange(len(b))))
        assert torch.equal(local.standardisation.mean["text"], copied.standardisation.mean["text"])

    def test_reading_the_manifest_fetches_no_shard(self, cache: Path, remote_set: str, planted: Path) -> None:
        assert Manifest.read(remote_set).fingerprint == Manifest.read(planted).fingerprint
        assert not cache.exists()

    def test_a_complete_copy_is_not_fetched_again(self, cache: Path, remote_set: str) -> None:
        first = local_folder(remote_set)
        _forget()
        system = fsspec.filesystem("memory")
        for file in system.glob("/sets/planted/*.arrow"):
            system.rm(file)
        assert local_folder(remote_set) == first
        assert damaged_shards(remote_set) == []

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

    def test_damage_that_keeps_size_and_time_is_found_when_a_sweep_starts(self, cache: Path, remote_set: str) -> None:
        copy = local_folder(remote_set)
        shard = next(copy.glob("test-*.arrow"))
        whole, times = shard.read_bytes(), shard.stat()
        with shard.open("r+b") as file:
            file.seek(len(whole) // 2)
            file.write(bytes([whole[len(whole) // 2] ^ 1]))
        os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert damaged_shards(remote_set) == []
        assert shard.read_bytes() == whole

    def test_a_replaced_set_is_anotherversion(self, cache: Path, remote_set: str, tmp_path: Path) -> None:
        before = local_folder(remote_set)
        other = write_planted(tmp_path / "other", seed=1)
        system = fsspec.filesystem("memory")
        system.rm("/sets/planted", recursive=True)
        system.put(f"{other}/", "/sets/planted", recursive=True)
        assert local_folder(remote_set) == before  # a process sees one version
        _forget()
        assert local_folder(remote_set) != before
        assert Manifest.read(local_folder(remote_set)).fingerprint == Manifest.read(other).fingerprint

    @pytest.mark.parametrize(
        ("uri", "expected"),
        [
            ("memory://sets/nothing", r"is not a feature set: it holds no manifest\.json"),
            ("nosuch://sets/planted", "Protocol not known: nosuch"),
        ],
    )
    def test_a_set_that_cannot_be_read_is_refused(self, cache: Path, uri: str, expected: str) -> None:
        with pytest.raises(FeatureSetError, match=expected):
            Manifest.read(uri)

    def test_a_set_without_statistics_is_refused(self, cache: Path, remote_set: str) -> None:
        fsspec.filesystem("memory").rm("/sets/planted/statistics.safetensors")
        with pytest.raises(FeatureSetError, match=r"lacks statistics\.safetensors"):
            FeatureSet(remote_set)

    def test_a_location_is_a_path_or_a_uri_without_a_password(self) -> None:
        assert location_of("s3://bucket/set") == "s3://bucket/set"
        assert location_of("a/b") == Path("a/b")
        assert location_of("/c:/d") == Path("/c:/d")
        with pytest.raises(FeatureSetError, match="password") as caught:
            location_of("sftp://me:hunter2@host/set")
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "location"),
        [
            ("file:///sets/planted/", Path("/sets/planted")),
            ("FILE://localhost/a%20b", Path("/a b")),
            ("file:///100%/a#b", Path("/100%/a#b")),
            ("local:///a", Path("/a")),
            ("C:\\sets", Path("C:\\sets")),
            ("a b/c%20d#e", Path("a b/c%20d#e")),
            ("s3://bucket/set//", "s3://bucket/set"),
            (Path("s3:/x"), Path("s3:/x")),
        ],
    )
    def test_an_address_of_this_machine_is_a_path(self, text: str, location: manifest.Location) -> None:
        assert location_of(text) == location

    @pytest.mark.parametrize("text", ["file://sets", "file://host/sets", "file://"])
    def test_a_file_address_of_another_machine_is_refused(self, text: str) -> None:
        with pytest.raises(FeatureSetError, match="three slashes, or the path itself"):
            location_of(text)

    @pytest.mark.parametrize("spelling", ["{}", "{}/", "file://{}", "{}/../planted", "link"])
    def test_a_local_set_is_read_in_place_under_every_spelling(
        self, cache: Path, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
    ) -> None:
        (tmp_path / "link").symlink_to(planted)
        monkeypatch.chdir(tmp_path)
        place = spelling.format(planted)
        assert FeatureSet(place).folder.samefile(planted)
        assert local_folder(place).samefile(planted)
        assert damaged_shards(place) == []
        assert manifest.statistics_problem(place) is None
        assert not cache.exists()

    def test_a_set_with_two_addresses_is_copied_once(self, cache: Path, remote_set: str) -> None:
        fsspec.filesystem("memory").copy("/sets/planted", "/sets/mirror", recursive=True)
        copies = {local_folder(place) for place in (remote_set, f"{remote_set}/", "memory://sets/mirror")}
        assert len(copies) == 1
        assert [path.name for path in cache.iterdir() if path.is_dir()] == [copy.name for copy in copies]

    @pytest.mark.parametrize(
        ("place", "expected"),
        [
            ("nothing", "nothing is not a feature set: there is no such folder"),
            ("file", "file is not a feature set: it is a file; give the folder of a set"),
            ("file/manifest.json", "it is a file; give the folder|there is no such folder"),
            ("empty", r"empty is not a feature set: it holds no manifest\.json"),
            ("s3:/bucket/set", "there is no such folder; an address starts with s3:// and two slashes"),
        ],
    )
    def test_a_place_without_a_set_is_refused_with_the_reason(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, expected: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("file").write_bytes(b"")
        Path("empty").mkdir()
        with pytest.raises(FeatureSetError, match=expected):
            Manifest.read(place)


def test_a_set_on_an_s3_compatible_server_is_read(
    cache: Path, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(planted, tmp_path / "bucket" / "sets" / "planted")
    with served(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        features = FeatureSet("s3://bucket/sets/planted")
        assert damaged_shards("s3://bucket/sets/planted") == []
        with pytest.raises(FeatureSetError, match=r"s3://bucket/nothing is not a feature set"):
            Manifest.read("s3://bucket/nothing")
    assert features.folder.is_relative_to(cache)
    assert features.manifest == Manifest.read(planted)
    for file in Manifest.read(planted).shards:
        assert (features.folder / file.file).read_bytes() == (planted / file.file).read_bytes()


class TestCopies:
    def test_an_interrupted_copy_continues(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        uri, cache = place(tmp_path / "set"), NodeCache(tmp_path / "cache", 10**6)
        get_file = LocalFileSystem.get_file
        network = {"works": False}
        names: list[str] = []

        def fetch(system: LocalFileSystem, source: str, target: str, **options: Any) -> None:
            if source.endswith("/b") and not network["works"]:
                raise OSError("the network is gone")
            names.append(Path(source).name)
            get_file(system, source, target, **options)

        monkeypatch.setattr(LocalFileSystem, "get_file", fetch)
        with pytest.raises(RemoteError, match="the network is gone"):
            cache.folder(uri, "1", checksums(FILES), {"manifest.json": b"{}"})
        (copy,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
        assert not (copy / "manifest.json").exists()  # it is written last
        assert sorted(names) == ["a", "c"]
        network["works"] = True
        assert contents(cache.folder(uri, "1", checksums(FILES), {"manifest.json": b"{}"})) == FILES
        assert sorted(names) == ["a", "b", "c"]
        assert (copy / "manifest.json").read_bytes() == b"{}"
        assert not list(copy.glob(".*.partial"))

    def test_a_file_damaged_at_its_source_never_gets_its_name(self, tmp_path: Path) -> None:
        uri = place(tmp_path / "set")
        with pytest.raises(RemoteError, match=r"set/b is damaged: its checksum is not the manifest's"):
            NodeCache(tmp_path / "cache", 10**6).folder(uri, "1", {**checksums(FILES), "b": "0" * 64}, {})
        assert not list((tmp_path / "cache").rglob("b"))

    @pytest.mark.parametrize("name", ["../b", "/etc/b", "x/b", ".."])
    def test_files_outside_the_folder_are_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(RemoteError, match="which lies outside the set"):
            NodeCache(tmp_path / "cache", 10**6).folder(place(tmp_path / "set"), "1", {name: "0"}, {})
        assert not (tmp_path / "cache").exists()

    def test_a_cache_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "cache").write_bytes(b"")
        with pytest.raises(RemoteError, match=r"cannot be kept in .*choose another folder with CONCLUGEN_CACHE"):
            NodeCache(tmp_path / "cache", 10**6).folder(place(tmp_path / "set"), "1", checksums(FILES), {})

    def test_a_limit_that_is_no_number_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(RemoteError, match="CONCLUGEN_CACHE_GB=much: must be a number"):
            remote.node_cache("anywhere", "much")

    def test_empty_variables_count_as_unset(
        self, cache: Path, remote_set: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in (("CONCLUGEN_CACHE", ""), ("CONCLUGEN_CACHE_GB", ""), ("XDG_CACHE_HOME", str(tmp_path))):
            monkeypatch.setenv(name, value)
        assert local_folder(remote_set).is_relative_to(tmp_path / "conclugen")

    def test_a_user_without_a_home_is_told_to_name_a_cache(
        self, cache: Path, remote_set: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with monkeypatch.context() as environment:
            environment.setenv("CONCLUGEN_CACHE", "~nobody-of-this-name/cache")  # as for a process without HOME
            with pytest.raises(FeatureSetError, match="there is no home folder; set CONCLUGEN_CACHE"):
                local_folder(remote_set)
        assert not list(tmp_path.iterdir())

    def test_partial_files_of_killed_processes_take_no_room(self, tmp_path: Path) -> None:
        dead = tmp_path / "cache" / "other" / ".x.partial"
        dead.parent.mkdir(parents=True)
        dead.write_bytes(b"0" * 900)
        assert version(NodeCache(tmp_path / "cache", 1900), tmp_path, "p", 1000).exists()
        assert not dead.exists()


class TestBound:
    """Versions have 1,000 bytes, and the stamps beside them about 200."""

    def test_the_least_recently_used_version_is_removed(self, tmp_path: Path) -> None:
        limit = 3000
        copies = {}
        for name in ("p", "q", "p", "r"):
            other = NodeCache(tmp_path / "cache", limit)
            copies[name] = version(other, tmp_path, name, 1000)
            other.close()
        assert [copies[name].exists() for name in "pqr"] == [True, False, True]
        size = sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*") if file.is_file())
        assert size <= limit

    def test_a_set_larger_than_the_limit_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RemoteError, match=r"do not fit .*raise CONCLUGEN_CACHE_GB"):
            version(NodeCache(tmp_path / "cache", 900), tmp_path, "p", 1000)

    def test_a_version_that_a_live_process_uses_stays(self, tmp_path: Path) -> None:
        """It can be removed once the process is dead, however it died."""
        place(tmp_path / "p", {"x": b"p" * 1000})
        script = (
            "import sys; from pathlib import Path; from tests.conclugen.features import remote_files as t\n"
            "cache = t.NodeCache(Path(sys.argv[1], 'cache'), 2000)\n"
            "print(t.version(cache, Path(sys.argv[1]), 'p', 1000), flush=True)\n"
            "sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            cwd=ROOT,
        ) as user:
            assert user.stdout is not None
            used = Path(user.stdout.readline().strip())
            assert (used / "x").read_bytes() == b"p" * 1000
            with pytest.raises(RemoteError, match="do not fit"):
                version(NodeCache(tmp_path / "cache", 2000), tmp_path, "q", 1000)
            assert (used / "x").exists()
            user.kill()
        assert version(NodeCache(tmp_path / "cache", 2000), tmp_path, "q", 1000).exists()
        assert not used.exists()


def test_processes_fetch_the_same_set_only_once(tmp_path: Path) -> None:
    """A log of what the remote file system is asked for has each file once."""
    place(tmp_path / "set")
    script = (
        "import sys; from pathlib import Path; from fsspec.implementations.local import LocalFileSystem\n"
        "from tests.conclugen.features import remote_files as t\n"
        "get_file = LocalFileSystem.get_file\n"
        "def logged(system, source, target, **options):\n"
        "    with open(sys.argv[1] + '/log', 'a') as log: log.write(Path(source).name + '\\n')\n"
        "    get_file(system, source, target, **options)\n"
        "LocalFileSystem.get_file = logged\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "copy = t.NodeCache(Path(sys.argv[1], 'cache'), 10**6).folder("
        "'file://' + sys.argv[1] + '/set', '1', t.checksums(t.FILES), {})\n"
        "assert t.contents(copy) == t.FILES"
    )
    users = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
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
    assert sorted((tmp_path / "log").read_text(encoding="utf-8").split()) == ["a", "b", "c"]


def test_a_removed_cache_is_fetched_anew(tmp_path: Path) -> None:
    uri, root = place(tmp_path / "set"), tmp_path / "cache"
    NodeCache(root, 10**6).folder(uri, "1", checksums(FILES), {})
    shutil.rmtree(root)
    assert contents(NodeCache(root, 10**6).folder(uri, "1", checksums(FILES), {})) == FILES
