"""A sync's answer, read into a snapshot."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.drift.snapshot import ActionItem, Dependencies, Number, Snapshot
from monitor.errors import DecodeError, Outcome, SyncError
from monitor.voicelink.decode import BATCH, decode_sync
from monitor.voicelink.wire import WireParts

NEEDED = ("readiness", "drift")
OTHERS = tuple(name for name in WireParts.__struct_fields__ if name not in NEEDED)
DOCUMENTED = (Path(__file__).parents[2] / "fixtures" / "voicelink-sync.json").read_bytes()
KEY = "918011223344"
READY: dict[str, Any] = {
    "key": KEY,
    "phone_number": f"+{KEY}",
    "state": "READY",
    "issues": [],
    "remote_did": {"did_id": 812, "client_id": 415, "status": "active", "is_expired": False, "raw": {}},
    "local_phone_number": {"id": "l-1", "agent_id": "agent-7", "status": "ACTIVE"},
    "routing": {
        "id": 5,
        "for_inbound_call": 3,
        "for_outbound_call": 2,
        "inbound_websocket_bot_id": 93,
        "outbound_websocket_bot_id": None,
        "outbound_sip_trunk_id": 7,
        "status": 1,
    },
    "bot": {"id": 93, "bot_name": "Reception", "client_id": 415, "status": 1},
    "actions": [],
    "action_items": [],
}
DRIFT = {
    "key": KEY,
    "phone_number": f"+{KEY}",
    "state": "NO_BOT",
    "action": "Mend",
    "did_id": 812,
    "client_id": 415,
}
REFS = Dependencies(
    client_id=415,
    bot_id=93,
    routing_target="inbound:bot:93 outbound:sip:7",
    agent_id="agent-7",
    bot_active=True,
    routing_active=True,
    number_active=True,
)
NO_ROUTING = {"routing_target": None, "routing_active": None}
SILENT = {"routing_active": None, "unknown": ("routing_active",)}


def _answer(**parts: Any) -> bytes:
    return json.dumps({"success": True, "data": {name: [] for name in (*NEEDED, *OTHERS)} | parts}).encode()


async def _number(readiness: dict[str, Any], *drift: dict[str, Any]) -> Number:
    snapshot = await decode_sync(_answer(readiness=[readiness], drift=list(drift)))
    (number,) = snapshot.numbers.values()
    return number


async def test_documented_answer_is_read_as_documented() -> None:
    """The reference page's answer, word for word."""
    items = (
        ActionItem("NO_BOT", "Create an active VoiceLink WebSocket bot for the mapped client"),
        ActionItem("ROUTING_MISSING", "Create VoiceLink call routing for this DID"),
        ActionItem("NO_VOCOBASE_AGENT", "Assign a Vocobase agent to the local PhoneNumber row"),
    )
    number = Number(
        key=KEY,
        phone_number="+918011223344",
        state="NO_BOT",
        drifting=True,
        issues=("NO_BOT", "ROUTING_MISSING", "NO_VOCOBASE_AGENT"),
        action_items=items,
        did_id=812,
        dependencies=Dependencies(client_id=415),
    )
    inventory = {
        "clients": 0,
        "dids": 1,
        "available_dids": 0,
        "bots": 0,
        "routing": 0,
        "local_phone_numbers": 0,
    }
    assert await decode_sync(DOCUMENTED) == Snapshot(numbers={KEY: number}, inventory=inventory)


async def test_ready_number_is_read_with_what_it_hangs_on() -> None:
    """Client, bot, routing target and agent come from wherever the entry names them."""
    assert await _number(READY) == Number(
        key=KEY, phone_number=f"+{KEY}", state="READY", drifting=False, did_id=812, dependencies=REFS
    )


