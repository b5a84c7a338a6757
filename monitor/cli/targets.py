"""The connections that a config means, ready to be looked at once."""

import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from monitor.cli.look import Look, LookTarget, discover, look_at_all
from monitor.clock import Clock
from monitor.config import AccountConfig, Config
from monitor.daemon.build import account_budgets, build_client, rules_of
from monitor.errors import ConfigError, SyncError, nearest
from monitor.voicelink.budget import AccountBudget
from monitor.voicelink.client import VoiceLinkClient
from monitor.watch.discovery import Listed
from monitor.watch.discovery import discover as named


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The connections to look at, and the accounts whose connections could not be listed."""

    targets: list[LookTarget]
    failed: list[Look]


class Looker:
    """Looks at the connections of a config.

    Args:
        config: Says which there are.
        client: Asks the provider.
        clock: The time.
    """

    def __init__(self, config: Config, client: VoiceLinkClient, clock: Clock) -> None:
        self._config = config
        self._client = client
        self._clock = clock
        self._budgets = account_budgets(config, clock, lambda _account, _seconds: None, kept={})

    async def find(self, names: Collection[str] = ()) -> Found:
        """Return the connections of these names, or all of them; ask the provider only where it must be.

        Raises:
            ConfigError: There is none of such a name.
        """
        found = Found(targets=list(self._configured()), failed=[])
        if not names or not set(names) <= {target.name for target in found.targets}:
            for account in self._config.accounts:
                if account.discover:
                    await self._add_discovered(account, found)
        return _only(names, found) if names else found

    async def look(self, targets: Sequence[LookTarget], on_done: Callable[[Look], None]) -> list[Look]:
        """Look at all of them, as many at once as the config allows."""
        return await look_at_all(
            targets,
            self._client,
            self._clock,
            at_once=self._config.schedule.max_concurrent_syncs,
            on_done=on_done,
        )

    def _configured(self) -> Iterable[LookTarget]:
        for account in self._config.accounts:
            for connection in account.connections:
                yield self._target(account, connection.name, connection.id)

    def _target(self, account: AccountConfig, name: str, connection_id: str | None) -> LookTarget:
        return LookTarget(
            name=name,
            account=account.name,
            connection_id=connection_id,
            key=account.secret,
            budget=self._budgets[account.name],
            rules=rules_of(self._config, name),
        )

    async def _add_discovered(self, account: AccountConfig, found: Found) -> None:
        try:
            listed = await discover(self._client, account.secret, self._budget(account))
        except SyncError as exc:
            failed = Look(
                connection=f"({account.name}: list of connections)",
                account=account.name,
                outcome=exc.outcome,
                error=str(exc),
                duration_s=0.0,
            )
            found.failed.append(failed)
            return
        known = {target.connection_id for target in found.targets}
        fresh = [Listed(id=remote.id, name=remote.name) for remote in listed if remote.id not in known]
        taken = {target.name for target in found.targets}
        fit = named((), fresh, taken=taken, now=self._clock.now())
        for connection in sorted(fit, key=lambda each: each.name):
            found.targets.append(self._target(account, connection.name, connection.id))

    def _budget(self, account: AccountConfig) -> AccountBudget:
        return self._budgets[account.name]


@asynccontextmanager
async def looker(config: Config, clock: Clock) -> AsyncIterator[Looker]:
    """Give a `Looker` whose connections are closed afterwards."""
    http, client = build_client(config, clock, random.Random())
    try:
        yield Looker(config, client, clock)
    finally:
        await http.aclose()


def unknown_connection(name: str, known: Iterable[str]) -> str:
    """Return what to tell somebody who named a connection that is not there."""
    names = sorted(known)
    close = nearest(name, names)
    hint = f"did you mean {close}?" if close else f"there are {', '.join(names) or 'none'}"
    return f"no connection is called {name}; {hint}"


def _only(names: Collection[str], found: Found) -> Found:
    known = [target.name for target in found.targets]
    problems = [unknown_connection(name, known) for name in names if name not in known]
    if problems:
        raise ConfigError(problems + [f"{look.connection} {look.error}" for look in found.failed])
    return Found(targets=[target for target in found.targets if target.name in names], failed=[])
