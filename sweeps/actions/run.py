"""Launching: everything between a valid configuration, or a sweep's folder, and a finished sweep in that folder.

Ray starts, works and stops with its output in the sweep's log file; the user sees the display only. A sweep that ends
early, however it ends, leaves its folder with every finished attempt in the ledger.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

from conclugen.features.manifest import damaged_shards
from conclugen.files.durable import write_whole
from sweeps.actions.display import Display
from sweeps.config import ConfigError, SweepConfig, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.folder.lock import held
from sweeps.folder.sessions import Sessions
from sweeps.interrupts import Interrupts
from sweeps.ledger import Ledger, LedgerError
from sweeps.search.journal import mend_journal
from sweeps.search.storage import open_storage
from sweeps.search.warm_start import proposals
from sweeps.terminal import output_to_log

__all__ = ["SweepFailedError", "launch", "resume"]


class SweepFailedError(RuntimeError):
    """The engine stopped before the sweep was finished; the message says where to read why."""


def launch(config: SweepConfig, root: Path, interrupts: Interrupts, address: str | None = None) -> None:
    """Run a new sweep in the folder ``root`` to its end.

    Args:
        config: the sweep.
        root: its folder; created, and must be empty where it exists.
        interrupts: ask the sweep to end.
        address: Ray cluster to run on; None for the one that RAY_ADDRESS names, or else a new one on this machine.

    Raises:
        ConfigError: the folder is taken, there is no such cluster, it has not what the sweep needs, a tracker is
            missing, or there is nothing to start warm from that can be read; nothing is written.
        SweepFailedError: the engine stopped early.
        KeyboardInterrupt: it was asked to end, and everything is saved.
    """
    if problems := _unusable(config):
        raise ConfigError(problems)
    folder = SweepFolder(root)
    _refuse_taken(folder)
    made = [path for path in (root, *root.parents) if not path.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([_unwritable(root, error)]) from None
    with held(folder):
        _refuse_taken(folder)  # by who has held it since
        try:
            _prepare(folder, config)
            config = load_config(folder.config, written=True)  # with the folder's own space, as in all later sessions
            _execute(config, folder, interrupts, address, lambda _: Sessions(folder).begin(config))
        except ConfigError:
            _remove(folder, made)
            raise


def resume(
    root: Path,
    interrupts: Interrupts,
    overrides: Sequence[str] = (),
    address: str | None = None,
    *,
    failed: bool = False,
    accept_changes: bool = False,
) -> None:
    """Go on with the sweep in the folder ``root`` to its end, or beyond what was its end.

    Args:
        root: its folder, wherever it lies now.
        interrupts: ask the sweep to end.
        overrides: settings that change from now on, ``dotted.key=value`` each.
        address: as for :func:`launch`.
        failed: run what has failed again.
        accept_changes: go on even where results from now on do not compare with those from before.

    Raises:
        ConfigError: there is no sweep in the folder, another process runs it, something has changed, or as for
            :func:`launch`; nothing is written but that damage found so late is set aside.
        LedgerError: the ledger cannot be read, for another reason than damage.
        SweepFailedError: the engine stopped early.
        KeyboardInterrupt: it was asked to end, and everything is saved.
    """
    folder = SweepFolder(root)
    with held(folder):
        try:
            config = load_config(folder.config, overrides, written=True)
            problems = _unusable(config)
        except ConfigError as error:
            raise ConfigError([_without_warm_start(problem) for problem in error.problems]) from None
        changes = Sessions(folder).changes(config)
        if changes and not accept_changes:
            problems += [
                *changes,
                f"Set back what is named, with --set or in {folder.config}; or go on all the same with "
                "--accept-changes, which puts these changes on record.",
            ]
        if problems:
            raise ConfigError([_without_warm_start(problem) for problem in problems])
        with _put_back_unless_begun(folder) as begun:

            def begin(say: Callable[[str], None]) -> None:
                _last_refusals(config, folder, say)
                with interrupts.deferred():  # what is on record and what the folder holds stay one
                    told = Sessions(folder).begin(config, changes)
                    begun()
                    for message in told:
                        say(message)
                    for partial in (*folder.root.glob(".*.partial"), *folder.heads.glob(".*.partial")):
                        partial.unlink()

            _prepare(folder, config)
            _execute(config, folder, interrupts, address, begin, retry_failed=failed)


@contextmanager
def _put_back_unless_begun(folder: SweepFolder) -> Iterator[Callable[[], None]]:
    """Put configuration and space back as they are now, unless what is yielded was called before what follows ended.

    They are written before the session begins because the nodes of a cluster check what they find in the folder. Of a
    process that is killed meanwhile they stay; the next session then finds that they are not those on record.
    """
    former = {path: path.read_bytes() if path.exists() else None for path in (folder.space, folder.config)}
    begun = False

    def keep() -> None:
        nonlocal begun
        begun = True

    try:
        yield keep
    except BaseException:
        for path, content in former.items() if not begun else ():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                write_whole(path, content)
        raise


def _last_refusals(config: SweepConfig, folder: SweepFolder, say: Callable[[str], None]) -> None:
    """Refuse what only the folder's mended state can tell, before anything else in it changes."""
    ledger = Ledger(folder.ledger)
    for message in (*mend_journal(folder), *ledger.mend()):
        say(message)
    for _ in ledger:  # every record is one that this version reads
        pass
    try:
        open_storage(config, folder)
    except ConfigError as error:  # SQLAlchemy explains itself on further lines
        raise ConfigError([problem.partition("\n")[0] for problem in error.problems]) from None


