"""Plays a world with several replicas on one PostgreSQL, each with a clock and a loop of its own."""

import asyncio
import contextlib
import math
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from monitor.daemon import jobs
from monitor.errors import MonitorError
from monitor.notify import drain
from monitor.notify.alertmanager import poster
from monitor.sync import schedule
from tests.servers.postgres import run_postgres
from tests.world.clock import WorldClock
from tests.world.events import AnyEvent, Kill, Restart, Suspend, World
from tests.world.journal import replayed
from tests.world.play import Played, Stage, play
from tests.world.process import Process, at_leisure
from tests.world.server import Server, served_by
from tests.world.settings import Settings

_LEISURE = [
    (drain, "POLL_S", 15.0),
    (poster, "POLL_S", 15.0),
    (schedule, "_LONGEST_REST", timedelta(seconds=4)),
    (jobs, "_LOOK_AT_STORE_S", 120.0),
]
_SELDOM_S = 10.0
_ROLLS_S = 45.0
"""So long after one replica does the next one get a new config."""
_TRIES_AGAIN_S = 20.0
_PATIENT = "lock_timeout=600&statement_timeout=600"
"""The machine's time, which is no matter how busy it is: `server` keeps these limits in the world's time."""


@dataclass(eq=False)
class Seat:
    """One replica, whichever process is it."""

    index: int
    clock: WorldClock
    starts_s: float = 0.0
    wakes_s: float | None = None
    """When it goes on, if it is suspended."""
    dying: Kill | None = None
    ending: Restart | None = None
    reloads_s: float = math.inf
    reload: "asyncio.Task[None] | None" = None
    process: Process | None = field(default=None)

    @property
    def runs(self) -> bool:
        """Whether it does anything now."""
        return self.process is not None and self.wakes_s is None

    @property
    def next_s(self) -> float:
        """When something happens to it from outside."""
        if self.process is None:
            return self.starts_s
        return self.reloads_s if self.wakes_s is None else self.wakes_s


