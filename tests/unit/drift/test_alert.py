"""What the bodies of an alert say of who has taken it on."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.drift.alert import Acknowledgement, Severity, merged, with_acknowledgement, without_news
from tests.fakes.alerts import BODY

ASHA = Acknowledgement(by="asha", at="2026-03-01T12:05:00.000Z", note="on it")
BEN = Acknowledgement(by="ben", at="2026-03-01T12:20:00.000Z", note=None)


@given(before=st.sampled_from(Severity), now=st.sampled_from(Severity))
def test_acknowledgement_ends_when_the_severity_rises_and_only_then(before: Severity, now: Severity) -> None:
    """It stands or has just ended, never both; where there was none, nothing is said of one."""
    body = msgspec.structs.replace(BODY, severity=now)
    assert with_acknowledgement(body, None, before) == body
    said = with_acknowledgement(body, ASHA, before)
    rose = now.rank > before.rank
    assert (said.acknowledged, said.acknowledgement_ended) == ((None, ASHA) if rose else (ASHA, None))


@pytest.mark.parametrize(
    ("updated_at", "said"),
    [("2026-03-01T12:00:00.000Z", ASHA.at), ("2026-03-01T12:30:00.000Z", "2026-03-01T12:30:00.000Z")],
)
def test_acknowledged_alert_was_updated_then_at_the_earliest(updated_at: str, said: str) -> None:
    """Whoever goes by that instant sees that something has happened."""
    body = msgspec.structs.replace(BODY, updated_at=updated_at)
    assert with_acknowledgement(body, ASHA, body.severity).updated_at == said


@pytest.mark.parametrize(
    ("older", "newer", "told"),
    [
        pytest.param({"acknowledgement_ended": ASHA}, {}, ASHA, id="it-was-never-told"),
        pytest.param({}, {"acknowledgement_ended": ASHA}, ASHA, id="it-has-just-ended"),
        pytest.param({"acknowledgement_ended": ASHA}, {"acknowledgement_ended": BEN}, BEN, id="the-last"),
        pytest.param({"acknowledgement_ended": ASHA}, {"acknowledged": BEN}, None, id="taken-on-again"),
        pytest.param({"acknowledged": ASHA}, {"acknowledged": ASHA}, None, id="it-stands"),
    ],
)
def test_message_that_takes_the_place_of_another_tells_what_ended(
    older: dict[str, Acknowledgement], newer: dict[str, Acknowledgement], told: Acknowledgement | None
) -> None:
    """Also if that happened before it: no one has heard of it yet."""
    first, second = (msgspec.structs.replace(BODY, **fields) for fields in (older, newer))
    assert merged(second, first).acknowledgement_ended == told


def test_what_is_so_now_tells_no_news() -> None:
    """A reminder, and that someone sees to it, repeat nothing that an update has told or will tell."""
    body = msgspec.structs.replace(BODY, acknowledged=BEN, acknowledgement_ended=ASHA, numbers_ended=3)
    plain = without_news(body)
    assert (plain.numbers_added, plain.numbers_ended, plain.changes_total, plain.changes) == (0, 0, 0, [])
    assert (plain.acknowledged, plain.acknowledgement_ended) == (BEN, None)