@pytest.mark.parametrize(
    ("change", "key", "phone"),
    [
        pytest.param({"key": "+91 80-1122 3344"}, KEY, f"+{KEY}", id="key with signs"),
        pytest.param({"key": 918011223344}, KEY, f"+{KEY}", id="key as integer"),
        pytest.param({"key": None}, KEY, f"+{KEY}", id="key from the phone number"),
        pytest.param({"key": ""}, KEY, f"+{KEY}", id="key empty"),
        pytest.param({"phone_number": None}, KEY, f"+{KEY}", id="phone number from the key"),
        pytest.param({"phone_number": "080 1\n"}, KEY, "080 1", id="phone number cleaned"),
    ],
)
async def test_key_is_digits_from_key_or_phone_number(change: dict[str, Any], key: str, phone: str) -> None:
    """A number is found again however the provider writes it."""
    number = await _number(READY | change)
    assert (number.key, number.phone_number) == (key, phone)


@pytest.mark.parametrize(
    ("change", "state", "issues"),
    [
        pytest.param({}, "READY", (), id="ready"),
        pytest.param({"state": " Fine\x00 "}, "Fine", (), id="unknown state, cleaned"),
        pytest.param({"state": None}, "UNKNOWN", (), id="no state"),
        pytest.param({"state": ["x"]}, "UNKNOWN", (), id="state of another type"),
        pytest.param({"state": 3}, "3", (), id="state as integer"),
        pytest.param({"issues": ["A", "B", "A"]}, "READY", ("A", "B"), id="issues, each once"),
        pytest.param({"state": None, "issues": ["A"]}, "A", ("A",), id="state from the issues"),
        pytest.param({"issues": [""]}, "READY", ("UNKNOWN",), id="a blank issue is one"),
        pytest.param({"issues": None}, "READY", (), id="null issues"),
        pytest.param({"remote_did": {"is_expired": True}}, "EXPIRED", ("EXPIRED",), id="expired"),
        pytest.param({"remote_did": {"is_expired": "true"}}, "EXPIRED", ("EXPIRED",), id="expired as a word"),
        pytest.param({"remote_did": {"is_expired": 1}}, "EXPIRED", ("EXPIRED",), id="expired as a number"),
        pytest.param({"remote_did": {"is_expired": "false"}}, "READY", (), id="not expired, as a word"),
        pytest.param(
            {"remote_did": {"is_expired": True}, "issues": ["A"]},
            "READY",
            ("A",),
            id="expired is no second issue",
        ),
        pytest.param({"state": "S" * 500}, "S" * 100, (), id="long state"),
    ],
)
async def test_number_drifts_when_it_has_issues(
    change: dict[str, Any], state: str, issues: tuple[str, ...]
) -> None:
    """Issues or an expired DID make a number drift, not the name of its state."""
    number = await _number(READY | change)
    assert (number.state, number.issues, number.drifting) == (state, issues, bool(issues))


@pytest.mark.parametrize(
    ("change", "items"),
    [
        pytest.param({"action_items": [{"code": "A", "label": "Do a"}]}, [("A", "Do a")], id="as documented"),
        pytest.param({"action_items": [{"code": "A"}, {}]}, [("A", "A")], id="without label"),
        pytest.param({"action_items": [{"code": 4, "label": None}, 7]}, [("4", "4")], id="odd types"),
        pytest.param(
            {"action_items": None, "issues": ["A", "B"], "actions": ["Do a", "Do b", "Do c"]},
            [("A", "Do a"), ("B", "Do b"), ("", "Do c")],
            id="from actions, by index",
        ),
        pytest.param({"action_items": [], "actions": ["Do a"]}, [("", "Do a")], id="from actions alone"),
        pytest.param({"action_items": "x", "actions": "y"}, [], id="neither is a list"),
    ],
)
async def test_actions_are_read_from_items_or_texts(
    change: dict[str, Any], items: list[tuple[str, str]]
) -> None:
    """What to do is kept as far as the provider says it."""
    number = await _number(READY | change)
    assert [(item.code, item.label) for item in number.action_items] == items


