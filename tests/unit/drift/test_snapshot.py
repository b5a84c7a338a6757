"""Dependencies that are remembered, lost and gained."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor.drift.snapshot import Change, ChangeKind, Dependencies
from tests.unit.drift.build import broken, ready


@pytest.mark.parametrize(
    ("now", "before", "together"),
    [
        pytest.param(
            Dependencies(1, 2, "ws", 3),
            Dependencies(9, 9, "sip", 9),
            Dependencies(1, 2, "ws", 3),
            id="present_wins",
        ),
        pytest.param(
            Dependencies(1),
            Dependencies(9, 8, "sip", 7),
            Dependencies(1, 8, "sip", 7),
            id="gone_is_as_before",
        ),
        pytest.param(Dependencies(0, 0), Dependencies(9, 9), Dependencies(0, 0), id="zero_is_a_value"),
        pytest.param(Dependencies(1), None, Dependencies(1), id="no_before"),
    ],
)
def test_refs_remember_what_is_gone(
    now: Dependencies, before: Dependencies | None, together: Dependencies
) -> None:
    """Earlier dependencies stand in where the answer names none now."""
    assert now.or_else(before) == together


FULL = Dependencies(1, 2, "inbound:bot:2 outbound:sip:7", "a", True, True, True)
UNKNOWN = Dependencies(unknown=FULL.__struct_fields__[:-1])


@pytest.mark.parametrize(
    ("now", "differing", "lost"),
    [
        pytest.param(FULL, (), (), id="same"),
        pytest.param(UNKNOWN, (), (), id="unknown"),
        pytest.param(replace(FULL, client_id=3, bot_id=4), ("client_id", "bot_id"), (), id="others"),
        pytest.param(replace(FULL, client_id=None), ("client_id",), (), id="a_client_is_no_loss"),
        pytest.param(replace(FULL, bot_id=None, bot_active=None), ("bot_id",), ("bot_id",), id="bot"),
        pytest.param(replace(FULL, bot_id=0), ("bot_id",), (), id="bot_zero"),
        pytest.param(replace(FULL, bot_active=False), ("bot_active",), ("bot_active",), id="bot_off"),
        pytest.param(
            replace(FULL, routing_target="inbound:bot:3 outbound:sip:7"),
            ("routing_target",),
            (),
            id="another_inbound_target",
        ),
        pytest.param(
            replace(FULL, routing_target="outbound:bot:2"),
            ("routing_target",),
            ("routing_target",),
            id="no_inbound_target",
        ),
        pytest.param(
            replace(FULL, routing_target="outbound:sip:7", unknown=("inbound",)), (), (), id="inbound_unknown"
        ),
        pytest.param(
            replace(FULL, routing_target="inbound:mobile", unknown=("outbound",)),
            ("routing_target",),
            (),
            id="another_inbound_target_and_outbound_unknown",
        ),
        pytest.param(
            replace(FULL, routing_target="routing:5"),
            ("routing_target",),
            ("routing_target",),
            id="no_target",
        ),
        pytest.param(
            Dependencies(),
            ("client_id", "bot_id", "routing_target", "agent_id"),
            ("bot_id", "routing_target", "agent_id"),
            id="everything",
        ),
    ],
)
def test_dependencies_differ_and_are_lost(
    now: Dependencies, differing: tuple[str, ...], lost: tuple[str, ...]
) -> None:
    """What is gone or switched off is lost; what is replaced only differs; what is not said does neither."""
    assert now.differing(FULL) == differing
    assert now.lost(FULL) == lost
    assert FULL.lost(now) == ()


@st.composite
def dependencies(draw: st.DrawFn) -> Dependencies:
    """Any that an answer may give; a routing whose sides lead nowhere may still have an id."""
    names = FULL.__struct_fields__[:-1]
    ids, active = st.sampled_from([None, 0, 1, "x"]), st.sampled_from([None, True, False])
    values: dict[str, Any] = {name: draw(active if name.endswith("active") else ids) for name in names}
    unknown = draw(st.sets(st.sampled_from(names)))
    values |= dict.fromkeys(unknown)
    values["routing_target"] = None
    if "routing_target" not in unknown and draw(st.booleans()):
        sides = {
            side: draw(st.sampled_from(["", "bot:1", "sip:2", None])) for side in ("inbound", "outbound")
        }
        unknown |= {side for side, where in sides.items() if where is None}
        target = " ".join(f"{side}:{where}" for side, where in sides.items() if where)
        values["routing_target"] = target or "routing:5"
    return Dependencies(**values, unknown=tuple(sorted(unknown)))


@settings(max_examples=200)
@given(dependencies(), dependencies())
def test_dependencies_what_is_filled_gained_and_lost_fits(now: Dependencies, before: Dependencies) -> None:
    """What is not said is as before, so it neither differs nor is lost; what is gained can be lost."""
    assert set(now.lost(before)) <= set(now.differing(before))
    assert now.differing(now) == before.lost(before) == ()
    filled = now.filled(before)
    assert set(filled.unknown) <= set(now.unknown)
    assert filled.differing(before) == now.differing(before)
    assert filled.lost(before) == now.lost(before)
    assert UNKNOWN.filled(before).differing(before) == ()
    gained = before.gaining(filled)
    assert filled.lost(gained) == filled.lost(before)
    assert set(before.lost(gained)) >= set(before.lost(filled))
    assert gained.gaining(filled) == gained


def test_change_number_is_the_newest_side() -> None:
    """A removed number is shown as it was."""
    assert Change(ChangeKind.REMOVED, "1", ready(1), None).number == ready(1)
    assert Change(ChangeKind.APPEARED, "1", ready(1), broken(1)).number == broken(1)
    with pytest.raises(ValueError, match="at least one side"):
        _ = Change(ChangeKind.REMOVED, "1", None, None).number
