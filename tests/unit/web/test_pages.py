"""What the pages are made of: words, colours, bars, the history, the timeline."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from monitor import web
from monitor.drift.snapshot import ChangeKind, Counts
from monitor.metrics import ConnectionView
from monitor.store.availability import Gap
from monitor.store.changes import DriftMove
from monitor.store.rows import Happening
from monitor.web.pages.chart import (
    BUCKETS,
    READY,
    REST,
    UNKNOWN,
    Part,
    colour,
    history,
    state_bar,
    timeline,
)
from monitor.web.pages.filters import Span, change_filters, page_number, text
from monitor.web.pages.templates import age, instant, iso, link, mornings, path, percent, sync_state

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WEEK = timedelta(days=7)
VIEW = ConnectionView(
    identity="9b7f",
    name="acme-sales",
    account="acme",
    connection_id=None,
    interval_s=60.0,
    counts=Counts(states={"READY": 7, "NO_BOT": 2, "EXPIRED": 0}, drifting={"NO_BOT": 2}),
    up=True,
    held=False,
    consecutive_failures=0,
    last_success_at=AT,
    last_duration_s=0.5,
    maintenance=False,
)
STATES = st.sampled_from(["NO_BOT", "ROUTING_MISSING", "EXPIRED"])


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        pytest.param({}, ("ok", "ok"), id="ok"),
        pytest.param({"up": None}, ("none", "not synced yet"), id="new"),
        pytest.param({"up": False}, ("bad", "failed once"), id="down"),
        pytest.param({"up": False, "consecutive_failures": 1}, ("bad", "failed once"), id="failed"),
        pytest.param({"consecutive_failures": 3}, ("bad", "failed 3 times in a row"), id="failing"),
        pytest.param({"held": True}, ("warn", "held: implausible answer"), id="held"),
    ],
)
def test_sync_state_names_the_worst(changes: dict[str, object], state: tuple[str, str]) -> None:
    """The word for a connection's syncs is the one that somebody must act on."""
    assert sync_state(msgspec.structs.replace(VIEW, **changes)) == state


@pytest.mark.parametrize("at", [AT, "2026-03-01T12:00:00.000Z", "2026-03-01T17:30:00+05:30"])
def test_instant_is_utc(at: datetime | str) -> None:
    """An instant is shown in UTC, and says so, however it came."""
    assert (instant(at), iso(at)) == ("2026-03-01 12:00:00 UTC", "2026-03-01T12:00:00Z")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h"), (86_400 * 9, "9 d")],
)
def test_age_is_short(seconds: float, words: str) -> None:
    """How long ago something was is said in its largest unit, before and after."""
    assert age(AT, AT + timedelta(seconds=seconds)) == words
    assert age(AT + timedelta(seconds=seconds), AT) == words


def test_link_keeps_names_whole() -> None:
    """What a name holds never becomes another parameter or another path."""
    assert link("/changes", {"connection": "a&b=c", "state": None}, after="x y") == (
        "/changes?connection=a%26b%3Dc&after=x+y"
    )
    assert path("a/b?c#d") == "a%2Fb%3Fc%23d"
    assert link("/", {}) == "/"


def test_colour_of_a_state_is_its_own() -> None:
    """Whatever else a page shows; known states never share one, and one the provider invents has one too."""
    known = ["NO_BOT", "ROUTING_MISSING", "NO_VOCOBASE_AGENT", "EXPIRED"]
    assert [colour(state) for state in known] == ["s0", "s1", "s2", "s3"]
    assert {colour(f"STATE_{place}") for place in range(50)} == {"s4", "s5", "s6"}
    assert colour("STATE_1") == colour("STATE_1")
    assert colour("OTHER") == colour("gone") == REST


def test_style_knows_every_colour() -> None:
    """What the pages name, light and dark."""
    style = (TEMPLATES[0].parents[1] / "static/monitor.css").read_text()
    for name in ("s0", "s1", "s2", "s3", "s4", "s5", "s6", REST, READY, UNKNOWN):
        assert style.count(f"--{name}:") == 2, name
        assert f"rect.{name} {{ fill: var(--{name}); }}" in style, name


def test_bar_shows_trouble_first() -> None:
    """The bar of a connection begins with what drifts and ends with what is ready, in percent."""
    bar = state_bar(10, {"NO_BOT": 1, "EXPIRED": 2})
    assert bar == [
        Part(colour="s3", at=0, size=20),
        Part(colour="s0", at=20, size=10),
        Part(colour="ready", at=30, size=70),
    ]
    assert state_bar(0, {}) == []
    assert state_bar(5, {}, rest=UNKNOWN) == [Part(colour="unknown", at=0, size=100)]


def test_history_goes_back_from_now() -> None:
    """Three lost their bot two days ago, one came back, and one changed its state since."""
    moves = [
        DriftMove(at=AT - timedelta(hours=1), before="NO_BOT", after=None, numbers=1),
        DriftMove(at=AT - timedelta(days=1), before="NO_BOT", after="EXPIRED", numbers=1),
        DriftMove(at=AT - timedelta(days=2), before=None, after="NO_BOT", numbers=3),
    ]
    found = history({"NO_BOT": 1, "EXPIRED": 1}, moves, since=AT - WEEK, now=AT)
    totals = [column.total for column in found.columns]
    assert len(totals) == BUCKETS
    assert totals == [0] * 60 + [3] * 24
    assert found.peak == 3
    assert set(found.states) == {"NO_BOT", "EXPIRED"}


