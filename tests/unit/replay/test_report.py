"""What a replay is compared with, and how."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.drift.alert import Kind
from monitor.replay.report import Raised, Verdict, compare, notice_times

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def raised(name: str, at_s: float = 0, *, lasts_s: float | None = 600, state: str = "NO_BOT") -> Raised:
    """Return an alert of one connection."""
    opened_at = NOON + timedelta(seconds=at_s)
    return Raised(
        id=name,
        kind=Kind.DRIFT,
        account="acme",
        connection="acme-1",
        state=state,
        opened_at=opened_at,
        resolved_at=opened_at + timedelta(seconds=lasts_s) if lasts_s is not None else None,
        resolution="recovered" if lasts_s is not None else None,
        numbers_max=1,
    )


@pytest.mark.parametrize(
    ("now", "verdict", "shift_s"),
    [
        pytest.param(raised("a"), Verdict.SAME, 0, id="itself"),
        pytest.param(raised("b", 0.04), Verdict.SAME, 0.04, id="a moment later"),
        pytest.param(raised("b", 0.1), Verdict.LATER, 0.1, id="at the soonest recheck"),
        pytest.param(raised("b", 60), Verdict.LATER, 60, id="later"),
        pytest.param(raised("b", -60), Verdict.EARLIER, -60, id="earlier"),
        pytest.param(raised("b", -7200, lasts_s=None), Verdict.EARLIER, -7200, id="it still fired then"),
    ],
)
def test_alert_with_the_same_cause_is_its_counterpart(now: Raised, verdict: Verdict, shift_s: float) -> None:
    """By its id, or by what it is about while both fire or hardly apart."""
    (found,) = compare([raised("a")], [now])
    assert found.verdict is verdict
    assert found.shift_s == pytest.approx(shift_s)
    assert found.apart == {0.04: "40ms", 0.1: "100ms", 60: "1m", 7200: "2h"}.get(abs(shift_s), "0s")
    assert found.opened_at == now.opened_at


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(raised("b", state="EXPIRED"), id="another state"),
        pytest.param(raised("b", 7200), id="long after its end"),
    ],
)
def test_alert_without_a_counterpart_is_gone_or_new(now: Raised) -> None:
    """Neither shifts."""
    found = compare([raised("a")], [now])
    assert {each.verdict for each in found} == {Verdict.GONE, Verdict.NEW}
    assert {each.shift_s for each in found} == {None}


@given(st.lists(st.tuples(st.integers(0, 20_000), st.booleans(), st.booleans()), max_size=12))
def test_every_alert_is_counted_once(drawn: list[tuple[int, bool, bool]]) -> None:
    """However many there are with one cause, each is in one row."""
    recorded = [raised(f"a{place}", at) for place, (at, was, _) in enumerate(drawn) if was]
    replayed = [raised(f"b{place}", at) for place, (at, _, now) in enumerate(drawn) if now]
    found = compare(recorded, replayed)
    verdicts = [each.verdict for each in found]
    assert len(verdicts) - verdicts.count(Verdict.NEW) == len(recorded)
    assert len(verdicts) - verdicts.count(Verdict.GONE) == len(replayed)
    assert [each.opened_at for each in found] == sorted(each.opened_at for each in found)


def test_time_to_notice_is_the_median_and_the_longest() -> None:
    """Of no alert there is none."""
    assert notice_times([]) is None
    times = notice_times([timedelta(seconds=each) for each in (10, 20, 90)])
    assert times is not None
    assert (times.median_s, times.longest_s) == (20, 90)
