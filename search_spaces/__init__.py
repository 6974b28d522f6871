"""Search spaces: which hyperparameters may vary, over which values, for which loss subsets."""

from search_spaces.fitting import LEAST_SAMPLES, fitted
from search_spaces.parameter import Parameter
from search_spaces.space import (
    Adaptation,
    Space,
    SpaceError,
    load_space,
    named_space_text,
    named_spaces,
    weight_of,
)

__all__ = [
    "LEAST_SAMPLES",
    "Adaptation",
    "Parameter",
    "Space",
    "SpaceError",
    "fitted",
    "load_space",
    "named_space_text",
    "named_spaces",
    "weight_of",
]