@pytest.mark.parametrize(
    ("change", "refs"),
    [
        pytest.param({"routing": None}, NO_ROUTING, id="no routing"),
        pytest.param(
            {"routing": {"id": "5"}},
            {
                "routing_target": "routing:5",
                "routing_active": None,
                "unknown": ("routing_active", "inbound", "outbound"),
            },
            id="routing without targets",
        ),
        pytest.param(
            {"routing": []},
            NO_ROUTING | {"unknown": ("routing_target", "routing_active")},
            id="routing is no object",
        ),
        pytest.param(
            {"routing": READY["routing"] | {"inbound_websocket_bot_id": None}},
            {"routing_target": "outbound:sip:7"},
            id="a side that leads to no bot",
        ),
        pytest.param(
            {"routing": READY["routing"] | {"inbound_websocket_bot_id": [93]}},
            {"routing_target": "outbound:sip:7", "unknown": ("inbound",)},
            id="a side that leads to some bot",
        ),
        pytest.param(
            {"routing": READY["routing"] | {"for_outbound_call": None, "outbound_sip_trunk_id": None}},
            {"routing_target": "inbound:bot:93"},
            id="a side that leads nowhere",
        ),
        pytest.param({"routing": READY["routing"] | {"status": 0}}, {"routing_active": False}, id="off"),
        pytest.param(
            {"routing": {"for_inbound_call": "1", "for_outbound_call": 4}},
            SILENT | {"routing_target": "inbound:mobile outbound:answer"},
            id="mobile and only answer",
        ),
        pytest.param(
            {
                "routing": {
                    "for_inbound_call": 3.0,
                    "inbound_websocket_bot_id": "93",
                    "outbound_sip_trunk_id": 7,
                }
            },
            SILENT | {"routing_target": "inbound:bot:93 outbound:sip:7"},
            id="types differ, a kind is missing",
        ),
        pytest.param(
            {"routing": {"for_inbound_call": 9, "for_outbound_call": "queue"}},
            SILENT | {"routing_target": "inbound:9 outbound:queue"},
            id="unknown kinds",
        ),
        pytest.param({"bot": None}, {"bot_id": None, "bot_active": None}, id="no bot"),
        pytest.param({"bot": {"id": "93", "status": "Active"}}, {}, id="bot id as a string"),
        pytest.param(
            {"bot": {"status": "0"}},
            {"bot_id": None, "bot_active": False, "unknown": ("bot_id",)},
            id="bot without id",
        ),
        pytest.param({"bot": {"id": None, "status": 1}}, {"bot_id": None}, id="bot whose id is null"),
        pytest.param({"remote_did": None}, {}, id="client from the bot"),
        pytest.param(
            {"local_phone_number": None}, {"agent_id": None, "number_active": None}, id="no local number"
        ),
        pytest.param(
            {"local_phone_number": {"vocobase_agent_id": 4, "status": True}},
            {"agent_id": 4},
            id="vocobase_agent_id",
        ),
        pytest.param({"local_phone_number": {"agentId": "4", "status": "on"}}, {"agent_id": 4}, id="agentId"),
        pytest.param(
            {"local_phone_number": {"agent": {"id": "x"}, "status": "INACTIVE"}},
            {"agent_id": "x", "number_active": False},
            id="agent.id",
        ),
        pytest.param(
            {"local_phone_number": {"agent": None, "status": 1}}, {"agent_id": None}, id="agent is null"
        ),
        pytest.param(
            {"local_phone_number": {"agent": "x", "status": {}}},
            {"agent_id": None, "number_active": None, "unknown": ("agent_id", "number_active")},
            id="agent is no object",
        ),
    ],
)
async def test_refs_are_read_leniently(change: dict[str, Any], refs: dict[str, Any]) -> None:
    """An id may be of another type or in another place; one that is missing is unknown, `null` is none."""
    expected = {name: getattr(REFS, name) for name in REFS.__struct_fields__} | refs
    assert (await _number(READY | change)).dependencies == Dependencies(**expected)


