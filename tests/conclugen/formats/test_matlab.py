"""Multi-view learning: .mat files with a cell of views, samples in rows or columns, and classes."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy import sparse
from scipy.io import savemat

from tests.conclugen.formats.reading import imported, planned, refused

RNG = np.random.default_rng(0)
ROWS = 9


def _views() -> list[np.ndarray]:
    return [RNG.normal(size=(ROWS, width)) for width in (4, 3)]


def _cell(views: list[Any]) -> np.ndarray:
    cell = np.empty((1, len(views)), object)
    for place, view in enumerate(views):
        cell[0, place] = view
    return cell


GT = np.arange(ROWS)[:, None] % 3 + 1


def _same(rows: Any, views: list[np.ndarray]) -> bool:
    return all(
        rows.same(f"view{number}", {f"{row:07d}": view[row] for row in range(ROWS)})
        for number, view in enumerate(views, 1)
    )


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("cell", "classes"), [("X", "gt"), ("X", "Y"), ("data", "truelabel"), ("fea", "gnd")])
def test_a_cell_of_views(tmp_path: Path, transposed: bool, cell: str, classes: str) -> None:
    views = _views()
    gt: Any = _cell([GT, GT]) if classes == "truelabel" else GT.T if transposed else GT
    savemat(tmp_path / "x.mat", {cell: _cell([view.T if transposed else view for view in views]), classes: gt})
    rows = imported(tmp_path, tmp_path / "x.mat")
    assert _same(rows, views)
    assert rows.labels["0000004"] == "2"
    assert rows.manifest.labels is not None
    assert rows.manifest.labels.classes == ("1", "2", "3")


def test_version_7_3(tmp_path: Path) -> None:
    """HDF5 with a block in front; cells are references, and matrices are transposed."""
    views = _views()
    file = tmp_path / "x.mat"
    with h5py.File(file, "w", userblock_size=512) as content:
        for place, view in enumerate(views):
            content[f"#refs#/{place}"] = view.T
        references = np.array([[content[f"#refs#/{place}"].ref] for place in range(2)], dtype=h5py.ref_dtype)
        content.create_dataset("X", data=references, dtype=h5py.ref_dtype)
        content["gt"] = GT.T.astype("f8")
    with file.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    assert _same(imported(tmp_path, file), views)


def test_a_matrix_for_each_view_and_classes_as_a_matrix_of_ones(tmp_path: Path) -> None:
    views = _views()
    one_hot = np.eye(3)[GT[:, 0] - 1]
    savemat(tmp_path / "x.mat", {"X1": sparse.csc_matrix(views[0]), "X2": views[1], "Y": one_hot})
    rows = imported(tmp_path, tmp_path / "x.mat", modalities={"view1": "X1", "view2": "X2"})
    assert _same(rows, views)
    assert rows.labels["0000004"] == "2"


def test_square_views_are_asked_about(tmp_path: Path) -> None:
    square = RNG.normal(size=(ROWS, ROWS))
    savemat(tmp_path / "x.mat", {"X": _cell([square, square]), "gt": GT})
    (question,) = refused(tmp_path / "x.mat")
    assert question.endswith("give --samples rows or --samples columns.")
    rows = imported(tmp_path, tmp_path / "x.mat", samples="columns")
    assert rows.same("view1", {f"{row:07d}": square[:, row] for row in range(ROWS)})
    savemat(tmp_path / "y.mat", {"X": _cell([square, _views()[0].T]), "gt": GT})
    assert planned(tmp_path / "y.mat").modalities["view1"][0].column.shape.endswith("samples in columns")


def test_views_that_do_not_fit_are_told(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"X": _cell(_views()), "gt": GT[:-1]})
    assert "do not have 8 classes in all rows, or in all columns" in refused(tmp_path / "x.mat")[0]
    (tmp_path / "y.mat").write_bytes(b"MATLAB 5.0 MAT-file, and no more")
    assert "cannot be read" in refused(tmp_path / "y.mat")[0]
