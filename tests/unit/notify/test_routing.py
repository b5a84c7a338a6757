"""Who hears of an alert, and as what."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.drift.alert import AlertBody, Kind, Notice, Severity
from monitor.notify.routing import Route, plan, sent_as
from tests.fakes.alerts import BODY

ALL = Route(receiver="r")
QUIET = Route(receiver="r", send_resolved=False)
OTHERS = Route(receiver="r", connections=("other-*",))


def body(change: Notice = Notice.OPENED, **fields: Any) -> AlertBody:
    """Return a body with some fields changed."""
    return msgspec.structs.replace(BODY, change=change, **fields)


@pytest.mark.parametrize(
    ("change", "known", "route", "told"),
    [
        pytest.param(Notice.OPENED, False, ALL, Notice.OPENED, id="first-message"),
        pytest.param(Notice.OPENED, True, ALL, None, id="opened-is-no-news-to-who-knows"),
        pytest.param(Notice.UPDATED, False, ALL, Notice.OPENED, id="first-message-is-opened"),
        pytest.param(Notice.UPDATED, True, ALL, Notice.UPDATED, id="update"),
        pytest.param(Notice.UPDATED, True, OTHERS, Notice.UPDATED, id="update-past-the-filter"),
        pytest.param(Notice.UPDATED, False, OTHERS, None, id="filtered"),
        pytest.param(Notice.RESOLVED, True, ALL, Notice.RESOLVED, id="end"),
        pytest.param(Notice.RESOLVED, True, OTHERS, Notice.RESOLVED, id="end-past-the-filter"),
        pytest.param(Notice.RESOLVED, False, ALL, None, id="no-end-of-what-was-never-told"),
        pytest.param(Notice.RESOLVED, True, QUIET, None, id="end-not-wanted"),
        pytest.param(Notice.ACKNOWLEDGED, True, ALL, Notice.ACKNOWLEDGED, id="acknowledged"),
        pytest.param(Notice.ACKNOWLEDGED, True, OTHERS, Notice.ACKNOWLEDGED, id="taken-on-past-the-filter"),
        pytest.param(Notice.ACKNOWLEDGED, True, QUIET, Notice.ACKNOWLEDGED, id="acknowledged-is-no-end"),
        pytest.param(Notice.ACKNOWLEDGED, False, ALL, None, id="acknowledged-opens-nothing"),
        pytest.param(Notice.REMINDER, True, ALL, None, id="reminders-are-planned-elsewhere"),
        pytest.param(Notice.REMINDER, False, ALL, None, id="reminder-opens-nothing"),
    ],
)
def test_plan_tells_each_receiver_its_own_story(
    *, change: Notice, known: bool, route: Route, told: Notice | None
) -> None:
    """What a receiver is told follows from what it was told before."""
    planned = plan(body(change), [route], {"r"} if known else set())
    assert planned == ([] if told is None else [("r", told)])


@pytest.mark.parametrize(
    ("route", "fields", "passes"),
    [
        pytest.param({"min_severity": Severity.CRITICAL}, {}, True, id="as-severe"),
        pytest.param({"min_severity": Severity.WARNING}, {}, True, id="severer"),
        pytest.param(
            {"min_severity": Severity.CRITICAL}, {"severity": Severity.WARNING}, False, id="not-severe"
        ),
        pytest.param({"connections": ("acme-*",)}, {}, True, id="glob"),
        pytest.param({"connections": ("ACME-*",)}, {}, False, id="glob-minds-case"),
        pytest.param({"connections": ("x", "acme-sales")}, {}, True, id="any-glob"),
        pytest.param({"connections": ("x",)}, {"connections": ["y", "x"]}, True, id="any-connection"),
        pytest.param({"connections": ("x",)}, {"connections": ["y"]}, False, id="no-connection"),
        pytest.param({"connections": ("x",)}, {"connections": []}, True, id="alert-without-connections"),
        pytest.param({}, {"kind": Kind.RECEIVER_FAILING, "state": "r"}, False, id="about-itself"),
        pytest.param({}, {"kind": Kind.RECEIVER_FAILING, "state": "other"}, True, id="about-another"),
        pytest.param({}, {"state": "r"}, True, id="state-of-another-kind"),
        pytest.param(
            {"min_severity": Severity.CRITICAL, "connections": ("x",)},
            {"kind": Kind.TEST, "severity": Severity.INFO},
            True,
            id="a-test-passes-all",
        ),
    ],
)
def test_plan_obeys_the_filters(route: dict[str, object], fields: dict[str, Any], *, passes: bool) -> None:
    """Severity and connections decide who hears of a new alert."""
    planned = plan(body(**fields), [msgspec.convert({"receiver": "r"} | route, Route)], set())
    assert planned == ([("r", Notice.OPENED)] if passes else [])


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([Notice.OPENED, Notice.UPDATED, Notice.REMINDER]),
            st.sampled_from(Severity),
            st.booleans(),
            st.lists(st.booleans(), max_size=3),
        ),
        max_size=8,
    ),
    least=st.sampled_from(Severity),
    last=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_receiver_hears_each_alert_open_once_and_end(
    steps: list[tuple[Notice, Severity, bool, list[bool]]], least: Severity, last: list[bool]
) -> None:
    """Whatever is queued and refused, what a receiver accepts begins with `opened`, and an end is not alone.

    A step queues a message (a reminder only where asked for), then some of what waits is sent, and accepted
    or refused for good.
    """
    route = Route(receiver="r", min_severity=least)
    queue: list[Notice] = []
    heard: list[Notice] = []

    def send(*, accepted: bool) -> None:
        if queue:
            notice = sent_as(queue.pop(0), told=bool(heard))
            heard.extend([notice] if accepted and notice is not None else [])

    ends = (Notice.RESOLVED, Severity.INFO, False, last)
    for change, severity, reminded, answers in [*steps, ends]:
        already = {"r"} if heard or queue else set()
        queue += [notice for _, notice in plan(body(change, severity=severity), [route], already)]
        queue += [Notice.REMINDER] if reminded and queue else []
        for accepted in answers:
            send(accepted=accepted)
    assert Notice.OPENED not in heard[1:]
    assert heard[:1] in ([], [Notice.OPENED])
    assert Notice.RESOLVED not in heard[:-1]


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("queued", Notice)
def test_message_says_what_the_receiver_can_follow(queued: Notice, *, told: bool) -> None:
    """Its first message says `opened`, no later one does; what never began is not taken on, nor ends."""
    said = sent_as(queued, told=told)
    if queued in (Notice.RESOLVED, Notice.ACKNOWLEDGED):
        assert said is (queued if told else None)
    elif not told:
        assert said is Notice.OPENED
    else:
        assert said is (Notice.UPDATED if queued is Notice.OPENED else queued)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("tried", [True, False])
@pytest.mark.parametrize("queued", Notice)
def test_message_of_an_acknowledged_alert_says_the_same_unless_it_reminds(
    queued: Notice, *, tried: bool, told: bool
) -> None:
    """A reminder to who knows of the alert is not sent any more, however often it was tried; all else is."""
    said = sent_as(queued, told=told, acknowledged=True, tried=tried)
    if queued is Notice.REMINDER and told:
        assert said is None
    else:
        assert said is (queued if tried else sent_as(queued, told=told))


def test_end_reaches_whoever_accepted_anything() -> None:
    """Who accepted a message, or still has one waiting, gets the end queued."""
    planned = plan(body(Notice.RESOLVED), [ALL], {"r"})
    assert [sent_as(notice, told=True) for _, notice in planned] == [Notice.RESOLVED]


def test_plan_keeps_the_order_of_routes() -> None:
    """Receivers come as they are configured."""
    routes = [Route(receiver=name) for name in ("b", "a", "c")]
    assert [name for name, _ in plan(BODY, routes, set())] == ["b", "a", "c"]
