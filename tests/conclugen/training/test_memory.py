import pytest
import torch

from conclugen.heads import PretrainingHeads, RepresentationHeads
from conclugen.hyperparameters import Hyperparameters
from conclugen.subsets import SUBSETS
from conclugen.training.memory import step_bytes

WIDTHS = {"video": 40, "audio": 30, "text": 20}
SMALL = Hyperparameters(representation_dim=64, projection_dim=16, reconstruction_dim=32, num_clusters=4, batch_size=32)


def parameters_of(subset: str) -> int:
    heads = [RepresentationHeads(WIDTHS, 64), PretrainingHeads(WIDTHS, SUBSETS[subset], SMALL)]
    return sum(p.numel() for module in heads for p in module.parameters())


@pytest.mark.parametrize("subset", SUBSETS)
def test_parameters_count_four_times_and_activations_grow_with_the_batch(subset: str) -> None:
    """Without Con, whose similarities are batch x batch, activations are proportional to the batch."""
    sizes = [
        step_bytes(WIDTHS, SUBSETS[subset], Hyperparameters(**{**vars(SMALL), "batch_size": b})) for b in (32, 64, 128)
    ]
    states = 16 * parameters_of(subset)
    activations = [size - states for size in sizes]
    assert activations[0] > 4 * 32 * sum(WIDTHS.values())
    first, second = activations[1] - activations[0], activations[2] - activations[1]
    quadratic = "Con" in subset
    assert (second > 2 * first) if quadratic else (second == 2 * first)


def test_activations_are_those_that_autograd_keeps() -> None:
    """For Gen, the activations of the gated units and of the reconstruction heads are counted by hand.

    Autograd keeps per modality and row, in floats: the input d; u, the gate's sigmoid, g and z of R = 64; the hidden
    D = 32; for the squared error, the difference or both of its sides.
    """
    size = step_bytes(WIDTHS, SUBSETS["Gen"], SMALL) - 16 * parameters_of("Gen")
    rows = 32
    least = sum(4 * rows * (d + 4 * 64 + 32) for d in WIDTHS.values())
    most = sum(4 * rows * (3 * d + 6 * 64 + 2 * 32) for d in WIDTHS.values()) + 4 * 8
    assert least <= size <= most


def test_con_of_one_modality_counts_two_views() -> None:
    """Each view has its own activations: per row, the input and at least u, the gate, g and z of R = 64.

    The similarities of all views are (2b)^2, while those of two modalities are b^2.
    """
    widths, rows = {"video": 40}, 32
    heads = [RepresentationHeads(widths, 64), PretrainingHeads(widths, SUBSETS["Con"], SMALL)]
    states = 16 * sum(p.numel() for module in heads for p in module.parameters())
    activations = step_bytes(widths, SUBSETS["Con"], SMALL) - states
    assert activations >= 4 * 2 * rows * (40 + 4 * 64) + 4 * (2 * rows) ** 2
    two = {"first": 40, "second": 40}  # two heads, with as many activations
    states += 16 * sum(p.numel() for p in RepresentationHeads(widths, 64).parameters())
    assert activations == pytest.approx(step_bytes(two, SUBSETS["Con"], SMALL) - states, rel=0.5)


def test_workers_share_everything_but_the_compared_rows() -> None:
    whole, shared = (step_bytes(WIDTHS, SUBSETS["Gen"], SMALL, workers=n) for n in (1, 2))
    states = 16 * parameters_of("Gen")
    assert (shared - states) == pytest.approx((whole - states) / 2, rel=0.01)
    compared = [step_bytes(WIDTHS, SUBSETS["Con"], SMALL, workers=n) for n in (1, 2)]
    assert compared[1] > compared[0] / 2


def test_the_estimate_allocates_no_memory() -> None:
    """The estimate works for heads of more than 100 GB."""
    huge = Hyperparameters(representation_dim=65536, batch_size=65536)
    assert step_bytes(WIDTHS, SUBSETS["ConCluGen"], huge) > 100 * 2**30
    assert not torch.empty(0).is_meta  # the default device has not changed
