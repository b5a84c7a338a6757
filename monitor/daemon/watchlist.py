"""From the config to the watchlist: connections with their times and rules, and the receivers' routes.

A new rule is one argument in `general_rules`; receivers are built in `receivers.py`.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
import msgspec
import xxhash
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger

from monitor.clock import Clock
from monitor.config import (
    AccountConfig,
    AlertmanagerConfig,
    Config,
    ConnectionConfig,
    ReceiverConfig,
    Timing,
    requests_per_minute,
)
from monitor.cron import parse_cron
from monitor.drift.alert import Kind, Severity
from monitor.drift.failures import FailureRules
from monitor.drift.plausibility import Guard
from monitor.drift.rules import Ignore, Rules, Severities
from monitor.drift.text import Wording
from monitor.drift.widespread import Spread
from monitor.http.client import Network
from monitor.notify.routing import Route
from monitor.store.connections import ConnectionName
from monitor.voicelink.budget import AccountBudget, SharedSlots
from monitor.voicelink.client import VoiceLinkClient
from monitor.watch.connection import Connection, stable_hash
from monitor.watch.discovery import Discovered, stretched
from monitor.watch.maintenance import Window
from monitor.watch.watchlist import Watchlist

_PHASES = 1000
"""Regular syncs of connections with one interval are spread over this many instants of it."""
_LONGEST_HOLD = timedelta(minutes=5)
"""An implausible answer is held for at least an interval, but no longer than this."""


def account_budgets(
    config: Config,
    clock: Clock,
    on_wait: Callable[[str, float], None],
    *,
    kept: Mapping[str, AccountBudget],
    shared: Callable[[str], SharedSlots] | None = None,
) -> dict[str, AccountBudget]:
    """Return each account's budget; one that goes on keeps its pace and its pauses.

    Args:
        config: Names the accounts.
        clock: The time.
        on_wait: Told the account and the seconds that a request waited.
        kept: The former ones.
        shared: Gives the slots that an account's budget shares with other processes.
    """
    budgets: dict[str, AccountBudget] = {}
    for account in config.accounts:
        name, rate = account.name, account.requests_per_minute
        old = kept.get(name)
        if old is not None and old.requests_per_minute == rate:
            budgets[name] = old
        else:
            budgets[name] = AccountBudget(
                requests_per_minute=rate,
                clock=clock,
                on_wait=partial(on_wait, name),
                shared=shared(name) if shared is not None else None,
            )
    return budgets


def build_client(
    config: Config,
    network: Network,
    clock: Clock,
    rng: random.Random,
) -> tuple[httpx.AsyncBaseTransport, VoiceLinkClient]:
    """Return the client of the provider's API, and the transport below it, which must be closed."""
    limit = config.schedule.max_concurrent_syncs
    transport = network.transport(ca_file=config.api.ca_file, max_connections=limit)
    client = VoiceLinkClient(
        transport=transport,
        base_url=config.api.base_url,
        timeout_s=config.api.timeout.total_seconds(),
        max_response_bytes=config.api.max_response_size,
        max_concurrent=limit,
        clock=clock,
        redactor=network.redactor,
        rng=rng,
    )
    return transport, client


def build_watchlist(
    config: Config,
    *,
    client: VoiceLinkClient,
    budgets: Mapping[str, AccountBudget],
    discovered: Mapping[str, Sequence[Discovered]],
    now: datetime,
) -> Watchlist:
    """Return what the config and discovery say is watched, and which receivers get messages.

    Args:
        config: The config.
        client: Asks the provider.
        budgets: By account.
        discovered: By account, the connections that are watched without being configured.
        now: The instant from which the gaps of crons are measured.
    """
    windows, general = windows_of(config), general_rules(config)
    connections = [
        _connection(config, general, account, connection, timing, budgets[account.name], windows, now)
        for account in config.accounts
        for connection, timing in _timings(config, account, discovered.get(account.name, ()), now)
    ]
    return Watchlist(
        connections={connection.identity: connection for connection in connections},
        client=client,
        failure_rules=failure_rules_of(config),
        wording=wording_of(config),
        routes=routes_of(config.receivers),
        spread=Spread(
            connections=config.alerts.widespread_connections,
            update_interval=config.alerts.update_interval,
            wording=wording_of(config),
        ),
        repeats=repeat_intervals(config),
        discovering=frozenset(account.name for account in config.accounts if account.discover),
    )


def _timings(
    config: Config, account: AccountConfig, discovered: Sequence[Discovered], now: datetime
) -> list[tuple[ConnectionConfig, Timing]]:
    """Return the account's connections with their times; discovered ones share what is left of the budget."""
    explicit = [(connection, config.schedule.timing(connection)) for connection in account.connections]
    # Not validated: what the provider lists is taken as it is, and `discover` made the names fit.
    found = [
        ConnectionConfig.model_construct(name=one.name, id=one.id, interval=None, cron=None).of_account(
            account.name
        )
        for one in discovered
    ]
    if not found:
        return explicit
    needed = requests_per_minute([timing.gaps(now)[0] for _, timing in explicit])
    regular = config.schedule.timing(found[0])
    shortest = regular.gaps(now)[0]
    interval = stretched(shortest, len(found), account.requests_per_minute - needed)
    timing = regular if interval == shortest else Timing(interval=interval, timezone=regular.timezone)
    return [*explicit, *((connection, timing) for connection in found)]


