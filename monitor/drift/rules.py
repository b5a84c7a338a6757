"""Holds the rules of one connection as values: confirmation, ignore rules and silences, severity."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from monitor.drift.alert import Kind, Severity
from monitor.drift.snapshot import Dependencies, Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignore:
    """One `[[ignore]]` rule; `connection` and `number` are globs.

    `until` is the first instant at which the rule no longer holds. Without issue and state it silences the
    whole number; with an issue it takes that issue off the number's list.
    """

    connection: str = "*"
    number: str = "*"
    issue: str | None = None
    state: str | None = None
    until: datetime | None = None
    reason: str = ""

    def applies_to(self, connection: str) -> bool:
        """Whether it is about a connection of this name."""
        return fnmatchcase(connection, self.connection)

    def covers(self, number: Number, now: datetime) -> bool:
        """Whether the rule holds now and names this number of its connections, in this state."""
        if self.until is not None and now >= self.until:
            return False
        if self.state is not None and self.state.casefold() != number.state.casefold():
            return False
        return is_number(self.number, number.phone_number, number.key)


def is_number(glob: str, phone_number: str, key: str) -> bool:
    """Whether a glob matches a number: as the provider writes it, or its digits, with or without `+`."""
    return any(fnmatchcase(each, glob) for each in (phone_number, key, f"+{key}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence(Ignore):
    """An ignore rule that a person added while the monitor runs, and that has an end.

    `keys` are the numbers of a connection that it is about, None for any; it holds them by their key, so that
    it follows them when the connection is renamed. `until_ready`: a number leaves `keys` when it is ready.
    """

    id: str
    keys: frozenset[str] | None = None
    until_ready: bool = False
    by: str | None = None

    def covers(self, number: Number, now: datetime) -> bool:
        """Whether the silence holds now and names this number, in this state."""
        return (self.keys is None or number.key in self.keys) and Ignore.covers(self, number, now)


_KIND_SEVERITY = {
    Kind.NUMBER_REMOVED: Severity.WARNING,
    Kind.RECONFIGURED: Severity.WARNING,
    Kind.API_UNAVAILABLE: Severity.CRITICAL,
    Kind.ACCOUNT_REJECTED: Severity.CRITICAL,
    Kind.CONNECTION_REJECTED: Severity.CRITICAL,
    Kind.ANSWER_UNREADABLE: Severity.CRITICAL,
    Kind.SYNC_STALE: Severity.CRITICAL,
    Kind.RECEIVER_FAILING: Severity.CRITICAL,
    Kind.TEST: Severity.INFO,
}
"""A monitor that sees nothing, or cannot notify, is as bad as the worst that it may be missing."""


@dataclass(frozen=True, slots=True)
class Severities:
    """Severity by state or issue code, or by alert kind; names are compared case-folded."""

    by_code: dict[str, Severity] = field(default_factory=dict)
    default: Severity = Severity.WARNING

    @classmethod
    def of(cls, by_code: dict[str, Severity], default: Severity) -> "Severities":
        """Build from names in any case."""
        return cls({code.casefold(): severity for code, severity in by_code.items()}, default)

    def number(self, state: str, issues: tuple[str, ...]) -> Severity:
        """Return the worst of a state and its unignored issues."""
        known = [self.by_code.get(code.casefold(), self.default) for code in (state, *issues)]
        return max(known, key=lambda severity: severity.rank)

    def kind(self, kind: Kind) -> Severity:
        """Return the severity of an alert that is not about a state."""
        return self.by_code.get(kind.value, _KIND_SEVERITY.get(kind, self.default))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Everything that policy needs to know about one connection, apart from its records.

    `any_reconfiguration`: a ready number that depends on something else is a problem, not only one that lost
    something. `ignores` are of the config, `silences` of people: a step reads those from the store. `muted`:
    a maintenance window is open. `changes_at`: the next instant at which one opens or ends.
    """

    confirm_syncs: int = 2
    resolve_syncs: int = 2
    keep_firing_for: timedelta = timedelta(minutes=5)
    removed_after: timedelta = timedelta(hours=24)
    update_interval: timedelta = timedelta(minutes=5)
    alerting: frozenset[Kind] = frozenset({Kind.DRIFT, Kind.NUMBER_REMOVED, Kind.RECONFIGURED})
    any_reconfiguration: bool = False
    ignores: tuple[Ignore, ...] = ()
    silences: tuple[Silence, ...] = ()
    severities: Severities = field(default_factory=Severities)
    muted: bool = False
    changes_at: datetime | None = None

    @property
    def quieting(self) -> tuple[Ignore, ...]:
        """All that keeps numbers quiet: the rules of the config, then the silences."""
        return (*self.ignores, *self.silences)

    def of(self, connection: str) -> "Rules":
        """Return these rules with the ignore rules that are about a connection of this name."""
        ignores = tuple(rule for rule in self.ignores if rule.applies_to(connection))
        return replace(self, ignores=ignores) if ignores != self.ignores else self

    def with_silences(self, silences: tuple[Silence, ...]) -> "Rules":
        """Return these rules with the silences that are active now."""
        return replace(self, silences=silences) if silences != self.silences else self

    def audible_issues(self, number: Number, now: datetime) -> tuple[str, ...] | None:
        """Return the issues that no rule or silence covers; None if the number is silent.

        A drifting number without issues counts as having its state as its issue.
        """
        covering = [rule for rule in self.quieting if rule.covers(number, now)]
        if any(rule.issue is None for rule in covering):
            return None
        taken = {rule.issue.casefold() for rule in covering if rule.issue is not None}
        issues = number.issues or (number.state,)
        left = tuple(issue for issue in issues if issue.casefold() not in taken)
        return left or None

    def silent_when_gone(self, number: Number, now: datetime) -> bool:
        """Whether a rule or silence covers the whole number, its removal included."""
        return any(rule.issue is None and rule.covers(number, now) for rule in self.quieting)

    def reconfigured(self, before: Dependencies, after: Dependencies) -> bool:
        """Whether a ready number that depends on other things than before is a problem."""
        return bool(after.differing(before) if self.any_reconfiguration else after.lost(before))

    def names(self, code: str) -> bool:
        """Whether a severity, an ignore rule or a silence names this state or issue."""
        folded = code.casefold()
        ignored = (name for rule in self.quieting for name in (rule.state, rule.issue) if name)
        return folded in self.severities.by_code or any(folded == name.casefold() for name in ignored)

    def wakes_at(self, now: datetime) -> datetime | None:
        """Return the next instant at which a rule starts or stops applying."""
        instants = [rule.until for rule in self.quieting if rule.until is not None and rule.until > now]
        if self.changes_at is not None:
            instants.append(self.changes_at)
        return min(instants, default=None)
