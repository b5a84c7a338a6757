"""Which receiver hears of an alert, and as what (pure).

What is queued when an alert changes:

| the receiver | opened | updated | acknowledged | resolved |
| --- | --- | --- | --- | --- |
| accepted a message about it, or has one pending | | updated | acknowledged | resolved, if it wants those |
| did not, and its filters match | opened | opened | | |
| did not, and they don't | | | | |

So people who were paged hear of the end, even if the alert left the filters since. Reminders are planned
elsewhere, by each receiver's `repeat_interval`.

What was pending may be refused, so a message is settled when it is about to be sent: the first one that a
receiver gets says `opened`, and that what it never heard of was acknowledged, or ended, is not sent. Nor is a
reminder once the alert is acknowledged.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from monitor.drift.alert import AlertBody, Kind, Notice, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A receiver's filters. `connections` are globs, case-sensitive; none at all lets everything through."""

    receiver: str
    min_severity: Severity = Severity.INFO
    connections: tuple[str, ...] = ()
    send_resolved: bool = True

    def passes(self, severity: Severity, connections: Collection[str]) -> bool:
        """Return whether something so severe about these connections, if any, passes the filters."""
        return self.obstacle(severity, connections) is None

    def obstacle(self, severity: Severity, connections: Collection[str]) -> str | None:
        """Return which filter keeps something so severe about these connections away; None if it passes."""
        if severity.rank < self.min_severity.rank:
            return f"severity {severity} is below its min_severity {self.min_severity}"
        if not connections or not self.connections:
            return None
        if any(fnmatchcase(connection, glob) for connection in connections for glob in self.connections):
            return None
        return f"none of its connections globs matches ({', '.join(self.connections)})"


def plan(body: AlertBody, routes: Iterable[Route], already: Collection[str]) -> list[tuple[str, Notice]]:
    """Return the receivers to tell, and as what, in the order of the routes.

    Args:
        body: The alert and its `change`; `updated` for a receiver that a reload added.
        routes: All receivers.
        already: Names of those that accepted, or have pending, a message about this alert.
    """
    told = ((route.receiver, _notice(body, route, known=route.receiver in already)) for route in routes)
    return [(receiver, notice) for receiver, notice in told if notice is not None]


def _notice(body: AlertBody, route: Route, *, known: bool) -> Notice | None:
    match body.change:
        case Notice.RESOLVED:
            return Notice.RESOLVED if known and route.send_resolved else None
        case Notice.UPDATED | Notice.ACKNOWLEDGED if known:
            return body.change
        case Notice.OPENED | Notice.UPDATED:
            return Notice.OPENED if not known and matches(body, route) else None
        case Notice.ACKNOWLEDGED | Notice.REMINDER:
            return None


def sent_as(notice: Notice, *, told: bool, acknowledged: bool = False, tried: bool = False) -> Notice | None:
    """Return what a queued message says when it is sent; None: nothing.

    Args:
        notice: What it was queued as.
        told: Whether the receiver has accepted a message about the alert.
        acknowledged: Whether the alert is, by now.
        tried: The receiver may have got it already: it says the same on every try.
    """
    if notice is Notice.REMINDER and told and acknowledged:
        return None
    if tried:
        return notice
    if notice in (Notice.RESOLVED, Notice.ACKNOWLEDGED):
        return notice if told else None
    if not told:
        return Notice.OPENED
    return Notice.UPDATED if notice is Notice.OPENED else notice


def matches(body: AlertBody, route: Route) -> bool:
    """Return whether a receiver's filters let an alert through.

    A test passes them all. An alert about a failing receiver, whose name is its `state`, is not sent to that
    receiver. An alert without connections passes the `connections` filter.
    """
    return kept_from(body, route) is None


def kept_from(body: AlertBody, route: Route) -> str | None:
    """Return why a receiver is not told of an alert, as `matches` decides it; None if it is."""
    if body.kind is Kind.TEST:
        return None
    if body.kind is Kind.RECEIVER_FAILING and body.state == route.receiver:
        return "the alert says that this receiver is failing"
    return route.obstacle(body.severity, body.connections)