@contextmanager
def _loading(*modules: str) -> Iterator[None]:
    """Load ``modules`` while what follows waits for other processes; whatever fails fails again where it is needed."""

    def load() -> None:
        with suppress(Exception):
            for module in modules:
                import_module(module)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _without_warm_start(problem: str) -> str:
    """A problem with what a sweep started warm from, with the remedy of a sweep that has begun."""
    named = problem.startswith("search.warm_start")
    return f"{problem} The sweep can go on without: --set search.warm_start=null." if named else problem


def _refuse_taken(folder: SweepFolder) -> None:
    if folder.config.is_file():
        raise ConfigError([f"--out {folder.root}: holds a sweep; `conclugen sweep resume` goes on with it."])
    if not folder.vacant:
        raise ConfigError(
            [f"--out {folder.root}: exists and is not an empty folder; choose another, or remove it first."]
        )


def _prepare(folder: SweepFolder, config: SweepConfig) -> None:
    try:
        folder.prepare(config)
    except OSError as error:
        raise ConfigError([_unwritable(folder.root, error)]) from None


def _unwritable(root: Path, error: OSError) -> str:
    return f"{root}: cannot be written: {error.strerror}; choose another folder, or mend it."


def _unusable(config: SweepConfig) -> list[str]:
    """What can be seen to be wrong before Ray starts; the shards of the feature sets are read whole for it."""
    if config.search.warm_start is not None:
        try:
            proposals(config.search.warm_start, config.arms.values(), config.load_space())
        except LedgerError as error:
            raise ConfigError([f"search.warm_start: {error}"]) from None
    sets = dict.fromkeys([config.features.pretrain, *config.features.downstream.values()])
    damaged = [f"features: {problem}" for path in sets for problem in damaged_shards(path)]
    return [*config.tracking.missing(), *damaged]


def _remove(folder: SweepFolder, made: Sequence[Path]) -> None:
    """Remove a sweep that was refused, with the folders that were made for it; one that was there stays."""
    for path in folder.root.iterdir() if folder.root.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in made:
        path.rmdir()


def _execute(
    config: SweepConfig,
    folder: SweepFolder,
    interrupts: Interrupts,
    address: str | None,
    begin: Callable[[Callable[[str], None]], object],
    *,
    retry_failed: bool = False,
) -> None:
    """Run the sweep; ``begin`` is called, with what tells the user, when nothing else can refuse it any more."""
    with output_to_log(folder.log) as console, Display(console, f"sweep {config.name}") as display:
        display.say("Starting Ray ...")
        started = time.monotonic()
        # Ray takes seconds to load: later than the first line that the user sees, and inside the redirection.
        from sweeps.execution import cluster as nodes
        from sweeps.execution.capacity import grow

        existing = not nodes.local_only(address)
        try:
            with _loading("sweeps.execution.executor", "sweeps.execution.preflight", "sweeps.execution.tracking"):
                nodes.connect(address)
            if existing:
                grow(config.workers, display.say)
            _work(config, folder, interrupts, display, begin, existing=existing, retry_failed=retry_failed)
        except OSError as error:
            raise _ended_early(folder, error) from error
        finally:
            nodes.disconnect(withdraw=existing and config.workers.concurrent_trials != "auto")
        shutil.rmtree(folder.ray, ignore_errors=True)
        display.say(f"Finished in {time.monotonic() - started:.0f} s.")


def _work(
    config: SweepConfig,
    folder: SweepFolder,
    interrupts: Interrupts,
    display: Display,
    begin: Callable[[Callable[[str], None]], object],
    *,
    existing: bool,
    retry_failed: bool,
) -> None:
    """Run the sweep on the cluster that this process has joined, or, if it is not an ``existing`` one, has started."""
    from sweeps.execution import capacity as room
    from sweeps.execution import cluster as nodes
    from sweeps.execution import executor as engine
    from sweeps.execution.preflight import Preflight
    from sweeps.execution.tracking import tracked
    from sweeps.search import Search

    found = nodes.alive_nodes()
    allocation = room.allocate(config.workers, found, may_grow=existing)
    if config.budget.gpu_hours is not None and not allocation.gpus:
        raise ConfigError(["budget.gpu_hours: the cluster has no GPUs to spend them on; give budget.hours."])
    preflight = Preflight(config, folder, allocation.gpus, display.say)
    if existing:
        preflight.check(found)
    else:
        preflight.check_here()
    capacity = room.Capacity(allocation, config.workers, preflight if existing else None, display.say)
    with tracked(config, folder, display.say) as trackers:
        begin(display.say)
        # After all refusals: it may write into a database.
        search = Search(config, folder, say=display.say, retry_failed=retry_failed)
        display.say(
            f"{allocation.slots} trials at a time, each on {allocation.workers} workers with {allocation.cpus} CPU"
            + (f" and {allocation.gpus} GPU" if allocation.gpus else "")
            + f"; Ray's output goes to {folder.log}"
        )
        try:
            engine.execute(
                search,
                folder,
                capacity,
                lambda: display.show(search.progress(), max(1, capacity.slots)),
                trackers,
                interrupts,
            )
        except engine.EngineError as error:
            raise _ended_early(folder, error) from error


def _ended_early(folder: SweepFolder, error: Exception) -> SweepFailedError:
    return SweepFailedError(
        f"the sweep stopped early: {error}\nNothing that had finished is lost; more in {folder.log}."
    )
