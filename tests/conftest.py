"""Fixtures that several packages' tests share."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from conclugen.features.importing import import_arrays

# A shell's background job ignores Ctrl-C, and the processes that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # the tensors are tiny, and on a busy machine threads wait for each other

CLASSES = ("a", "b", "c")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first, so that parallel processes end together; fast tests keep their order."""
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("slow")
    return 0.0 if mark is None else float(mark.kwargs.get("seconds", 60))


def write_planted(folder: Path, *, rows: int = 120, seed: int = 0, **changes: Any) -> Path:
    """Write a labelled set of three modalities whose class means differ; return its folder.

    Half of the rows are train, a quarter val, a quarter test. ``changes`` are further arguments of ``import_arrays``.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % len(CLASSES)
    means = {"video": rng.normal(size=(3, 7)), "audio": rng.normal(size=(3, 5)), "text": rng.normal(size=(3, 4))}
    options: dict[str, Any] = {
        "labels": labels,
        "class_names": CLASSES,
        "split": np.array(["train", "train", "val", "test"])[np.arange(rows) // len(CLASSES) % 4],
        "sources": dict.fromkeys(means, "planted"),
    }
    features = {name: mean[labels] + rng.normal(size=(rows, mean.shape[1])) for name, mean in means.items()}
    import_arrays(features, folder, **{**options, **changes})
    return folder


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small feature set whose classes can be learned."""
    return write_planted(tmp_path_factory.mktemp("features") / "planted")


TINY_SPACE = {
    "description": "tiny heads",
    "parameters": {
        "representation_dim": {"choices": [8, 16], "default": 8},
        "projection_dim": 8,
        "temperature": {"low": 0.1, "high": 1.0, "log": True, "default": 1.0},
        "num_clusters": {"choices": [2, 4], "default": 4},
        "kmeans_queue_size": {"choices": [0, 1], "default": 0},
        "reconstruction_dim": 8,
        "reconstruction_relu": False,
        "weight_gen": {"low": 0.1, "high": 10.0, "log": True, "default": 1.0},
        "feature_dropout": {"low": 0.0, "high": 0.5, "default": 0.25},
        "batch_size": 20,
        "warmup_epochs": 1,
        "lr": {"low": 0.001, "high": 0.01, "log": True, "default": 0.003},
    },
}


@pytest.fixture
def write_config(tmp_path: Path, planted: Path) -> Callable[..., Path]:
    """See :func:`config_writer`."""
    return config_writer(tmp_path, planted)


def config_writer(folder: Path, planted: Path) -> Callable[..., Path]:
    """Return a function that writes a small sweep's configuration; keyword arguments replace top-level settings."""
    space = folder / "tiny.yaml"
    space.write_text(yaml.safe_dump(TINY_SPACE), encoding="utf-8")

    def write(**settings: Any) -> Path:
        config = {
            "name": "tiny",
            "features": {"pretrain": str(planted), "downstream": {"planted": str(planted)}},
            "modalities": ["video", "audio", "text"],
            "space": "tiny.yaml",
            "budget": {"trials_per_subset": 2, "epochs": 4, "seeds": 2},
            "baselines": ["raw_features", "random_head"],
            "objective": {"labels_per_class": 2},
            "probe": {"labels_per_class": [2], "label_draws": 2},
            **settings,
            "search": {"finalists": 1, **settings.get("search", {})},
        }
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def reports_in_one_process() -> Iterator[None]:
    """Let the reports of a module's tests start no children: each would load 2 seconds of modules to save less.

    `tests/reports` compares the files of one and of several processes.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reports.processes.processors", lambda: 1)
        yield
