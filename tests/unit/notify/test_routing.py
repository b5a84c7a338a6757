"""Who hears of an alert, and as what."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.drift.alert import AlertBody, Kind, Notice, Severity
from monitor.notify.routing import Route, plan
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
    story=st.lists(st.sampled_from([Notice.OPENED, Notice.UPDATED]), max_size=5),
    severities=st.lists(st.sampled_from(Severity), min_size=6, max_size=6),
    least=st.sampled_from(Severity),
)
def test_plan_opens_once_and_ends_what_it_opened(
    story: list[Notice], severities: list[Severity], least: Severity
) -> None:
    """Whatever happens to an alert, a receiver hears `opened` first and once, and then its end."""
    route = Route(receiver="r", min_severity=least)
    heard: list[Notice] = []
    for change, severity in zip([*story, Notice.RESOLVED], severities, strict=False):
        already = {"r"} if heard else set()
        heard += [notice for _, notice in plan(body(change, severity=severity), [route], already)]
    assert not heard or (heard[0], heard[-1]) == (Notice.OPENED, Notice.RESOLVED)
    assert heard.count(Notice.OPENED) <= 1


def test_plan_keeps_the_order_of_routes() -> None:
    """Receivers come as they are configured."""
    routes = [Route(receiver=name) for name in ("b", "a", "c")]
    assert [name for name, _ in plan(BODY, routes, set())] == ["b", "a", "c"]
