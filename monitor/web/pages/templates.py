"""The templates' environment and the words they share; everything they print is escaped."""

import glob
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined

from monitor.drift.text import duration
from monitor.metrics import ConnectionView
from monitor.notify.wording import moves, shared
from monitor.store.rows import SyncStatus
from monitor.web.pages.chart import colour, most_first, state_bar
from monitor.web.status import sync_status

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def build_templates() -> Environment:
    """Return the environment of the templates."""
    templates = Environment(
        loader=PackageLoader("monitor.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters |= {"instant": instant, "iso": iso, "local": local}
    templates.filters |= {"path": path, "glob": glob.escape, "argument": shlex.quote}
    templates.filters |= {"shared": shared, "moves": moves, "percent": percent}
    templates.globals |= {
        "age": age,
        "lasted": lambda seconds: duration(timedelta(seconds=seconds)),
        "moment": _aware,
        "colour": colour,
        "link": link,
        "mornings": mornings,
        "most_first": most_first,
        "state_bar": state_bar,
        "sync_state": sync_state,
        "sync_words": sync_words,
    }
    return templates


def instant(at: datetime | str) -> str:
    """Return an instant (as a datetime, or in RFC 3339) for people: `2026-01-31 09:15:00 UTC`."""
    return _aware(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at: datetime | str) -> str:
    """Return an instant for programs: `2026-01-31T09:15:00Z`."""
    return _aware(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def local(at: datetime) -> str:
    """Return an instant as a field of a form takes it, in UTC: `2026-01-31T09:15:00`."""
    return iso(at).removesuffix("Z")


def age(at: datetime | str, now: datetime) -> str:
    """Return how long ago, or how far ahead, an instant is: `12 min`; the two largest digits that matter."""
    seconds = abs(int((now - _aware(at)).total_seconds()))
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


_MORNING = time(9)
_SOONEST = timedelta(hours=3)
"""What people call the next morning is at least so far away."""


def mornings(now: datetime, zone: str) -> dict[str, datetime]:
    """Return the ends of a silence that people ask for by name: the next morning and Monday's, at nine."""
    soonest = (now + _SOONEST).astimezone(ZoneInfo(zone))
    morning = datetime.combine(soonest.date(), _MORNING, soonest.tzinfo)
    if morning < soonest:
        morning += timedelta(days=1)
    monday = morning + timedelta(days=-morning.weekday() % 7)
    return {"morning": morning, "Monday": monday} if monday > morning else {"Monday": monday}


def percent(value: float) -> str:
    """Return a share in percent; only all is 100, and only nothing 0."""
    return f"{value:.0f}" if value in (0, 100) else f"{min(max(value, 0.01), 99.99):.2f}"


def path(name: str) -> str:
    """Return a name as one segment of a path."""
    return quote(name, safe="")


def link(base: str, values: Mapping[str, str | None], **more: str | None) -> str:
    """Return an address with these parameters; those without a value are left out."""
    given = {name: value for name, value in {**values, **more}.items() if value}
    return f"{base}?{urlencode(given)}" if given else base


def sync_words(status: SyncStatus, failures: int) -> tuple[str, str]:
    """Return how the syncs of a connection go: a class of the style, and words for people."""
    match status:
        case SyncStatus.WAITING:
            return "none", "not synced yet"
        case SyncStatus.FAILING:
            return "bad", "failed once" if failures == 1 else f"failed {failures} times in a row"
        case SyncStatus.HELD:
            return "warn", "held: implausible answer"
        case SyncStatus.OK:
            return "ok", "ok"


def sync_state(view: ConnectionView) -> tuple[str, str]:
    """Return the same of a connection as its metrics show it."""
    return sync_words(sync_status(view), max(view.consecutive_failures, 1))


def _aware(at: datetime | str) -> datetime:
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC)
