"""Alert bodies full of what should not be there: markup, mentions, floods, emoji, other directions."""

from hypothesis import strategies as st

from monitor.drift.alert import (
    Acknowledgement,
    Action,
    AlertBody,
    AlertChange,
    AlertNumber,
    Kind,
    Notice,
    NumberAction,
    Resolution,
    Severity,
    Status,
)
from monitor.drift.snapshot import ChangeKind

PHRASES = (
    "<!channel> <!here> <!everyone>",
    "<@U024BE7LH> <#C024BE7LR>",
    "<https://evil.example|click here>",
    "*bold* _it_ ~gone~ `code` ```",
    "&lt;!channel&gt; & &&amp;",
    "> quoted\n>>> more\r\n\x00\x1b[31m",
    "line\u2028next\u2029\u202egnirts\u202c",
    "مرحبا שלום",
    "👩‍👩‍👧‍👦" * 40,
    "😀" * 300,
    "NO_BOT" * 2000,
    "&" * 10_000,
    "|^!date^0^{time}|x>",
    "",
)

# By index: hypothesis refuses to describe a strategy that holds texts so long.
_PHRASE = st.integers(min_value=0, max_value=len(PHRASES) - 1).map(lambda place: PHRASES[place])
TEXTS = st.one_of(
    _PHRASE,
    st.text(max_size=40),
    st.builds("".join, st.lists(_PHRASE, max_size=3)),
)
COUNTS = st.integers(min_value=0, max_value=10**7)
AT = "2026-03-01T12:00:00.000Z"
LATER = "2026-03-01T15:05:09.000Z"

ACTIONS = st.builds(Action, code=TEXTS, label=TEXTS, numbers=COUNTS)
NUMBERS = st.builds(
    AlertNumber,
    key=TEXTS,
    phone_number=TEXTS,
    state=TEXTS,
    previous_state=st.none() | TEXTS,
    issues=st.lists(TEXTS, max_size=3),
    action_items=st.lists(st.builds(NumberAction, code=TEXTS, label=TEXTS), max_size=2),
    did_id=st.none() | COUNTS | TEXTS,
    client_id=st.none() | COUNTS | TEXTS,
    since=st.sampled_from([AT, LATER]),
    flaps=COUNTS,
)

ACKNOWLEDGEMENTS = st.none() | st.builds(
    Acknowledgement, by=st.none() | TEXTS, at=st.just(AT), note=st.none() | TEXTS
)
DEPENDENCIES = st.dictionaries(
    st.sampled_from(["client_id", "bot_id", "routing_target", "agent_id"]), st.none() | COUNTS | TEXTS
)
CHANGES = st.builds(
    AlertChange,
    key=TEXTS,
    phone_number=TEXTS,
    change=st.sampled_from(ChangeKind),
    previous_state=st.none() | TEXTS,
    state=st.none() | TEXTS,
    previous_issues=st.lists(TEXTS, max_size=3),
    issues=st.lists(TEXTS, max_size=3),
    was=DEPENDENCIES,
    is_=DEPENDENCIES,
)


@st.composite
def hostile_bodies(draw: st.DrawFn) -> AlertBody:
    """Return any body that the store may hold, consistent in nothing but its types and its end."""
    change = draw(st.sampled_from(Notice))
    over = change is Notice.RESOLVED
    numbers = draw(st.lists(NUMBERS, max_size=4)) * draw(st.sampled_from([1, 1, 20]))
    return AlertBody(
        alert_id=draw(st.text(min_size=1, max_size=300)),
        kind=draw(st.sampled_from(Kind)),
        change=change,
        status=Status.RESOLVED if over else Status.FIRING,
        resolution=draw(st.sampled_from(Resolution)) if over else None,
        severity=draw(st.sampled_from(Severity)),
        summary=draw(TEXTS),
        instance=draw(TEXTS),
        connection=draw(st.none() | TEXTS),
        account=draw(st.none() | TEXTS),
        state=draw(st.none() | TEXTS),
        started_at=AT,
        updated_at=LATER,
        resolved_at=LATER if over else None,
        version=draw(COUNTS),
        numbers_total=len(numbers) + draw(COUNTS),
        numbers_listed=len(numbers),
        numbers=numbers,
        numbers_added=draw(COUNTS),
        numbers_ended=draw(COUNTS),
        connections=draw(st.lists(TEXTS, max_size=4)) * draw(st.sampled_from([1, 30])),
        common=draw(
            st.dictionaries(
                st.sampled_from(["client_id", "bot_id", "routing_target", "agent_id"]), COUNTS | TEXTS
            )
        ),
        common_names=draw(st.dictionaries(st.sampled_from(["client_id", "bot_id", "agent_id"]), TEXTS)),
        changes_total=draw(COUNTS),
        changes=draw(st.lists(CHANGES, max_size=4)) * draw(st.sampled_from([1, 20])),
        first_step=draw(TEXTS),
        widespread=draw(st.booleans()),
        part_of=draw(st.none() | TEXTS),
        acknowledged=draw(ACKNOWLEDGEMENTS),
        acknowledgement_ended=draw(ACKNOWLEDGEMENTS),
        actions=draw(st.lists(ACTIONS, max_size=4)) * draw(st.sampled_from([1, 10])),
        labels=draw(st.dictionaries(TEXTS, TEXTS, max_size=15)),
        url=draw(
            st.sampled_from([None, "https://m.example/a|b>c?x=1&y=<2>", "https://m.example/" + "a" * 5000])
        ),
        runbook_url=draw(st.sampled_from([None, "https://r.example/drift"])),
    )