def _connection(
    config: Config,
    general: Rules,
    account: AccountConfig,
    connection: ConnectionConfig,
    timing: Timing,
    budget: AccountBudget,
    windows: Sequence[Window],
    now: datetime,
) -> Connection:
    shortest, longest = timing.gaps(now)
    rules = general.of(connection.name)
    guard = guard_of(config, shortest)
    covering = tuple(window for window in windows if window.covers(connection.name))
    return Connection(
        names=ConnectionName(identity=connection.identity, name=connection.name, account=account.name),
        connection_id=connection.id,
        key=account.secret,
        budget=budget,
        trigger=_trigger(timing, connection.identity),
        interval=shortest,
        longest_interval=longest,
        recheck_interval=min(config.schedule.recheck_interval, shortest),
        stale_after=config.drift.stale_after_for(longest),
        base_rules=rules,
        guard=guard,
        windows=covering,
        rules_digest=xxhash.xxh3_64_hexdigest(
            msgspec.json.encode((rules, guard, covering), enc_hook=str, order="deterministic")
        ),
    )


def _trigger(timing: Timing, identity: str) -> BaseTrigger:
    if timing.cron is not None:
        return parse_cron(timing.cron, timing.timezone)
    phase = timing.interval * (stable_hash(identity) % _PHASES) / _PHASES
    return IntervalTrigger(
        seconds=timing.interval.total_seconds(),
        start_date=datetime(2020, 1, 1, tzinfo=UTC) + phase,
        timezone=UTC,
    )


def windows_of(config: Config) -> list[Window]:
    """Return the maintenance windows of all connections."""
    return [
        Window(
            connections=window.connections,
            cron=parse_cron(window.cron, window.timezone) if window.cron else None,
            duration=window.duration or timedelta(),
            start=window.start,
            end=window.end,
        )
        for window in config.maintenance
    ]


def guard_of(config: Config, interval: timedelta) -> Guard:
    """Return how much of a connection with this interval may change in one step."""
    return Guard(
        ratio=config.guard.ratio,
        min_numbers=config.guard.min_numbers,
        confirm_syncs=config.guard.confirm_syncs,
        min_hold=min(interval, _LONGEST_HOLD),
    )


def failure_rules_of(config: Config) -> FailureRules:
    """Return the rules for failures."""
    return FailureRules(
        failing_after=config.drift.failing_after,
        resolve_syncs=config.drift.resolve_syncs,
        keep_firing_for=config.drift.keep_firing_for,
        update_interval=config.alerts.update_interval,
        severities=_severities(config),
    )


def rules_of(config: Config, connection: str) -> Rules:
    """Return the rules of the connection of this name, maintenance aside."""
    return general_rules(config).of(connection)


def general_rules(config: Config) -> Rules:
    """Return the rules of all connections, maintenance aside."""
    alerting = {Kind.DRIFT}
    if config.drift.removed == "alert":
        alerting.add(Kind.NUMBER_REMOVED)
    if config.drift.reconfigured != "record":
        alerting.add(Kind.RECONFIGURED)
    return Rules(
        confirm_syncs=config.drift.confirm_syncs,
        resolve_syncs=config.drift.resolve_syncs,
        keep_firing_for=config.drift.keep_firing_for,
        update_interval=config.alerts.update_interval,
        alerting=frozenset(alerting),
        any_reconfiguration=config.drift.reconfigured == "alert",
        ignores=ignores_of(config),
        severities=_severities(config),
    )


def ignores_of(config: Config) -> tuple[Ignore, ...]:
    """Return the ignore rules of all connections."""
    return tuple(
        Ignore(
            connection=rule.connection or "*",
            number=rule.number or "*",
            issue=rule.issue,
            state=rule.state,
            until=rule.until,
            reason=rule.reason,
        )
        for rule in config.ignore
    )


def _severities(config: Config) -> Severities:
    codes = {code: Severity(word) for code, word in config.severity.codes.items()}
    return Severities.of(codes, Severity(config.severity.default))


def routes_of(receivers: Sequence[ReceiverConfig]) -> tuple[Route, ...]:
    """Return who gets messages: all but Alertmanagers, which hear of every episode by themselves."""
    configured = [
        route_of(receiver) for receiver in receivers if not isinstance(receiver, AlertmanagerConfig)
    ]
    return (Route(receiver="log"), *configured)


def route_of(receiver: ReceiverConfig) -> Route:
    """Return a receiver's filters."""
    return Route(
        receiver=receiver.name,
        min_severity=Severity(receiver.min_severity),
        connections=receiver.connections,
        send_resolved=receiver.send_resolved,
    )


def wording_of(config: Config) -> Wording:
    """Return what the config adds to every alert: without another place for runbooks, the monitor's own."""
    external_url = _without_slash(config.alerts.external_url)
    own_runbooks = f"{external_url}/runbooks" if external_url else None
    return Wording(
        instance=config.instance,
        external_url=external_url,
        runbook_base_url=_without_slash(config.alerts.runbook_base_url) or own_runbooks,
        labels=config.alerts.labels,
        max_listed_numbers=config.alerts.max_listed_numbers,
    )


def repeat_intervals(config: Config) -> dict[str, timedelta]:
    """Return how often each receiver wants to be reminded of what still fires."""
    return {
        receiver.name: receiver.repeat_interval
        for receiver in config.receivers
        if receiver.repeat_interval is not None
    }


def _without_slash(url: str | None) -> str | None:
    return url.rstrip("/") if url else None
