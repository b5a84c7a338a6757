"""What the pages are made of: words, colours, bars, the history, the timeline."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from monitor import web
from monitor.drift.snapshot import ChangeKind, Counts
from monitor.metrics import ConnectionView
from monitor.store.changes import DriftMove
from monitor.store.rows import ChangeRow
from monitor.web.pages.chart import BUCKETS, COLOURS, REST, Part, colours, history, state_bar, timeline
from monitor.web.pages.filters import Span, change_filters, page_number, text
from monitor.web.pages.templates import age, instant, iso, link, path, sync_state

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WEEK = timedelta(days=7)
VIEW = ConnectionView(
    identity="9b7f",
    name="acme-sales",
    account="acme",
    connection_id=None,
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
    assert sync_state(replace(VIEW, **changes)) == state  # type: ignore[arg-type]  # by name


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


def test_colours_go_to_the_most_frequent_states() -> None:
    """Five states have a colour of their own, the rest share one; a state without numbers has none."""
    counts = {f"STATE_{place}": 10 - place for place in range(7)} | {"GONE": 0}
    found = colours([counts])
    assert [found[f"STATE_{place}"] for place in range(7)] == ["s0", "s1", "s2", "s3", "s4", REST, REST]
    assert "GONE" not in found
    assert COLOURS == 5


def test_bar_shows_trouble_first() -> None:
    """The bar of a connection begins with what drifts and ends with what is ready, in percent."""
    bar = state_bar(10, {"NO_BOT": 1, "EXPIRED": 2}, {"EXPIRED": "s0", "NO_BOT": "s1"})
    assert bar == [
        Part(colour="s0", at=0, size=20),
        Part(colour="s1", at=20, size=10),
        Part(colour="ready", at=30, size=70),
    ]
    assert state_bar(0, {}, {}) == []


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


def change(key: str, at: datetime = AT, **changes: object) -> ChangeRow:
    """Return a recorded change."""
    row = ChangeRow(
        depended_on={},
        depends_on={},
        id=1,
        at=at,
        connection="acme-sales",
        account="acme",
        change=ChangeKind.APPEARED,
        key=key,
        phone_number=f"+{key}",
        state="NO_BOT",
        previous_state="READY",
        issues=["NO_BOT"],
        previous_issues=[],
        action_items=[],
        did_id=1,
        client_id=1,
        sync_id="s1",
    )
    return replace(row, **changes)  # type: ignore[arg-type]  # by name


def test_timeline_tells_alike_changes_of_one_sync_once() -> None:
    """Two numbers that lost their bot at once are one line; another state, sync or day is another."""
    rows = [
        change("4", AT),
        change("3", AT),
        change("2", AT, state="EXPIRED"),
        change("1", AT - timedelta(days=1), sync_id="s0"),
    ]
    days = timeline(rows)
    assert [day.date for day in days] == ["2026-03-01", "2026-02-28"]
    assert [[row.key for row in it.rows] for it in days[0].happened] == [["3", "4"], ["2"]]


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


TEMPLATES = sorted((Path(web.__file__).parent / "templates").glob("*.html"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda each: each.name)
def test_every_address_in_a_template_begins_with_the_root(template: Path) -> None:
    """A page below a path of `external_url` leads nowhere beside it: no address is written without `root`."""
    source = template.read_text()
    beside = re.findall(r"""(?:href|src|action)="/[^"]*|link\("/[^"]*|set \w+ = "/[^"]*""", source)
    assert beside == []


def test_script_knows_no_address_but_the_end_of_one() -> None:
    """It asks whether the page is that of the alerts, below whatever path."""
    script = (TEMPLATES[0].parents[1] / "static/monitor.js").read_text()
    assert re.findall(r"""\S*["'`]/\w[^"'`]*""", script) == ['location.pathname.endsWith("/alerts']
