"""A named space is fitted to small sets, and says what it has changed."""

import pytest
import yaml

from conclugen.subsets import SUBSETS
from search_spaces import LEAST_SAMPLES, Space, fitted, load_space, named_spaces

SIZES = [*range(LEAST_SAMPLES, 130), 191, 192, 255, 256, 383, 384, 582, 767, 768, 1023, 1024, 5000, 20_000]


def problems(space: Space, samples: int) -> list[str]:
    """Return what contradicts a budget that is long enough for every space."""
    return space.problems(SUBSETS, epochs=100, first_rung=lambda _: None, rows=samples, workers=2)


@pytest.mark.parametrize("name", named_spaces())
def test_every_subset_of_every_named_space_works_from_the_least_number_of_samples_on(name: str) -> None:
    for samples in SIZES:
        space = fitted(load_space(name), name, samples)
        assert problems(space, samples) == [], samples
        most = max(int(value) for value in space.parameters["num_clusters"].extremes())
        assert 2 <= most <= samples // 8, samples


def test_fewer_samples_than_the_least_leave_no_clusters() -> None:
    space = fitted(load_space("small"), "small", LEAST_SAMPLES - 1)
    assert space.parameters["num_clusters"].fixed == 1


@pytest.mark.parametrize(("name", "enough"), [("small", 768), ("default", 1024), ("paper", 129 * 4096)])
def test_a_space_changes_only_where_it_does_not_fit(name: str, enough: int) -> None:
    """`small` needs 3 batches of 256, `default` 2 of 512, and `paper` 128 batches in the queue and one more."""
    space = load_space(name)
    assert fitted(space, name, enough) is space
    assert problems(space, enough - 1)
    assert fitted(space, name, enough - 1).adapted is not None


@pytest.mark.parametrize(
    ("name", "samples", "text"),
    [
        ("small", 582, "Space small is adapted to 582 training samples: batch_size 128 instead of 256."),
        (
            "default",
            582,
            "Space default is adapted to 582 training samples: batch_size 128, 256 instead of 128, 256, 512; "
            "num_clusters 4, 8, 16, 32, 64 instead of 4, 8, 16, 32, 64, 128.",
        ),
        (
            "small",
            60,
            "Space small is adapted to 60 training samples: batch_size 16 instead of 256; num_clusters 4 instead of "
            "8, 16, 32, 64.",
        ),
        (
            "paper",
            20_000,
            "Space paper is adapted to 20,000 training samples: kmeans_queue_size 2 instead of 2, 4, 8, 16, 32, 64, "
            "128. It no longer repeats the published search.",
        ),
    ],
)
def test_what_changes_is_said(name: str, samples: int, text: str) -> None:
    assert str(fitted(load_space(name), name, samples).adapted) == text


def test_a_default_that_is_gone_becomes_the_largest_that_is_left() -> None:
    clusters = fitted(load_space("small"), "small", 150).parameters["num_clusters"]
    assert (clusters.choices, clusters.default) == ((8, 16), 16)


@pytest.mark.parametrize("name", named_spaces())
def test_a_fitted_space_that_was_written_is_read_as_it_was(name: str) -> None:
    space = fitted(load_space(name), name, 100)
    assert Space.model_validate(yaml.safe_load(yaml.safe_dump(space.document()))) == space