@pytest.mark.parametrize("part", ["routing", "bot", "local_phone_number"])
async def test_part_that_an_entry_lacks_is_unknown_and_one_that_is_null_is_none(part: str) -> None:
    """Only `null` says that a number has no routing, bot or agent; a part that is not there says nothing."""
    without = {name: value for name, value in READY.items() if name != part}
    lacking, none = (await _number(without)).dependencies, (await _number(READY | {part: None})).dependencies
    assert lacking.filled(REFS) == REFS
    assert none.filled(REFS) == none
    assert (lacking.lost(REFS), len(none.lost(REFS))) == ((), 1)


@pytest.mark.parametrize("status", [0, "0", False, "false", "inactive", "INACTIVE", " Disabled "])
@pytest.mark.parametrize("part", ["routing", "bot", "local_phone_number"])
async def test_only_a_status_that_says_off_is_off(part: str, status: object) -> None:
    """Off, on, or not said; a word that the provider never used before is not off."""
    found: dict[object, tuple[str, ...]] = {}
    for said in (status, 1, "paused", None, ""):
        changed = await _number(READY | {part: READY[part] | {"status": said}})
        found[said] = changed.dependencies.lost(REFS)
    assert len(found.pop(status)) == 1
    assert set(found.values()) == {()}


async def test_names_come_from_the_lists_and_from_the_entries() -> None:
    """Of clients, bots and agents that numbers depend on; a list has the last word."""
    agent = {"agent": {"id": "agent-7", "name": "Support"}}
    snapshot = await decode_sync(
        _answer(
            readiness=[READY | {"local_phone_number": READY["local_phone_number"] | agent}],
            clients=[{"id": "415", "first_name": "Acme", "last_name": "Sales"}, {"id": 9, "name": "X"}, 7],
            bots=[{"id": 94, "bot_name": "Other"}, {"id": 93, "bot_name": 5}],
        )
    )
    assert snapshot.names == {"client:415": "Acme Sales", "bot:93": "5", "agent:agent-7": "Support"}
    assert (await decode_sync(_answer(readiness=[READY]))).names == {"bot:93": "Reception"}


async def test_listed_number_drifts_without_issues() -> None:
    """`drift` has the say, and fills what readiness leaves open."""
    number = await _number(READY | {"remote_did": None, "bot": None}, DRIFT)
    assert number.drifting
    assert (number.state, number.issues, number.did_id) == ("READY", (), 812)
    assert number.dependencies.client_id == 415
    assert number.action_items == (ActionItem("NO_BOT", "Mend"),)


async def test_listed_number_without_state_takes_that_of_drift() -> None:
    """A state is better than none."""
    assert (await _number(READY | {"state": None}, DRIFT)).state == "NO_BOT"


async def test_number_in_drift_alone_drifts() -> None:
    """A number that readiness lacks is not lost."""
    snapshot = await decode_sync(_answer(drift=[DRIFT]))
    assert snapshot.numbers == {
        KEY: Number(
            key=KEY,
            phone_number=f"+{KEY}",
            state="NO_BOT",
            drifting=True,
            action_items=(ActionItem("NO_BOT", "Mend"),),
            did_id=812,
            dependencies=Dependencies(
                client_id=415,
                unknown=(
                    "bot_id",
                    "routing_target",
                    "agent_id",
                    "bot_active",
                    "routing_active",
                    "number_active",
                ),
            ),
        )
    }


