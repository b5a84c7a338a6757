"""Replays that are asked for over the web, each by the command `replay` in a process of its own.

The daemon goes on meanwhile: a replay has the lowest priority, is the first to go when memory is short, and
ends with its client, with the daemon, or when it takes too long. A config that it is given goes through a
pipe: it is never an argument, and never on a disk.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock, rfc3339
from monitor.config import Config, process_environment, variable_name
from monitor.errors import Busy, ConfigError, NoHistory, Refused, StoreUnavailable, out_of_resources
from monitor.replay.report import Replayed
from monitor.store.actions import Actor
from monitor.web.replays import RULES, Wanted

_LIMIT_S = 300.0
_MOST_BYTES = 2 * 2**20
"""Of its result, some 6,500 alerts: to read it holds the loop for 50 ms."""
_PIPE = "/dev/stdin"
_LOWEST_PRIORITY = 19
_FIRST_TO_GO = "1000"
_UNUSABLE, _NO_HISTORY = 2, 3
"""Exit codes of the command."""

_SMALLER = "ask for a shorter time or fewer connections"


class _Problems(msgspec.Struct):
    """What the command says of a config that cannot be used."""

    problems: list[str]


@dataclass(kw_only=True, eq=False)
class ReplayRunner:
    """Runs one replay at a time.

    Args:
        config: Returns the active config.
        store_url: Returns where the daemon's store is.
        clock: For how long one took.
        log: Gets `replay.ended`.
        limit_s: After so long it is given up.
    """

    config: Callable[[], Config]
    store_url: Callable[[], str]
    clock: Clock
    log: FilteringBoundLogger
    limit_s: float = _LIMIT_S
    _turn: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _process: asyncio.subprocess.Process | None = field(init=False, default=None)

    async def replay(self, wanted: Wanted, by: Actor) -> Replayed:
        """Return what a replay comes to; one that is cancelled ends.

        Raises:
            ConfigError: The rules that are asked for cannot be used.
            NoHistory: There is nothing to replay yet.
            Refused: It takes too long, or its result is too large.
            Busy: There is another one.
            StoreUnavailable: The store is unavailable.
        """
        if self._turn.locked():
            raise Busy("another replay is running; try again in a moment")
        async with self._turn:
            began_s = self.clock.monotonic()
            try:
                async with asyncio.timeout(self.limit_s):
                    code, said = await self._run(wanted)
            except TimeoutError:
                raise Refused(f"the replay takes longer than {self.limit_s:.0f} s; {_SMALLER}") from None
            finally:
                took_s = round(self.clock.monotonic() - began_s, 3)
                self.log.info("replay.ended", user=by.user, address=by.address, duration_s=took_s)
        return await _result(code, said, wanted)

    def values(self) -> Mapping[str, str]:
        """Return the value of each of `RULES` in the active config."""
        shown = self.config().public()
        return {key: str(shown[section][name]) for key in RULES for section, name in [key.split(".")]}

    async def close(self) -> None:
        """End the replay that runs."""
        if self._process is not None:
            await _end(self._process)

    async def _run(self, wanted: Wanted) -> tuple[int, bytes]:
        """Return the exit code of the command and what it wrote."""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # whatever lies in the daemon's folder is not the monitor
                *("-m", "monitor", *_arguments(wanted, self.config().file)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=_environment(self.store_url(), wanted.rules),
                start_new_session=True,
            )
        except OSError as exc:
            raise Refused(f"a replay cannot be started: {out_of_resources(exc) or exc.strerror}") from exc
        self._process = process
        try:
            _step_back(process.pid)
            return await _talk(process, wanted.config or b"")
        finally:
            self._process = None
            await _end(process)


def _arguments(wanted: Wanted, file: str | None) -> list[str]:
    """Return the command, given the file of the active config."""
    known = ["--config", file] if file is not None else []
    asked = ["replay", f"--since={rfc3339(wanted.since)}", "--format=json"]
    if wanted.connection is not None:
        asked.append(f"--connection={wanted.connection}")
    if wanted.config is not None:
        return [*asked, "--config", _PIPE]
    if wanted.rules:  # which are in the environment, as all the rest is without a file
        return [*asked, *(known or ["--config", _PIPE])]
    return [*known, *asked]


def _environment(store_url: str, rules: Mapping[str, str]) -> dict[str, str]:
    """Return this process' environment, with the daemon's own store, and with these rules."""
    given = {variable_name(tuple(key.split("."))): value for key, value in rules.items()}
    given[variable_name(("store", "url"))] = store_url
    dropped = {*given, variable_name(("store", "url_file"))}
    return {
        name: value for name, value in process_environment().items() if name.upper() not in dropped
    } | given


def _step_back(pid: int) -> None:
    """Let a process have what others leave, as far as that can be asked for."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, _LOWEST_PRIORITY)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")


async def _talk(process: asyncio.subprocess.Process, text: bytes) -> tuple[int, bytes]:
    """Give a process a text to read; return its exit code and what it writes.

    Raises:
        Refused: That is too much.
    """
    if process.stdin is None or process.stdout is None:
        raise TypeError("both are pipes")
    with contextlib.suppress(ConnectionError):
        process.stdin.write(text)
        await process.stdin.drain()
    process.stdin.close()
    said = bytearray()
    while piece := await process.stdout.read(2**16):
        said += piece
        if len(said) > _MOST_BYTES:
            raise Refused(f"there are too many alerts to show; {_SMALLER}")
    return await process.wait(), bytes(said)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _result(code: int, said: bytes, wanted: Wanted) -> Replayed:
    """Return what the command has written, or raise what its exit code means."""
    if code == 0:
        return await asyncio.to_thread(msgspec.json.decode, said, type=Replayed)
    if code == _NO_HISTORY:
        raise NoHistory("there is no history since then: the daemon records it with every sync")
    if code < 0:
        raise Refused(f"the system ended the replay, probably for lack of memory; {_SMALLER}")
    if code != _UNUSABLE:
        raise RuntimeError(f"the command replay ended with {code}; run by hand, it says why")
    if not said:
        raise StoreUnavailable("the replay could not read the store")
    problems = msgspec.json.decode(said, type=_Problems).problems
    if wanted.config is None and not wanted.rules:
        raise Refused("\n".join(["the config on disk cannot be used, and is needed to replay:", *problems]))
    raise ConfigError([_without_variables(problem, wanted.rules) for problem in problems])


def _without_variables(problem: str, rules: Mapping[str, str]) -> str:
    """Return a problem of a key without the variable that this process has put its value into."""
    for key in rules:
        problem = problem.replace(f" (from {variable_name(tuple(key.split('.')))})", "")
    return problem
