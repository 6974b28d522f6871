"""The command line as documentation: the page of all commands, and whether a command in a text exists."""

import inspect
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from sweeps.cli import app

__all__ = ["command_page", "problem_of"]

_EXIT_CODES = """\
## Exit codes

| code | meaning |
|---|---|
| 0 | done |
| 1 | not all done, or not the same: a cell of the table has no result, a run stopped early, or a replay differs |
| 2 | bad input; every problem is listed, and nothing was written |
| 70 | a fault of this program; the message names a file with the traceback |
| 130 | interrupted |
| 141 | nobody reads the output any more, as with `head`; it ends short commands only |
"""


def command_page() -> str:
    """Return the page that lists every command with its arguments and options."""
    root: Any = typer.main.get_command(app)
    parts = [
        "# Command line",
        "`conclugen COMMAND --help` prints the same. Paths may hold `~` and `$VARIABLES`. All messages about bad input "
        "come at once.",
        *(_command(names, command) for names, command in _commands(root, ())),
        _EXIT_CODES,
    ]
    return "\n\n".join(parts)


def _commands(command: Any, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the names and the command of each command that does something."""
    for name, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from _commands(child, (*names, name))
        else:
            yield (*names, name), child


def _command(names: tuple[str, ...], command: Any) -> str:
    title = " ".join(("conclugen", *names))
    arguments = [_usage(parameter) for parameter in command.params if not _is_option(parameter)]
    needed = [f"{p.opts[0]} {p.metavar}" for p in command.params if _is_option(p) and p.required]
    usage = " ".join([title, *arguments, *needed, "[OPTIONS]"])
    rows = [f"| `{_usage(p)}` | {_default(p)} | {_help(p)} |" for p in command.params]
    table = "\n".join(["| argument | default | meaning |", "|---|---|---|", *rows])
    return f"## {title}\n\n{inspect.cleandoc(command.help)}\n\n```text\n{usage}\n```\n\n{table}"


def _is_option(parameter: Any) -> bool:
    return bool(parameter.opts[0].startswith("-"))


def _usage(parameter: Any) -> str:
    """Return how a parameter is written: an option with its value, or an argument."""
    if not _is_option(parameter):
        return str(parameter.metavar)
    if parameter.is_flag:
        return "/".join([*parameter.opts, *parameter.secondary_opts])
    return f"{parameter.opts[0]} {parameter.metavar or 'VALUE'}".replace("|", "\\|")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    default = getattr(parameter.default, "value", parameter.default)
    return "" if default in (None, False, "") else f"`{default}`"


def _help(parameter: Any) -> str:
    return str(parameter.help or "").replace("|", "\\|")


def problem_of(line: str, *, whole: bool) -> str | None:
    """Return what is wrong with a ``conclugen`` command line of a text, or None.

    Args:
        line: the command line, as a shell reads it.
        whole: whether all required arguments must be there; a mention within a sentence may leave them out.
    """
    program, *words = shlex.split(line, comments=True)
    command: Any = typer.main.get_command(app)
    names = [program]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name, *words = words
        names.append(name)
        command = command.commands.get(name)
        if command is None:
            return f"{' '.join(names)}: no such command"
    return _wrong_arguments(command, names, words, whole=whole)


def _wrong_arguments(command: Any, names: Sequence[str], words: Sequence[str], *, whole: bool) -> str | None:
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in _options(command)]
    if unknown:
        return f"{' '.join(names)}: no such option as {', '.join(unknown)}"
    if whole and not hasattr(command, "commands"):
        try:
            command.make_context(" ".join(names), list(words))
        except typer.BadParameter as error:
            return f"{' '.join(names)}: {error.format_message()}"
    return None


def _options(command: Any) -> set[str]:
    return {"--help", *(name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts))}