async def test_number_listed_twice_is_one() -> None:
    """Issues are united and drifting wins, whichever comes first."""
    broken = READY | {"key": f"+{KEY}", "state": "BAD", "issues": ["A"], "routing": None}
    worse = READY | {"state": "BAD", "issues": ["A", "B"]}
    snapshots = [
        await decode_sync(_answer(readiness=entries))
        for entries in ([READY, broken, worse], [worse, broken, READY])
    ]
    assert snapshots[0] == snapshots[1]
    number = snapshots[0].numbers[KEY]
    assert (number.state, number.drifting, set(number.issues)) == ("BAD", True, {"A", "B"})
    assert number.dependencies == REFS


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(7, id="no object"),
        pytest.param({}, id="no key"),
        pytest.param({"key": "none"}, id="no digits"),
        pytest.param({"key": "1" * 40}, id="endless key"),
        pytest.param(READY | {"key": "1", "issues": "NO_BOT"}, id="issues are no list"),
        pytest.param(READY | {"key": "1", "issues": [7]}, id="an issue is no code"),
    ],
)
async def test_unreadable_entry_is_skipped_and_counted(odd: Any) -> None:
    """One bad entry costs itself, not the sync."""
    snapshot = await decode_sync(_answer(readiness=[odd, READY], drift=[DRIFT]))
    assert snapshot.skipped == 1
    assert list(snapshot.numbers) == [KEY]


async def test_unreadable_drift_entry_is_skipped_and_counted() -> None:
    """The same goes for `drift`."""
    snapshot = await decode_sync(_answer(readiness=[READY], drift=[None, DRIFT]))
    assert snapshot.skipped == 1
    assert snapshot.numbers[KEY].drifting


def _without(part: str) -> bytes:
    answer = json.loads(_answer())
    del answer["data"][part]
    return json.dumps(answer).encode()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        pytest.param(b"", "$", id="empty"),
        pytest.param(b"<html>", "$", id="not JSON"),
        pytest.param(b"[]", "$", id="not an object"),
        pytest.param(DOCUMENTED[:-20], "$", id="truncated"),
        pytest.param(b'{"a": ' + b"[" * 100_000, "$", id="nested without end"),
        pytest.param(b"{}", "success", id="no success"),
        pytest.param(b'{"success": 1}', "success", id="success of another type"),
        pytest.param(b'{"success": true}', "data", id="no data"),
        pytest.param(b'{"success": true, "data": []}', "data", id="data is a list"),
        *[pytest.param(_without(part), f"data.{part}", id=f"no {part}") for part in NEEDED],
        *[pytest.param(_answer(**{part: None}), f"data.{part}", id=f"null {part}") for part in NEEDED],
        *[pytest.param(_answer(**{part: {}}), f"data.{part}", id=f"{part} is an object") for part in NEEDED],
        pytest.param(_answer(readiness=[7, {}]), "data.readiness", id="nothing readable"),
        pytest.param(_answer(readiness=[READY], drift=[7]), "data.drift", id="no drift readable"),
    ],
)
async def test_unreadable_answer_names_the_path(body: bytes, path: str) -> None:
    """A part we need that is missing or of another type fails the sync, and says where."""
    with pytest.raises(DecodeError) as caught:
        await decode_sync(body)
    assert caught.value.path == path
    assert caught.value.outcome is Outcome.INVALID_RESPONSE


async def test_answer_that_failed_is_rejected() -> None:
    """`success: false` is a refusal with its code, not an unreadable answer."""
    body = b'{"success": false, "error": {"code": "CONFLICT", "message": "DID +918011223344"}}'
    with pytest.raises(SyncError, match=r"CONFLICT: DID \*\*\*$") as caught:
        await decode_sync(body)
    assert caught.value.outcome is Outcome.REJECTED


async def test_warnings_are_kept_as_short_texts() -> None:
    """Strings as they are, objects by code and message, anything else as its JSON."""
    warnings = ["plain", {"code": "W1", "message": "odd"}, {"x": [1]}, 7, "w" * 999]
    snapshot = await decode_sync(_answer(warnings=warnings))
    assert snapshot.warnings == ("plain", "W1: odd", '{"x": [1]}', "7", "w" * 200)


async def test_inventory_counts_the_entries_of_each_part() -> None:
    """Elements are counted, whatever they are."""
    snapshot = await decode_sync(_answer(dids=[1, {}, None], bots=[[]]))
    assert snapshot.inventory == {
        "clients": 0, "dids": 3, "available_dids": 0, "bots": 1, "routing": 0, "local_phone_numbers": 0
    }  # fmt: skip


