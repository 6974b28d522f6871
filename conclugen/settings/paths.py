"""Paths as users write them: ``~`` and ``$VARIABLES`` mean what they mean in a shell."""

import os
import re

__all__ = ["PathError", "expanded", "with_variables"]

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


class PathError(ValueError):
    """A path names a variable or a user that there is not; the message says which."""


def with_variables(text: str) -> str:
    """Return ``text`` with ``$NAME`` and ``${NAME}`` replaced by the values that the environment has for them.

    Raises:
        PathError: the environment lacks a variable.
    """
    missing = [name for match in _VARIABLE.finditer(text) if (name := match[1] or match[2]) not in os.environ]
    if missing:
        noun, pronoun = ("variable", "it") if len(set(missing)) == 1 else ("variables", "them")
        raise PathError(f"the environment has no {noun} {', '.join(dict.fromkeys(missing))}; set {pronoun}.")
    return _VARIABLE.sub(lambda match: os.environ[match[1] or match[2]], text)


def expanded(path: str, base: str | os.PathLike[str] = "") -> str:
    """Return ``path`` with ``~``, ``~user``, ``$NAME`` and ``${NAME}`` replaced, as a shell does.

    A path with a dollar sign that names no variable stays if it exists. So files with such names can be given.

    Args:
        path: the path.
        base: folder from which a relative path counts.

    Raises:
        PathError: the environment lacks a variable, or there is no such user.
    """
    try:
        path = with_variables(path)
    except PathError:
        if not os.path.lexists(os.path.join(base, path)):  # also for texts that are no path
            raise
    path = os.path.expanduser(path)  # Path.expanduser raises RuntimeError
    if path.startswith("~") and not os.path.lexists(os.path.join(base, path)):
        user = path[1:].partition("/")[0]
        raise PathError(f"there is no user {user!r}; write ./{path} for a file of that name.")
    return path
