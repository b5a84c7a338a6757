"""Looking at connections once, without a store: for the commands `sync` and `check-config --probe`.

Plain values in and out: nothing is remembered, so nothing is confirmed, held or alerted.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from monitor.clock import Clock
from monitor.drift.rules import Rules
from monitor.drift.snapshot import Number, Snapshot
from monitor.errors import Outcome, SyncError
from monitor.secret import Secret
from monitor.store.rows import first_action
from monitor.voicelink.budget import AccountBudget
from monitor.voicelink.client import SyncAnswer
from monitor.voicelink.connections import RemoteConnection
from monitor.voicelink.decode import decode_sync


class LookClient(Protocol):
    """What a look needs of the provider's client."""

    async def sync(self, *, key: str, connection_id: str | None, budget: AccountBudget) -> SyncAnswer:
        """Return the provider's answer about one connection."""
        ...

    async def list_connections(self, *, key: str, budget: AccountBudget) -> list[RemoteConnection]:
        """Return the VoiceLink connections of a key."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LookTarget:
    """One connection to look at. `rules` say which numbers are ignored."""

    name: str
    account: str
    connection_id: str | None
    key: Secret
    budget: AccountBudget
    rules: Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifting:
    """A number that is not ready. `action` is the first thing to do, in the provider's words."""

    key: str
    phone_number: str
    state: str
    issues: tuple[str, ...]
    action: str | None
    did_id: int | str | None
    client_id: int | str | None
    ignored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at a connection found; `error` says why it found nothing."""

    connection: str
    account: str
    outcome: Outcome
    error: str | None
    duration_s: float
    numbers: int = 0
    drifting: tuple[Drifting, ...] = ()
    warnings: tuple[str, ...] = ()
    skipped: int = 0

    @property
    def checked(self) -> bool:
        """Whether there was a readable answer."""
        return self.outcome.answered

    @property
    def alarming(self) -> int:
        """How many numbers drift and are not ignored."""
        return sum(1 for number in self.drifting if not number.ignored)


async def look_at_all(
    targets: Iterable[LookTarget],
    client: LookClient,
    clock: Clock,
    *,
    at_once: int,
    on_done: Callable[[Look], None] = lambda _: None,
) -> list[Look]:
    """Look at every target once; return what was found, in the order of the targets.

    Args:
        targets: The connections.
        client: Asks the provider.
        clock: Measures how long it takes, and says which rules hold.
        at_once: How many at once, at the most.
        on_done: Called after each.
    """
    turns = asyncio.Semaphore(at_once)

    async def one(target: LookTarget) -> Look:
        async with turns:
            found = await look(target, client, clock)
        on_done(found)
        return found

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(target)) for target in targets]
    return [task.result() for task in tasks]


async def look(target: LookTarget, client: LookClient, clock: Clock) -> Look:
    """Look at one connection once; a failure is part of what was found."""
    started_s = clock.monotonic()
    try:
        answer = await client.sync(
            key=target.key.reveal(), connection_id=target.connection_id, budget=target.budget
        )
        snapshot = await decode_sync(answer.body)
    except SyncError as exc:
        return Look(
            connection=target.name,
            account=target.account,
            outcome=exc.outcome,
            error=str(exc),
            duration_s=clock.monotonic() - started_s,
        )
    return Look(
        connection=target.name,
        account=target.account,
        outcome=Outcome.OK,
        error=None,
        duration_s=answer.duration_s,
        numbers=len(snapshot.numbers),
        drifting=tuple(_drifting(snapshot, target.rules, clock.now())),
        warnings=snapshot.warnings,
        skipped=snapshot.skipped,
    )


async def discover(
    client: LookClient,
    key: Secret,
    budget: AccountBudget,
) -> Sequence[RemoteConnection]:
    """Return the active VoiceLink connections of a key.

    Raises:
        SyncError: They cannot be listed.
    """
    listed = await client.list_connections(key=key.reveal(), budget=budget)
    return [remote for remote in listed if remote.active]


def _drifting(snapshot: Snapshot, rules: Rules, now: datetime) -> list[Drifting]:
    numbers = sorted(snapshot.numbers.values(), key=lambda number: number.key)
    return [_row(number, rules, now) for number in numbers if number.drifting]


def _row(number: Number, rules: Rules, now: datetime) -> Drifting:
    return Drifting(
        key=number.key,
        phone_number=number.phone_number,
        state=number.state,
        issues=number.issues,
        action=first_action(number),
        did_id=number.did_id,
        client_id=number.dependencies.client_id,
        ignored=rules.audible_issues(number, now) is None,
    )
