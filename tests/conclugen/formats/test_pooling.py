import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conclugen.formats.pooling import length_problem, padded_zeros, pool, pooled_width, true_frames

SEQUENCES = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.floats(-10, 10))


@given(SEQUENCES, st.integers(0, 5))
def test_padding_never_changes_a_pooled_vector(frames: np.ndarray, padding: int) -> None:
    padded = np.concatenate([frames, np.zeros((padding, frames.shape[1]))])
    mask = np.arange(len(padded)) < len(frames)
    for how in ("mean", "mean_std", "max"):
        expected = pool(frames, how)
        assert len(expected) == pooled_width(frames.shape[1], how)
        assert np.array_equal(pool(true_frames(padded, length=len(frames)), how), expected)
        assert np.array_equal(pool(true_frames(padded, mask=mask), how), expected)


def test_pooled_values() -> None:
    frames = np.array([[1, 2], [3, 6]])
    assert pool(frames, "mean").tolist() == [2, 4]
    assert pool(frames, "mean_std").tolist() == [2, 4, 1, 2]
    assert pool(frames, "max").tolist() == [3, 6]


def test_frames_of_zeros_within_a_sequence_are_true() -> None:
    sequence = np.array([[0, 0], [1, 0], [0, 0], [0, 2], [0, 0]])
    assert true_frames(sequence, zeros=True).tolist() == [[1, 0], [0, 0], [0, 2]]
    assert len(true_frames(np.zeros((3, 2)), zeros=True)) == 0
    assert padded_zeros(np.stack([sequence, sequence + 1])) == 1


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([2, 3], None),
        ([2, 4], "1 of 2 exceed the 3 frames"),
        ([2], "not one whole number for each of 2 rows"),
        ([0.5, 1], "not one whole number"),
        ([-1, 1], "1 are negative"),
    ],
)
def test_wrong_lengths_are_told(lengths: list[float], expected: str | None) -> None:
    problem = length_problem("audio_lengths", np.array(lengths), 2, 3, None)
    assert problem is None if expected is None else problem is not None and expected in problem


def test_lengths_of_sequences_that_were_cut_are_clipped_on_request() -> None:
    assert length_problem("lengths", np.array([2, 4]), 2, 3, "clip") is None
