"""What may vary: named search spaces, with conditions on the loss subset."""

from search_spaces.parameter import Parameter
from search_spaces.space import Space, SpaceError, load_space, named_spaces

__all__ = ["Parameter", "Space", "SpaceError", "load_space", "named_spaces"]