def test_history_keeps_a_short_peak() -> None:
    """What came and went between two columns is still seen: a column shows its worst moment."""
    moves = [
        DriftMove(at=AT - timedelta(minutes=50), before="NO_BOT", after=None, numbers=9),
        DriftMove(at=AT - timedelta(minutes=55), before=None, after="NO_BOT", numbers=9),
    ]
    found = history({}, moves, since=AT - WEEK, now=AT)
    assert [column.total for column in found.columns] == [0] * 83 + [9]


def test_history_shows_when_nothing_was_seen() -> None:
    """A gap is drawn as unknown, not as a time without drift; only the part of it that is shown."""
    gaps = [Gap(AT - 2 * WEEK, AT - WEEK / 2), Gap(AT - WEEK / 4, AT)]
    found = history({}, [], gaps, since=AT - WEEK, now=AT)
    assert [(part.colour, part.at, part.size) for part in found.unknown] == [
        (UNKNOWN, 0, 50),
        (UNKNOWN, 75, 25),
    ]


@pytest.mark.parametrize(
    ("share", "shown"), [(100, "100"), (99.9999, "99.99"), (0, "0"), (0.001, "0.01"), (99.5, "99.50")]
)
def test_percent_says_all_only_for_all(share: float, shown: str) -> None:
    """A share that is nearly all of it is not said to be all."""
    assert percent(share) == shown


@given(
    now=st.dictionaries(STATES, st.integers(0, 50)),
    moves=st.lists(
        st.builds(
            DriftMove,
            at=st.integers(0, 7 * 86_400).map(lambda seconds: AT - timedelta(seconds=seconds)),
            before=st.none() | STATES,
            after=st.none() | STATES,
            numbers=st.integers(1, 50),
        ),
        max_size=20,
    ),
)
def test_history_is_drawable_whatever_the_records_say(now: dict[str, int], moves: list[DriftMove]) -> None:
    """No column is negative or higher than the peak, and the last holds at least what drifts now."""
    found = history(now, sorted(moves, key=lambda move: move.at, reverse=True), since=AT - WEEK, now=AT)
    assert all(0 <= column.total <= found.peak for column in found.columns)
    assert found.columns[-1].total >= sum(now.values())
    for column in found.columns:
        assert all(part.size > 0 and part.at + part.size <= 100.1 for part in column.parts)


def test_timeline_is_by_day() -> None:
    """What happened on another day is below another heading."""
    happened = Happening(
        id=1,
        at=AT,
        sync_id="s1",
        connection="acme-sales",
        change=ChangeKind.APPEARED,
        state="NO_BOT",
        previous_state="READY",
        many=2,
        members=(("1", "+1"), ("2", "+2")),
        moved="",
        action=None,
    )
    days = timeline([happened, happened, replace(happened, at=AT - timedelta(days=1))])
    assert [(day.date, len(day.happened)) for day in days] == [("2026-03-01", 2), ("2026-02-28", 1)]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"change": "vanished"}, "change: must be one of appeared, changed"),
        ({"since": "1y"}, "since: must be one of 1h, 24h"),
        ({"connection": "x" * 201}, "connection: must be"),
        ({"state": "a\x00b"}, "state: must be"),
    ],
)
def test_filter_that_cannot_be_read_says_what_could(query: dict[str, str], said: str) -> None:
    """A wrong filter names its parameter and what fits, not the value."""
    with pytest.raises(HTTPException) as refused:
        change_filters(query)
    assert refused.value.status_code == 400
    assert refused.value.detail.startswith(said)


@pytest.mark.parametrize("value", ["0", "-1", "x", "²", "9999999"])
def test_page_number_is_a_number(value: str) -> None:
    """A page that cannot be is refused."""
    with pytest.raises(HTTPException):
        page_number({"page": value})


def test_empty_fields_of_a_form_are_no_filter() -> None:
    """A form sends all of its fields; the empty ones ask for nothing."""
    asked = change_filters({"connection": " ", "state": "", "change": "", "since": ""})
    assert set(asked.values()) == {None}
    assert text({"x": " a "}, "x") == "a"
    assert page_number({}) == 1


def test_spans_are_as_long_as_they_say() -> None:
    """Each choice of the timeline goes back as far as its name."""
    assert [span.length / timedelta(hours=1) for span in Span] == [1, 24, 7 * 24, 30 * 24]


@given(
    minutes=st.integers(0, 366 * 24 * 60), zone=st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York"])
)
def test_mornings_are_ahead_at_nine(minutes: int, zone: str) -> None:
    """At three in the night the next morning is today's; Monday's is a Monday's, within a week."""
    now = AT + timedelta(minutes=minutes)
    found = mornings(now, zone)
    for at in found.values():
        assert (at.hour, at.minute) == (9, 0)
        assert timedelta(hours=2) <= at - now <= timedelta(days=7, hours=4)
    assert found["Monday"].weekday() == 0
    assert min(found.values()) - now <= timedelta(hours=28)


TEMPLATES = sorted((Path(web.__file__).parent / "templates").glob("*.html"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda each: each.name)
def test_every_address_in_a_template_begins_with_the_root(template: Path) -> None:
    """A page below a path of `external_url` leads nowhere beside it: no address is written without `root`."""
    source = template.read_text()
    beside = re.findall(r"""(?:href|src|action)="/[^"]*|link\("/[^"]*|set \w+ = "/[^"]*""", source)
    assert beside == []


def test_script_knows_no_address() -> None:
    """It asks for the page that is open, below whatever path."""
    script = (TEMPLATES[0].parents[1] / "static/monitor.js").read_text()
    assert re.findall(r"""\S*["'`]/\w[^"'`]*""", script) == []
