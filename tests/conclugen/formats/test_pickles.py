import collections
import os
import pickle
import struct
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conclugen.features.manifest import FeatureSetError
from conclugen.formats.content import Source
from conclugen.formats.pickles import STAND_INS, PickleError, load_pickle
from conclugen.formats.torch_files import rebuilt_tensor

PROTOCOLS = range(6)


def load(content: bytes) -> Any:
    return load_pickle(BytesIO(content))


class Executes:
    """An object whose pickle runs a command when it is loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._parts = function, arguments

    def __reduce__(self) -> Any:
        return self._parts


DATA = {
    "array": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
    "objects": np.array(["a", np.ones(2), None], dtype=object),
    "names": np.array(["anger", "joy"]),
    "bytes": np.array([b"a", b"bc"]),
    "flags": np.array([True, False]),
    "scalar": np.float32(1.5),
    "none": [None, True, 2**70, 1 + 2j, b"\x00\xff", "ü"],
    "sets": ({1, 2}, frozenset("a")),
    "default": collections.defaultdict(list, {"dia0": [1]}),
    "ordered": collections.OrderedDict(a=1),
    "counted": collections.Counter("aab"),
    "empty": np.empty((0, 4)),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_comes_back_from_every_protocol(protocol: int) -> None:
    read = load(pickle.dumps(DATA, protocol=protocol))
    for key in ("array", "fortran", "names", "bytes", "flags", "empty"):
        assert np.array_equal(read[key], DATA[key]), key
        assert read[key].dtype == DATA[key].dtype, key
    assert (read["objects"][0], read["objects"][1].tolist(), read["objects"][2]) == ("a", [1, 1], None)
    assert read["scalar"] == 1.5
    assert read["none"] == DATA["none"]
    assert read["sets"] == ({1, 2}, {"a"})
    assert (read["default"], read["ordered"], read["counted"]) == ({"dia0": [1]}, {"a": 1}, {"a": 2, "b": 1})


def test_arrays_of_older_numpy_are_read() -> None:
    content = pickle.dumps(np.arange(3), protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert load(content).tolist() == [0, 1, 2]


def test_strings_and_arrays_of_python_2_are_read() -> None:
    """Python 2 wrote the bytes of an array as a string, here in protocol 2: a SHORT_BINSTRING."""
    raw = struct.pack("<2d", 1.5, -2.0)
    content = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U" + bytes([len(raw)]) + raw + b"tb."
    )
    assert load(content).tolist() == [1.5, -2.0]
    assert load(b"c__builtin__\nset\n((lp0\nS'Ses01F_impro01'\natR.") == {"Ses01F_impro01"}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_tensors_of_torch_are_arrays(protocol: int) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.ones(2, dtype=torch.bfloat16), "c": torch.empty(0, 3)}
    read = load(pickle.dumps(tensors, protocol=protocol))
    assert read["a"].tolist() == tensors["a"].tolist()
    assert (read["b"].tolist(), read["c"].shape) == ([1, 1], (0, 3))


def test_a_tensor_must_fit_its_storage() -> None:
    """A forged size or stride would read beyond the storage, also where its product overflows 64 bits."""
    storage = np.arange(4.0)
    assert rebuilt_tensor(storage, 1, (3,), (1,)) is not None
    for offset, size, stride in (
        (2, (3,), (1,)),
        (0, (5,), (1,)),
        (0, (2, 2), (2**63, 2**63)),
        (-1, (1,), (1,)),
        (0, (2,), ()),
    ):
        with pytest.raises(PickleError, match="holds a tensor"):
            rebuilt_tensor(storage, offset, size, stride)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_frames_of_pandas_are_columns(protocol: int) -> None:
    frame = pd.DataFrame(
        {
            "name": ["a", None],
            "x": [1.0, 2.0],
            "n": [1, 2],
            "f": [np.ones(3), np.zeros(3)],
            "c": pd.Categorical(["u", "v"]),
            "o": np.array(["p", None], dtype=object),
        }
    )
    read = load(pickle.dumps(frame, protocol=protocol))
    assert list(read) == list(frame.columns)
    assert (read["name"], read["c"], read["o"]) == (["a", None], ["u", "v"], ["p", None])
    assert (list(read["x"]), list(read["n"]), read["f"][0].tolist()) == ([1, 2], [1, 2], [1, 1, 1])
    indexed = load(pickle.dumps(frame.set_index("c")[["x"]], protocol=protocol))
    assert (indexed["c"], list(indexed["x"])) == (["u", "v"], [1, 2])
    assert list(load(pickle.dumps(frame["x"], protocol=protocol))["x"]) == [1, 2]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_in_a_pickle_is_executed(protocol: int, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for attack in (
        Executes(os.system, f"touch {trap}"),
        Executes(exec, f"open({str(trap)!r}, 'w')"),
        Executes(getattr, "", "join"),
        Executes(Path, "x"),
        Executes(np.fromfile, str(trap)),
        Executes(collections.namedtuple, "x", "y"),
    ):
        with pytest.raises(PickleError, match="asks for"):
            load(pickle.dumps({"train": [attack]}, protocol=protocol))
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"cnumpy\nndarray\n}(X\x05\x00\x00\x00shapeK\x01ub.", "damaged|changes"),  # sets an attribute of a class
        (b"cnumpy\ndtype\nN}(X\x01\x00\x00\x00xK\x01u\x86b.", "damaged|changes"),
        (b"c_codecs\nencode\n}(X\x01\x00\x00\x00xK\x01ub.", "changes a function"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.", "encodes text"),
        (b"cnumpy\ndtype\n(X\x02\x00\x00\x00V8tR.", "type 'V8'"),
        (b"cbuiltins\nint\n(X\x03\x00\x00\x00999tR.", "makes a value"),
        (b"cbuiltins\ngetattr\n(tR.", "asks for builtins.getattr"),
        (b"\x80\x04X\x05\x00\x00\x00outerQ.", "outside of it"),
        (b"\x80\x04\x95", "damaged or incomplete"),
        (b"]r\xff\xff\xff\x7f.", "memo of 2,147,483,647 places"),
        (b"]p2147483647\n.", "memo of 2,147,483,647 places"),
        (b"not a pickle", "damaged or incomplete"),
        (b"", "damaged or incomplete"),
        (b"]" * 10 + b"a" * 9 + b".", None),
        (b"]" * 5000 + b"a" * 4999 + b".", "deeper than any data"),
        (b"]q\x00h\x00a.", "deeper than any data"),  # a list in itself
    ],
)
def test_forged_pickles_are_refused(content: bytes, expected: str | None) -> None:
    if expected is None:
        load(content)
        return
    with pytest.raises(PickleError, match=expected):
        load(content)


def test_the_shape_of_an_array_must_fit_its_bytes() -> None:
    """A forged state would make numpy read beyond the array."""
    good = pickle.dumps(np.arange(4, dtype="i1"), protocol=2)
    for forged in (good.replace(b"K\x04\x85", b"K\x7f\x85"), good.replace(b"i1", b"i8")):
        assert forged != good
        with pytest.raises(PickleError, match="another number of bytes"):
            load(forged)
    objects = pickle.dumps(np.array(["a", "b"], dtype=object), protocol=2)
    with pytest.raises(PickleError, match="objects without them"):
        load(objects.replace(b"K\x02\x85", b"K\x7f\x85"))


def test_text_of_letters_that_do_not_exist_is_refused(tmp_path: Path) -> None:
    """Python makes strings of them, and fails with a SystemError where they are used."""
    names = np.array([2**24, 97], np.uint32).view("<U1")
    with pytest.raises(PickleError, match="letters that do not exist"):
        load(pickle.dumps({"names": names}, 2))
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", video=np.ones((2, 3)), labels=names)
        with pytest.raises(FeatureSetError, match=r"x\.npz cannot be read: text of letters that do not exist"):
            _ = Source(tmp_path / "x.npz").tree


@pytest.mark.parametrize("change", [(b"v", b"\xe8"), (b"PK\x01\x02\x14\x03\x14", b"PK\x01\x02\x14\x03\xff")])
def test_archives_with_a_damaged_list_are_refused(change: tuple[bytes, bytes], tmp_path: Path) -> None:
    """zipfile fails with other errors than its own at names and versions that are none."""
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("vü.npy", b"")
    content = (tmp_path / "x.npz").read_bytes()
    assert change[0] in content
    (tmp_path / "x.npz").write_bytes(content.replace(*change))
    with pytest.raises(FeatureSetError, match=r"x\.npz is damaged"):
        _ = Source(tmp_path / "x.npz").kind


def test_no_stand_in_is_a_function_of_numpy_or_pandas() -> None:
    modules = {getattr(stand_in, "__module__", "") for stand_in in STAND_INS.values()}
    assert modules == {"conclugen.formats.pickles", "conclugen.formats.frames"}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with suppress(PickleError):
        load(content)


@settings(deadline=None)
@given(st.data())
def test_a_changed_pickle_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(pickle.dumps(DATA, protocol=data.draw(st.sampled_from(PROTOCOLS))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(PickleError, MemoryError):
        load(bytes(content))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(PLAIN, st.sampled_from(PROTOCOLS))
def test_containers_of_plain_values_come_back(value: object, protocol: int) -> None:
    assert load(pickle.dumps(value, protocol=protocol)) == value
