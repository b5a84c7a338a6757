"""What no key can know alone: unique names, ids and keys; budgets; what is valid but probably not meant.

These run on what could be read even if the rest could not, so that a user sees all problems at once.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from monitor.config.exposure import exposures
from monitor.config.keys import Path, dotted
from monitor.config.lists import AccountConfig
from monitor.config.receivers import AlertmanagerConfig, ReceiverConfig
from monitor.config.settings import Config, ScheduleConfig, WebConfig
from monitor.cron import gaps, means_either_day

_HIGHEST_COST = 14
"""Of a bcrypt hash that is checked within about a second; each further one takes twice as long."""

NO_ACCOUNT = "no account: add [[accounts]] to the config file, or set VOICELINK_API_KEY"


def unique_problems(
    raw: Mapping[str, Any], accounts: Mapping[int, AccountConfig]
) -> Iterator[tuple[Path, str]]:
    """Yield the names, ids and keys that stand twice.

    Args:
        raw: The config as it was given.
        accounts: Those accounts that could be read, by their place.
    """
    yield from _twice(_names(raw, "accounts"), "account names must be unique")
    yield from _twice(_connection_names(raw), "connection names must be unique among all accounts")
    ids = (
        (("accounts", place, "connections", index, "id"), connection.id)
        for place, account in accounts.items()
        for index, connection in enumerate(account.connections)
        if connection.id is not None
    )
    yield from _twice(ids, "connection ids must be unique among all accounts")
    keys = ((("accounts", place, "api_key"), account.secret.reveal()) for place, account in accounts.items())
    yield from _twice(keys, "put all connections of a key into one account")
    yield from _twice(_names(raw, "receivers"), "receiver names must be unique")


def _twice(found: Iterable[tuple[Path, str]], rule: str) -> Iterator[tuple[Path, str]]:
    first: dict[str, Path] = {}
    for path, value in found:
        if value in first:
            yield path, f"the same as {dotted(first[value])}; {rule}"
        first.setdefault(value, path)


def _rows(raw: Mapping[str, Any], key: str) -> list[tuple[int, Mapping[str, Any]]]:
    rows = raw.get(key)
    rows = rows if isinstance(rows, list) else []
    return [(place, row) for place, row in enumerate(rows) if isinstance(row, Mapping)]


def _names(raw: Mapping[str, Any], key: str) -> Iterator[tuple[Path, str]]:
    for place, row in _rows(raw, key):
        if isinstance(row.get("name"), str):
            yield (key, place, "name"), row["name"]


def _connection_names(raw: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    implicit: dict[str, Path] = {}
    for place, account in _rows(raw, "accounts"):
        if not account.get("connections") and not account.get("discover"):
            # Two such accounts of one name are told about already, as accounts.
            if isinstance(account.get("name"), str):
                implicit.setdefault(account["name"], ("accounts", place, "name"))
            continue
        for path, name in _names(account, "connections"):
            yield ("accounts", place, *path), name
    yield from ((path, name) for name, path in implicit.items())


def requests_per_minute(gaps: Sequence[timedelta]) -> float:
    """Return how many requests a minute connections need that are synced at these intervals."""
    return sum(timedelta(minutes=1) / gap for gap in gaps)


def budget_problem(account: str, gaps: Sequence[timedelta], budget: int) -> str | None:
    """Return what is wrong if an account's connections need more requests than it has, else None.

    Args:
        account: Its name.
        gaps: For each connection, the shortest time between two of its syncs.
        budget: Requests a minute.
    """
    needed = requests_per_minute(gaps)
    # Sums of thirds and tenths may miss a whole number by a hair.
    if needed <= budget + 1e-6:
        return None
    count = "1 connection" if len(gaps) == 1 else f"{len(gaps)} connections"
    pace = f" every {gaps[0].total_seconds():g}s" if len(set(gaps)) == 1 else ""
    verb = "needs" if len(gaps) == 1 else "need"
    return (
        f"account {account}: {count}{pace} {verb} {math.ceil(needed * 10 - 1e-6) / 10:g} requests a minute, "
        f"its budget is {budget}: raise requests_per_minute or the interval"
    )


def budget_problems(
    accounts: Iterable[AccountConfig], schedule: ScheduleConfig, now: datetime
) -> Iterator[str]:
    """Yield the accounts whose connections need more requests a minute than they may send."""
    known: dict[object, timedelta] = {}
    for account in accounts:
        gaps = []
        for connection in account.connections:
            timing = schedule.timing(connection)
            if timing not in known:
                known[timing] = timing.gaps(now)[0]
            gaps.append(known[timing])
        problem = budget_problem(account.name, gaps, account.requests_per_minute)
        if problem is not None:
            yield problem


def questions(config: Config, now: datetime) -> Iterator[str]:
    """Yield what is valid but probably not meant."""
    for place, rule in enumerate(config.ignore):
        if rule.until is not None and rule.until <= now:
            yield f"ignore[{place}]: `until` has passed, so the rule has no effect: remove it"
    for place, window in enumerate(config.maintenance):
        if window.end is not None and window.end <= now:
            yield f"maintenance[{place}]: the window has ended, so it has no effect: remove it"
        if window.cron and window.duration and gaps(window.cron, window.timezone, now)[1] <= window.duration:
            yield (
                f"maintenance[{place}].duration: each window opens before the last one has closed, so that "
                "nothing it is for ever alerts: make it shorter"
            )
    yield from _either_day_crons(config)
    for place, receiver in enumerate(config.receivers):
        yield from _whole_addresses(("receivers", place), receiver)
    yield from exposures(config)
    if not any(account.discover for account in config.accounts):
        yield from _vain_globs(config)
    yield from _logins(config.web)


def _either_day_crons(config: Config) -> Iterator[str]:
    crons: list[tuple[Path, str | None]] = [(("schedule", "cron"), config.schedule.cron)]
    crons += [(("maintenance", place, "cron"), row.cron) for place, row in enumerate(config.maintenance)]
    crons += [
        (("accounts", place, "connections", index, "cron"), connection.cron)
        for place, account in enumerate(config.accounts)
        for index, connection in enumerate(account.connections)
    ]
    for path, cron in crons:
        if cron is not None and means_either_day(cron):
            yield (
                f"{dotted(path)}: it restricts both day of month and weekday, so it fires on days that match "
                "either one, as in crontab: write * for one of the two to restrict by the other alone"
            )


def _logins(web: WebConfig) -> Iterator[str]:
    users = web.basic_auth_users
    if users and not any(fnmatchcase(user, glob) for user in users for glob in web.operators):
        yield "web.operators: it matches no user of web.basic_auth_users, so no one can act"
    for user, kept in users.items():
        if int(kept.reveal()[4:6]) > _HIGHEST_COST:
            yield (
                f"{dotted(('web', 'basic_auth_users', user))}: at this cost a login takes seconds, for "
                "every user: use a cost of 10 to 12, as in `htpasswd -nBC 10 NAME`"
            )


def _whole_addresses(path: Path, receiver: ReceiverConfig) -> Iterator[str]:
    if not isinstance(receiver, AlertmanagerConfig):
        return
    for place, url in enumerate(receiver.urls):
        if (found := re.search(r"/api/v[0-9]+(/alerts)?$", url.url)) is not None:
            yield (
                f"{dotted((*path, 'urls', place))}: leave out {found[0]}: the monitor adds /api/v2/alerts to "
                "this URL"
            )


def _vain_globs(config: Config) -> Iterator[str]:
    names = [connection.name for account in config.accounts for connection in account.connections]
    globs: list[tuple[Path, Sequence[str]]] = [
        (("ignore", place, "connection"), (rule.connection,))
        for place, rule in enumerate(config.ignore)
        if rule.connection is not None
    ]
    for key, rows in (("maintenance", config.maintenance), ("receivers", config.receivers)):
        globs += [((key, place, "connections"), row.connections) for place, row in enumerate(rows)]
    for path, patterns in globs:
        if not any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
            yield f"{dotted(path)}: no connection name matches this glob"
