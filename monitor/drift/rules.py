"""Holds the rules of one connection as values: confirmation, silence, severity."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from monitor.drift.alert import Kind, Severity
from monitor.drift.snapshot import Dependencies, Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignore:
    """One `[[ignore]]` rule of this connection (its connection pattern matched already).

    `until` is the first instant at which the rule no longer holds. Without issue and state it silences the
    whole number; with an issue it takes that issue off the number's list.
    """

    number: str = "*"
    issue: str | None = None
    state: str | None = None
    until: datetime | None = None
    reason: str = ""

    def covers(self, number: Number, now: datetime) -> bool:
        """Whether the rule holds now and names this number, in this state."""
        if self.until is not None and now >= self.until:
            return False
        if self.state is not None and self.state.casefold() != number.state.casefold():
            return False
        return fnmatchcase(number.phone_number, self.number) or fnmatchcase(number.key, self.number)


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
    something. `muted`: a maintenance window is open. `changes_at`: the next instant at which one opens or
    ends.
    """

    confirm_syncs: int = 2
    resolve_syncs: int = 2
    keep_firing_for: timedelta = timedelta(minutes=5)
    removed_after: timedelta = timedelta(hours=24)
    update_interval: timedelta = timedelta(minutes=5)
    alerting: frozenset[Kind] = frozenset({Kind.DRIFT, Kind.NUMBER_REMOVED, Kind.RECONFIGURED})
    any_reconfiguration: bool = False
    ignores: tuple[Ignore, ...] = ()
    severities: Severities = field(default_factory=Severities)
    muted: bool = False
    changes_at: datetime | None = None

    def audible_issues(self, number: Number, now: datetime) -> tuple[str, ...] | None:
        """Return the issues that no rule ignores; None if the number is silent.

        A drifting number without issues counts as having its state as its issue.
        """
        if not self.ignores:
            return number.issues or (number.state,)
        covering = [rule for rule in self.ignores if rule.covers(number, now)]
        if any(rule.issue is None for rule in covering):
            return None
        taken = {rule.issue.casefold() for rule in covering if rule.issue is not None}
        issues = number.issues or (number.state,)
        left = tuple(issue for issue in issues if issue.casefold() not in taken)
        return left or None

    def silent_when_gone(self, number: Number, now: datetime) -> bool:
        """Whether a rule silences the whole number, its removal included."""
        return any(rule.issue is None and rule.covers(number, now) for rule in self.ignores)

    def reconfigured(self, before: Dependencies, after: Dependencies) -> bool:
        """Whether a ready number that depends on other things than before is a problem."""
        return bool(after.differing(before) if self.any_reconfiguration else after.lost(before))

    def names(self, code: str) -> bool:
        """Whether a severity or an ignore rule names this state or issue."""
        folded = code.casefold()
        ignored = (name for rule in self.ignores for name in (rule.state, rule.issue) if name)
        return folded in self.severities.by_code or any(folded == name.casefold() for name in ignored)

    def wakes_at(self, now: datetime) -> datetime | None:
        """Return the next instant at which a rule starts or stops applying."""
        instants = [rule.until for rule in self.ignores if rule.until is not None and rule.until > now]
        if self.changes_at is not None:
            instants.append(self.changes_at)
        return min(instants, default=None)
