"""The error that lists every problem of a configuration."""

from collections.abc import Sequence

__all__ = ["ConfigError"]


class ConfigError(ValueError):
    """A configuration, or a part of it, is invalid; ``problems`` holds one message per problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)