async def test_large_answer_is_read_in_slices() -> None:
    """Others run between batches, and the snapshot is the same."""
    yields: list[None] = []

    async def sleep0() -> None:
        yields.append(None)

    entries = [READY | {"key": str(i), "phone_number": None} for i in range(BATCH * 3)]
    body = _answer(readiness=entries)
    sliced = await decode_sync(body, whole_bytes=0, sleep0=sleep0)
    assert len(yields) >= 2
    assert sliced == await decode_sync(body)
    assert len(sliced.numbers) == BATCH * 3


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
RICH = json.loads(
    _answer(readiness=[READY, READY | {"key": "2"}], drift=[DRIFT], warnings=["w"], dids=[{"id": 1}])
)


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for name, item in inner for path in _paths(item, (*at, name)))]


def _put(answer: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    answer = copy.deepcopy(answer)
    holder = answer
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    return answer


async def _outcome(body: bytes, whole_bytes: int) -> Snapshot | str:
    try:
        return await decode_sync(body, whole_bytes=whole_bytes)
    except SyncError as exc:
        return str(exc)


@settings(max_examples=400)
@given(st.sampled_from(_paths(RICH)), ANYTHING)
async def test_mutated_answer_is_read_or_a_sync_error_either_way(path: tuple[Any, ...], value: Any) -> None:
    """Whatever one place of the answer holds: a snapshot or a SyncError, the same in slices as in one go."""
    body = json.dumps(_put(RICH, path, value)).encode()
    assert await _outcome(body, 1 << 30) == await _outcome(body, 0)


@settings(deadline=None)
@given(st.binary() | ANYTHING.map(lambda value: json.dumps(value).encode()))
async def test_garbage_is_a_sync_error(body: bytes) -> None:
    """Nothing that is no answer becomes a snapshot or another exception."""
    with pytest.raises(SyncError):
        await decode_sync(body)


@settings(deadline=None)
@given(st.integers(0, len(DOCUMENTED) - 1), st.integers(0, 255))
async def test_damaged_bytes_are_read_or_a_sync_error(at: int, byte: int) -> None:
    """A flipped byte makes no other exception, and both ways of reading agree."""
    body = DOCUMENTED[:at] + bytes([byte]) + DOCUMENTED[at + 1 :]
    assert await _outcome(body, 1 << 30) == await _outcome(body, 0)


ENTRIES = st.builds(
    lambda key, state, issues, bot: (
        READY | {"key": key, "phone_number": None, "state": state, "issues": issues, "bot": bot}
    ),
    st.sampled_from("1234"),
    st.sampled_from(["READY", "A", None]),
    st.lists(st.sampled_from("AB"), max_size=2),
    st.sampled_from([None, {"id": 1}, {"id": "2"}]),
)


@settings(deadline=None)
@given(st.lists(ENTRIES, max_size=6), st.lists(st.sampled_from("1235"), max_size=4), st.randoms())
async def test_order_of_lists_does_not_matter(
    readiness: list[dict[str, Any]], keys: list[str], rng: random.Random
) -> None:
    """The provider may list numbers in any order."""
    drift = [DRIFT | {"key": key, "action": f"Mend {i}"} for i, key in enumerate(keys)]
    before = await decode_sync(_answer(readiness=readiness, drift=drift))
    rng.shuffle(readiness)
    rng.shuffle(drift)
    assert await decode_sync(_answer(readiness=readiness, drift=drift)) == before


@pytest.mark.parametrize("part", OTHERS)
@pytest.mark.parametrize("value", ["missing", None, {}, "none"], ids=str)
@pytest.mark.parametrize("whole_bytes", [0, 2**20])
async def test_part_that_says_nothing_of_a_number_may_be_missing(
    part: str, value: object, whole_bytes: int
) -> None:
    """Only `readiness` and `drift` are needed: the rest is empty then, and a warning says so."""
    body = _without(part) if value == "missing" else _answer(**{part: value})
    body = json.dumps(json.loads(body) | {"data": json.loads(body)["data"] | {"readiness": [READY]}}).encode()
    snapshot = await decode_sync(body, whole_bytes=whole_bytes)
    assert len(snapshot.numbers) == 1
    assert snapshot.inventory.get(part, 0) == 0
    assert [part in warning for warning in snapshot.warnings] == [True]


@pytest.mark.parametrize(
    ("escape", "text"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\uDE00", "\ufffd"),
        (r"\ud83dx", "\ufffdx"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\\ud83d \ud83d", "\\ud83d \ufffd"),
    ],
    ids=["high", "low", "high before a letter", "high before a pair", "beside an escaped backslash"],
)
@pytest.mark.parametrize("whole_bytes", [0, 2**20])
async def test_half_a_surrogate_pair_is_replaced_wherever_it_stands(
    escape: str, text: str, whole_bytes: int
) -> None:
    """One in any text, used or not, must not make a connection unreadable; a warning tells of it."""
    entry = json.dumps(READY | {"state": "STATE", "unused": "UNUSED"})
    body = _answer(readiness=["ENTRY"]).replace(b'"ENTRY"', entry.encode())
    for place in (b"STATE", b"UNUSED"):
        found = await decode_sync(body.replace(place, escape.encode()), whole_bytes=whole_bytes)
        (number,) = found.numbers.values()
        assert number.state == (text if place == b"STATE" else "STATE")
        assert len(found.warnings) == 1


async def test_bytes_that_are_not_utf8_are_replaced() -> None:
    """A provider that cuts a text in the middle of a character must not blind us."""
    entry = json.dumps(READY | {"state": "STATE"})
    body = _answer(readiness=["ENTRY"]).replace(b'"ENTRY"', entry.encode()).replace(b"STATE", b"ST\xe2\x82")
    (number,) = (await decode_sync(body)).numbers.values()
    assert number.state == "ST\ufffd"


async def test_broken_json_stays_unreadable_after_the_repair() -> None:
    """Replacing characters must not turn a cut answer into one that is believed."""
    with pytest.raises(DecodeError):
        await decode_sync(_answer(readiness=[READY])[:-30] + rb"\ud83d")


@settings(max_examples=50)
@given(st.permutations(range(6)), st.integers(1, 6))
async def test_order_of_repeated_entries_does_not_matter(order: list[int], listed: int) -> None:
    """Issues of all entries of a number are united, the same ones whatever comes first."""
    entries = [READY | {"state": f"S{each}", "issues": [f"I{each}", "I0"]} for each in order]
    drift = [{"key": READY["key"], "state": f"S{each}", "client_id": each} for each in order[:listed]]
    straight = [READY | {"state": f"S{each}", "issues": [f"I{each}", "I0"]} for each in range(6)]
    found = await decode_sync(_answer(readiness=entries, drift=drift))
    again = await decode_sync(_answer(readiness=straight, drift=sorted(drift, key=str)))
    assert found.numbers == again.numbers
    assert {f"I{each}" for each in range(6)} == set(found.numbers[READY["key"]].issues)


@pytest.mark.timeout(60)
async def test_number_that_comes_again_and_again_is_read_in_slices() -> None:
    """Each entry costs the same and others run in between: what grew with the square took minutes here."""
    many = 60_000
    entries = [READY | {"issues": [f"I{each}"]} for each in range(many)]
    drift = [{"key": KEY, "state": "S", "action": f"A{each}"} for each in range(many)]
    slices = 0

    async def sleep0() -> None:
        nonlocal slices
        slices += 1

    snapshot = await decode_sync(_answer(readiness=entries, drift=drift), sleep0=sleep0)
    assert len(snapshot.numbers[KEY].issues) == many
    assert slices >= 2 * (many // BATCH - 1)
