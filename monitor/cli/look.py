"""Looking at connections once, without a store: for `sync` and `check-config --probe`.

Nothing is remembered, so nothing is confirmed, held or alerted.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from monitor.cli.shell import Shell
from monitor.clock import Clock, SystemClock
from monitor.config import AccountConfig, Config, secrets_of
from monitor.daemon.watchlist import account_budgets, build_client, rules_of
from monitor.drift.rules import Rules
from monitor.errors import ConfigError, Outcome, OutOfResources, SyncError, unknown_name
from monitor.http.client import Network
from monitor.secret import Secret
from monitor.store.rows import first_action
from monitor.voicelink.budget import AccountBudget
from monitor.voicelink.client import SyncAnswer
from monitor.voicelink.connections import RemoteConnection
from monitor.voicelink.decode import decode_sync
from monitor.watch.discovery import Listed, discover


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
    """What one look at a connection found; `error` says why it found nothing.

    `outcome` is None where the provider was not asked: this process had no resources to.
    """

    connection: str
    account: str
    outcome: Outcome | None
    error: str | None
    duration_s: float
    numbers: int = 0
    drifting: tuple[Drifting, ...] = ()
    warnings: tuple[str, ...] = ()
    skipped: int = 0

    @property
    def checked(self) -> bool:
        """Whether there was a readable answer."""
        return self.outcome is not None and self.outcome.answered

    @property
    def alarming(self) -> int:
        """How many numbers drift and are not ignored."""
        return sum(1 for number in self.drifting if not number.ignored)


async def look_once(config: Config, network: Network, names: Collection[str], shell: Shell) -> list[Look]:
    """Look at the connections of these names, or all; show a progress bar meanwhile.

    Raises:
        ConfigError: A name is unknown.
        StartError: `api.ca_file` cannot be used.
    """
    clock = SystemClock()
    network.redactor.learn(secrets_of(config))
    transport, client = build_client(config, network, clock, random.Random())
    try:
        targets, failed = await find_targets(config, client, clock, names)
        with shell.terminal.progress("checking", len(targets)) as advance:
            at_once = config.schedule.max_concurrent_syncs
            looks = await look_at_all(
                targets, client, clock, at_once=at_once, on_done=lambda _look: advance(1)
            )
        return [*looks, *failed]
    finally:
        await transport.aclose()


async def find_targets(
    config: Config, client: LookClient, clock: Clock, names: Collection[str] = ()
) -> tuple[list[LookTarget], list[Look]]:
    """Return the connections to look at, and a failed look for each account that could not be listed.

    The provider is asked for its list only if `names` are not all configured.

    Raises:
        ConfigError: No connection has one of these names.
    """
    budgets = account_budgets(config, clock, lambda _account, _seconds: None, kept={})

    def target(account: AccountConfig, name: str, connection_id: str | None) -> LookTarget:
        return LookTarget(
            name=name,
            account=account.name,
            connection_id=connection_id,
            key=account.secret,
            budget=budgets[account.name],
            rules=rules_of(config, name),
        )

    targets = [
        target(account, each.name, each.id) for account in config.accounts for each in account.connections
    ]
    failed: list[Look] = []
    if not names or not set(names) <= {each.name for each in targets}:
        for account in config.accounts:
            if not account.discover:
                continue
            try:
                listed = await client.list_connections(
                    key=account.secret.reveal(), budget=budgets[account.name]
                )
            except (SyncError, OutOfResources) as exc:
                failed.append(_failed(f"({account.name}: list of connections)", account.name, exc, 0.0))
                continue
            known = {each.connection_id for each in targets}
            fresh = [
                Listed(id=each.id, name=each.name) for each in listed if each.active and each.id not in known
            ]
            found = discover((), fresh, taken={each.name for each in targets}, now=clock.now())
            targets += [
                target(account, each.name, each.id) for each in sorted(found, key=lambda each: each.name)
            ]
    if not names:
        return targets, failed
    known_names = {each.name for each in targets}
    if unknown := [name for name in names if name not in known_names]:
        problems = [unknown_name("connection", name, known_names) for name in unknown]
        raise ConfigError(problems + [f"{look.connection} {look.error}" for look in failed])
    return [each for each in targets if each.name in names], []


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
        at_once: How many at once, at most.
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
    except (SyncError, OutOfResources) as exc:
        return _failed(target.name, target.account, exc, clock.monotonic() - started_s)
    now = clock.now()
    drifting = [
        Drifting(
            key=number.key,
            phone_number=number.phone_number,
            state=number.state,
            issues=number.issues,
            action=first_action(number),
            did_id=number.did_id,
            client_id=number.dependencies.client_id,
            ignored=target.rules.audible_issues(number, now) is None,
        )
        for number in sorted(snapshot.numbers.values(), key=lambda number: number.key)
        if number.drifting
    ]
    return Look(
        connection=target.name,
        account=target.account,
        outcome=Outcome.OK,
        error=None,
        duration_s=answer.duration_s,
        numbers=len(snapshot.numbers),
        drifting=tuple(drifting),
        warnings=snapshot.warnings,
        skipped=snapshot.skipped,
    )


def _failed(name: str, account: str, exc: SyncError | OutOfResources, duration_s: float) -> Look:
    outcome = exc.outcome if isinstance(exc, SyncError) else None
    return Look(connection=name, account=account, outcome=outcome, error=str(exc), duration_s=duration_s)