class ReplicaStage(Stage):
    """One world being played by several replicas."""

    def __init__(self, world: World, server: Server) -> None:
        super().__init__(world, Path("nowhere"))
        self.server = server
        self.settings = Settings(world, f"{server.url}?{_PATIENT}")
        self.seats = [Seat(index, WorldClock(self.elapsed)) for index in range(len(world.ahead_s))]
        for seat, ahead_s in zip(self.seats, world.ahead_s, strict=True):
            seat.clock.ahead_s = ahead_s
        self._acting: Seat | None = None

    def _contexts(self) -> list[contextlib.AbstractContextManager[None]]:
        return [served_by(self.server, self.clock.now, self._statement), at_leisure(_LEISURE, _SELDOM_S)]

    def _pass_until(self, until_s: float) -> None:
        while True:
            self._run_to(min([until_s, *(seat.next_s for seat in self.seats)]))
            for seat in self.seats:
                if seat.next_s <= self.elapsed.s:
                    self._attend_to(seat)
            if self.elapsed.s >= until_s and not any(seat.next_s <= until_s for seat in self.seats):
                return

    def _run_to(self, until_s: float) -> None:
        """Let time pass for all of them: from one instant at which any has something to do to the next."""
        while True:
            for seat in self.seats:
                if seat.runs:
                    self._run(seat)
            soonest_s = min(
                (seat.process.loop.next_at_s for seat in self.seats if seat.process and seat.runs),
                default=math.inf,
            )
            if soonest_s > until_s:
                self.elapsed.s = max(self.elapsed.s, until_s)
                return
            self.elapsed.s = max(self.elapsed.s, soonest_s)

    def _run(self, seat: Seat) -> None:
        process = seat.process
        assert process is not None
        self._acting = seat
        lives = process.run_to(self.elapsed.s)
        self._acting = None
        if not lives and seat.dying is not None:
            self.tell(f"replica {seat.index} is killed")
            self._empty(seat, self.elapsed.s + seat.dying.down_s)
        elif seat.ending is not None and process.running.done():
            process.running.result()
            self._empty(seat, self.elapsed.s + seat.ending.down_s)
        elif seat.reload is not None and seat.reload.done():
            failed = seat.reload.exception()
            if failed is not None and not isinstance(failed, MonitorError):
                self._problem(f"a reload failed: {failed!r}")
            self.settings.is_bad = False  # somebody sees it and puts the old one back
            if failed is not None:
                seat.reloads_s = self.elapsed.s + _TRIES_AGAIN_S
            seat.reload = None

    def _attend_to(self, seat: Seat) -> None:
        """Do to a replica what is to be done to it from outside."""
        if seat.process is None:
            self._lives += 1
            seat.reloads_s = math.inf
            self.settings.is_bad = False
            seat.process = Process(
                elapsed=self.elapsed,
                clock=seat.clock,
                cut=self.server.cut,
                network=self.network,
                config=self.settings.read,
                on_line=self._line,
                seed=self.world.seed * 1000 + self._lives,
            )
        elif seat.wakes_s is not None:
            self.tell(f"-- replica {seat.index} goes on")
            seat.wakes_s = None
            self.server.suspended.discard(seat.process.loop)
        elif not seat.process.is_up or seat.reload is not None:
            seat.reloads_s = self.elapsed.s + _TRIES_AGAIN_S
        else:
            seat.reloads_s = math.inf
            seat.reload = seat.process.loop.create_task(seat.process.parts.reload.reload())

    def _empty(self, seat: Seat, back_s: float) -> None:
        """Note that a process is no more, and when the next one starts."""
        process = seat.process
        if process is None:
            return
        self.played.down.append((self.elapsed.s, back_s))
        process.cut()
        self._dead.append(process)
        seat.process, seat.starts_s = None, back_s
        seat.wakes_s = seat.dying = seat.ending = seat.reload = None

    def _bury(self) -> None:
        for seat in self.seats:
            self._empty(seat, math.inf)
        super()._bury()

    def _begin(self, event: AnyEvent) -> None:
        if not isinstance(event, Suspend):
            super()._begin(event)
            return
        seat = self.seats[event.replica]
        if seat.process is not None and seat.wakes_s is None:
            self.tell(f"-- replica {seat.index} is suspended for {event.lasts_s} s")
            seat.wakes_s = self.elapsed.s + event.lasts_s
            self.server.suspended.add(seat.process.loop)

    def _kill(self, event: Kill) -> None:
        seat = self._acting if event.on and self._acting is not None else self.seats[event.replica]
        if seat.process is not None and seat.dying is None:
            seat.dying = event
            seat.process.loop.end_after(event.after_steps)

    def _end(self, event: Restart) -> None:
        seat = self.seats[event.replica]
        if seat.process is not None and seat.ending is None:
            seat.ending = event
            seat.process.ask_to_end()

    def _reload(self) -> None:
        """Give the replicas the new config, one after the other."""
        for seat in self.seats:
            seat.reloads_s = self.elapsed.s + seat.index * _ROLLS_S

    def _processes(self) -> list[Process]:
        return [seat.process for seat in self.seats if seat.process and seat.runs]

    def _look(self, *, closely: bool = False) -> None:
        there = [process for process in self._processes() if process.is_up]
        # Another one each time: all of them must show the same.
        self.process = there[len(self.played.truths) % len(there)] if there else None
        super()._look(closely=closely)
        self.process = None


def play_replicas(world: World, url: str) -> Played:
    """Play a world on an empty database."""
    server = Server(url, world.seed)
    try:
        played = ReplicaStage(world, server).play()
        played.statements = server.statements
        played.replayed = replayed(url)
        return played
    finally:
        server.close()


def play_anywhere(world: World) -> Played:
    """Play a world: one of replicas on a server of its own."""
    if not world.ahead_s:
        return play(world)
    with run_postgres() as server:
        return play_replicas(world, server.url(server.create_database()))
