"""Plays a world: lets time pass, makes its events happen, and writes down the story."""

import contextlib
import gc
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor.errors import MonitorError, StartError
from monitor.replay.report import Replayed
from tests.world.clock import WorldClock, scheduled_by_its_own
from tests.world.commands import Command, Work, begun, ended
from tests.world.disk import Disk, one_thread
from tests.world.events import (
    Acknowledge,
    AnyEvent,
    FullDisk,
    Jump,
    Kill,
    Refuse,
    Restart,
    Silence,
    Suspend,
    World,
    describe,
)
from tests.world.journal import replayed
from tests.world.loop import Elapsed
from tests.world.process import ALONE, SELDOM_S, Network, Process, at_leisure
from tests.world.provider import Condition, Provider
from tests.world.receivers import Receivers
from tests.world.settings import Settings

PROBE_S = 60.0
_TRIES_AGAIN_S = 5.0

_TOLD = frozenset(
    {
        "daemon.started",
        "daemon.stopped",
        "config.reloaded",
        "config.rejected",
        "sync.held",
        "clock.set_back",
        "delivery.dead",
        "internal.error",
        "store.failed",
    }
)
_ALERTS = ("alert.opened", "alert.updated", "alert.acknowledged", "alert.resolved")


@dataclass(frozen=True)
class Look:
    """What was seen of the daemon at an instant. `alive_since_s` is None while it is down."""

    at_s: float
    alive_since_s: float | None
    not_ready: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    firing: frozenset[tuple[str, str]] = frozenset()
    """What Alertmanager shows: connection and phone number of every drift."""


@dataclass(frozen=True)
class Truth:
    """What was true at an instant, of every connection that was configured, by its name."""

    at_s: float
    numbers: dict[str, dict[str, Condition]]


@dataclass
class Played:
    """Everything that happened."""

    world: World
    provider: Provider
    receivers: Receivers
    story: list[tuple[float, str]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)
    down: list[tuple[float, float]] = field(default_factory=list)
    """When a process died or ended, and when the next one took its place."""
    troubles: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    statements: int = 0
    replayed: Replayed | None = None


