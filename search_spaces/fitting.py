"""Fits a named search space to the number of training samples: batches, queue and clusters.

The named spaces are written for thousands of samples. A smaller set has no room for their batches: an epoch would end
before the queue of past batches is full, and k-means would have as many clusters as samples. So a named space gets
smaller values there, and says which. A user's own space is never changed.

Batches become smaller before the queue does. On the reference ledger, batches of 128 beat batches of 256 on five of six
sets, and a queue of two batches beat none on four (docs/decisions/search.md). Refusing small sets was rejected: the
remedies took several rounds to find, and only one combination of values works on the smallest sets.
"""

from collections.abc import Sequence

from search_spaces.parameter import Parameter, Scalar
from search_spaces.space import Adaptation, Space

__all__ = ["LEAST_SAMPLES", "fitted"]

LEAST_SAMPLES = 16
"""Two batches of 8 samples, so that k-means with a queue of one batch sees 8 samples in each of 2 clusters."""
_SAMPLES_PER_CLUSTER = 8  # the named spaces keep it where they fit: `small` has 64 clusters from 768 samples on
_SMALL_BATCH = 64  # before batches become smaller than this, the queue becomes shorter


def fitted(space: Space, name: str, samples: int) -> Space:
    """Return a named space with batches, queue and clusters that the training samples have room for.

    Args:
        space: the named space.
        name: its name.
        samples: training samples of the pretraining set, at least :data:`LEAST_SAMPLES`.

    Returns:
        The space itself if it fits; otherwise one whose ``adapted`` says what has changed.
    """
    batches, queue, clusters = (space.parameters[key] for key in ("batch_size", "kmeans_queue_size", "num_clusters"))
    past = int(queue.start)
    while past > 1 and samples // (past + 1) < _SMALL_BATCH:
        past -= 1
    batches = _capped(batches, _power_of_two(samples // (past + 1)))
    sizes = [int(size) for size in batches.extremes()]
    queue = _capped(queue, samples // max(sizes) - 1)
    clusters = _capped(clusters, min(min(sizes), _power_of_two(samples // _SAMPLES_PER_CLUSTER)))
    values = {"batch_size": batches, "kmeans_queue_size": queue, "num_clusters": clusters}
    changes = [
        f"{key} {_text(parameter)} instead of {_text(space.parameters[key])}"
        for key, parameter in values.items()
        if parameter != space.parameters[key]
    ]
    if not changes:
        return space
    return space.model_copy(
        update={
            "parameters": {**space.parameters, **values},
            "adapted": Adaptation(space=name, samples=samples, changes=tuple(changes)),
        }
    )


def _capped(parameter: Parameter, most: int) -> Parameter:
    """Return a fixed or categorical parameter of integers without values above ``most``, or with ``most`` alone."""
    values: Sequence[Scalar] = parameter.extremes()
    kept = [value for value in values if int(value) <= most] or [most]
    if len(kept) == len(values) and kept[0] == values[0]:
        return parameter
    conditions = parameter.model_dump(include={"needs", "min_losses"}, exclude_defaults=True)
    if len(kept) == 1:
        return Parameter(fixed=kept[0], **conditions)
    default = parameter.start if parameter.start in kept else max(kept)
    return Parameter(choices=tuple(kept), default=default, **conditions)


def _power_of_two(number: int) -> int:
    """Return the largest power of two that is at most ``number``, which two or four workers can share."""
    return 1 << (number.bit_length() - 1)


def _text(parameter: Parameter) -> str:
    return ", ".join(map(str, parameter.extremes()))