class Stage:
    """One world being played."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.elapsed = Elapsed()
        self.clock = WorldClock(self.elapsed)
        self.disk = Disk(folder / "store.db")
        self.provider = Provider(world, self.elapsed)
        self.receivers = Receivers(self.elapsed, self.tell, lambda: self._happens("post"))
        self.settings = Settings(world, f"sqlite:///{self.disk.file}")
        self.network = Network(self.provider, self.receivers)
        self.played = Played(world, self.provider, self.receivers)
        self.process: Process | None = None
        self._dead: list[Process] = []
        self._lives = 0
        self._starts_s: float | None = 0.0
        self._stale_config = False
        self._armed: list[Kill] = []
        self._dying: Kill | None = None
        self._broken: dict[tuple[str, str], float] = {}
        self._commands: list[Command] = []
        self.disk.watch = self._statement

    # What happens

    def play(self) -> Played:
        """Play it all."""
        with contextlib.ExitStack() as stack:
            for context in (*self._contexts(), scheduled_by_its_own(), _silence(), _no_collector()):
                stack.enter_context(context)
            try:
                for at_s, act in self._agenda():
                    self._pass_until(at_s)
                    act()
                    self._note_broken()
            except Exception as exc:  # noqa: BLE001 - whatever ends a world early is what the seed found
                self._problem(f"the world ended: {type(exc).__name__}: {exc}")
            finally:
                self._bury()
        self.played.statements = self.disk.statements
        return self.played

    def _contexts(self) -> list[contextlib.AbstractContextManager[None]]:
        return [one_thread(self.disk), at_leisure(ALONE, SELDOM_S)]

    def tell(self, what: str) -> None:
        """Write a line of the story."""
        self.played.story.append((self.elapsed.s, what))

    def _problem(self, what: str) -> None:
        self.tell(f"PROBLEM {what}")
        self.played.problems.append(f"{self.elapsed.s:.0f} s: {what}")

    def _agenda(self) -> list[tuple[float, Callable[[], None]]]:
        agenda: list[tuple[float, Callable[[], None]]] = []
        for event in self.world.events:
            agenda.append((event.at_s, lambda event=event: self._begin(event)))  # type: ignore[misc]
            lasts_s = getattr(event, "lasts_s", None)
            if lasts_s is not None and not isinstance(event, Suspend):
                over_s = self._not_in_quiet(event.at_s + lasts_s)
                agenda.append((over_s, lambda event=event: self._over(event)))  # type: ignore[misc]
        last_s = self.world.quiet[-1][0]
        # All is well at the end, whatever was planned.
        agenda = [(min(at_s, last_s - 1), act) for at_s, act in agenda]
        agenda += [(begins_s, self._calm) for begins_s, _ in self.world.quiet]
        agenda += [(ends_s - 0.5, self._check_truth) for _, ends_s in self.world.quiet]
        probes = int(self.world.ends_s // PROBE_S)
        agenda += [(index * PROBE_S + 0.25, self._look) for index in range(1, probes + 1)]
        return sorted(agenda, key=lambda item: item[0])

    def _not_in_quiet(self, at_s: float) -> float:
        """Return an instant, or the one before the quiet span that it would fall into."""
        return next(
            (begins_s - 1 for begins_s, ends_s in self.world.quiet if begins_s < at_s <= ends_s), at_s
        )

    def _pass_until(self, until_s: float) -> None:
        while self.elapsed.s < until_s:
            if self.process is None:
                starts_s = self._starts_s if self._starts_s is not None else until_s
                self.elapsed.s = max(self.elapsed.s, min(starts_s, until_s))
                if self._starts_s is not None and self.elapsed.s >= self._starts_s:
                    self._start()
                continue
            try:
                lives = self.process.run_to(until_s)
            except StartError as exc:
                if not self.disk.full:
                    raise
                self.tell(f"the process does not start: {exc}")
                self._gone(self.elapsed.s + _TRIES_AGAIN_S)
                continue
            if not lives:
                self._die()

    def _start(self) -> None:
        self._lives += 1
        self._starts_s = None
        self._stale_config = False
        self.process = Process(
            elapsed=self.elapsed,
            clock=self.clock,
            cut=lambda _: self.disk.cut(),
            network=self.network,
            config=self.settings.read,
            on_line=self._line,
            seed=self.world.seed * 1000 + self._lives,
        )

    def _die(self) -> None:
        if self.process is None or self._dying is None:
            return
        self.tell("the process is killed")
        self._gone(self.elapsed.s + self._dying.down_s)

    def _gone(self, back_s: float) -> None:
        """Note that the process is no more, and when the next one starts."""
        if self.process is None:
            return
        self.played.down.append((self.elapsed.s, back_s))
        self.process.cut()
        self._dead.append(self.process)
        self.process, self._starts_s, self._dying = None, back_s, None

    def _bury(self) -> None:
        self._gone(self.world.ends_s)
        for failure in [failure for process in self._dead for failure in process.loop.failures]:
            self._problem(f"a task failed: {failure}")
        Process.bury(self._dead)

    def _begin(self, event: AnyEvent) -> None:
        self.tell(f"-- {describe(event)[9:]}")
        self.provider.begin(event)
        match event:
            case Refuse():
                self.receivers.refusing.append((event, []))
            case Kill():
                self._armed.append(event)
                self._happens("")
            case Restart():
                self._end(event)
            case Suspend():
                self.elapsed.s += event.lasts_s
                self.tell("-- goes on")
            case Jump():
                self.clock.ahead_s += event.by_s
            case FullDisk():
                self.disk.full = True
            case Silence() | Acknowledge():
                self._command(begun(event, self.receivers.inbox("log")))
            case _:
                self._set(event)

    def _set(self, event: AnyEvent) -> None:
        if self.settings.begin(event, self.clock.now()):
            self._reload()

    def _over(self, event: AnyEvent) -> None:
        self.tell(f"-- over: {describe(event)[9:]}")
        self.provider.over(event)
        if isinstance(event, Refuse):
            self.receivers.refusing = [each for each in self.receivers.refusing if each[0] is not event]
        elif isinstance(event, FullDisk):
            self.disk.full = False
        elif isinstance(event, Silence):
            self._command(ended(event))
        elif self.settings.over(event):
            self._reload()

    def _calm(self) -> None:
        """Begin a quiet span: nothing waits to happen any more."""
        self.tell("-- quiet")
        self._armed.clear()
        if self.settings.calm():
            self._reload()

    def _kill(self, event: Kill) -> None:
        if self.process is not None and self._dying is None:
            self._dying = event
            self.process.loop.end_after(event.after_steps)

    def _happens(self, what: str) -> None:
        for event in self._armed:
            if event.on == what:
                self._armed.remove(event)
                self._kill(event)
                return

    def _statement(self, text: str) -> None:
        if self._armed and text.startswith("INSERT INTO alerts"):
            self._happens("alert")

    def _end(self, event: Restart) -> None:
        if self.process is None:
            return
        self.process.end()
        self._gone(self.elapsed.s + event.down_s)

    def _reload(self) -> None:
        self._stale_config = True
        self._try_reload()

    def _try_reload(self) -> None:
        """Reload as an operator would: again, until it worked."""
        if self.process is None or not self.process.is_up:
            self.settings.is_bad = False
            return
        task = self.process.loop.create_task(self.process.parts.reload.reload())
        until_s = self.elapsed.s + 20.0
        while not task.done() and self.elapsed.s < until_s:
            if not self.process.run_to(self.elapsed.s + 0.05):
                self._die()
                return
        if task.done() and (task.exception() is None or self.settings.is_bad):
            self._stale_config = self.settings.is_bad
            self.settings.is_bad = False  # somebody sees it and puts the old one back
        elif task.done() and not isinstance(task.exception(), MonitorError):
            self._problem(f"a reload failed: {task.exception()!r}")

    def _command(self, work: Work | None) -> None:
        if work is not None:
            self._commands.append(Command(work))
            self._see_to_commands()

    def _see_to_commands(self) -> None:
        """Do what people ask of the store; what it could not keep is asked again."""
        self._commands = [command for command in self._commands if not command.is_done]
        up = [process for process in self._processes() if process.is_up]
        for command in self._commands:
            if up and not command.is_under_way:
                command.run_in(up[0])

    def _processes(self) -> list[Process]:
        """Return the processes that run now."""
        return [self.process] if self.process is not None else []

    # What is seen

    def _line(self, line: MutableMapping[str, Any]) -> None:
        event = line["event"]
        if event in _ALERTS:
            identity = f"{line['alert_id']}/{line['version']}/{line['change']}"
            self.receivers.inbox("log").take(self.elapsed.s, identity, line, b"")
            self.tell(
                f"log: {line['change']} {line['alert_id'][:6]} {line['summary']} {line['resolution'] or ''}"
            )
            self._happens("post")
        elif event in _TOLD:
            shown = {name: value for name, value in line.items() if name not in ("event", "level")}
            self.tell(f"{event} {str(shown)[:300]}")
            if event == "internal.error":
                self.played.problems.append(
                    f"{self.elapsed.s:.0f} s: internal error {line.get('exc_info')!r}"
                )

    def _look(self, *, closely: bool = False) -> None:
        if self._stale_config:
            self._try_reload()
        self._see_to_commands()
        process = self.process
        if process is None or not process.is_up:
            self.played.looks.append(Look(self.elapsed.s, None))
            return
        firing = frozenset(
            (posted.labels["connection"], posted.labels["phone_number"].lstrip("+"))
            for posted in self.receivers.alertmanager_firing(self.clock.now())
            if posted.labels["alertname"] == "VoiceLinkDrift"
        )
        self.played.looks.append(
            Look(
                self.elapsed.s,
                process.started_s,
                process.parts.readiness.not_ready(),
                process.metrics() if closely else {},
                firing,
            )
        )

    def _check_truth(self) -> None:
        self._look(closely=True)
        self.played.truths.append(
            Truth(
                self.elapsed.s,
                {f"c{index}": self.provider.condition(index) for index in self.settings.connections},
            )
        )

    def _note_broken(self) -> None:
        """Write down since when each number is broken, and for how long it was."""
        now_s = self.elapsed.s
        drifting = {
            (f"c{index}", key)
            for index in range(len(self.world.connections))
            for key, condition in self.provider.condition(index).items()
            if condition.drifting
        }
        for number in drifting - self._broken.keys():
            self._broken[number] = now_s
        for number in self._broken.keys() - drifting:
            self.played.troubles.setdefault(number, []).append((self._broken.pop(number), now_s))


def play(world: World) -> Played:
    """Play a world in a folder of its own."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="world-", dir=memory if memory.is_dir() else None))
    try:
        stage = Stage(world, folder)
        played = stage.play()
        played.replayed = replayed(f"sqlite:///{stage.disk.file}")
        return played
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Leave garbage alone: a world is short, and its dead processes are collected at its end."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the libraries' logs from the terminal: the dead complain."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
