"""What people read."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.drift.alert import Action, AlertBody, AlertChange, Kind, Notice, Resolution, Status
from monitor.drift.snapshot import ChangeKind
from monitor.notify.wording import (
    MAX_CHANGES,
    MAX_HEADLINE,
    MAX_ITEMS,
    MAX_LINE,
    Message,
    Tone,
    acknowledged,
    clip,
    compose,
    one_line,
    plain_text,
    units,
)
from tests.fakes.alerts import BODY, NUMBER
from tests.fakes.hostile import hostile_bodies
from tests.golden.examples import EXAMPLES
from tests.golden.renderings import FORMS, HERE, kept, path_of, rendered

LATER = "2026-03-01T15:05:09.000Z"


def changed(**fields: object) -> AlertBody:
    """Return the usual body with other fields."""
    return msgspec.structs.replace(BODY, **fields)


def over(resolution: Resolution, kind: Kind = Kind.DRIFT) -> Message:
    """Return how the end of an alert is told."""
    body = changed(
        kind=kind,
        change=Notice.RESOLVED,
        status=Status.RESOLVED,
        resolution=resolution,
        resolved_at=LATER,
    )
    return compose(body)


@pytest.mark.parametrize("example", EXAMPLES)
def test_text_is_as_it_was_read(example: str) -> None:
    """Each text was reviewed by a person; `python -m tests.golden.regenerate` shows what changed."""
    assert rendered("text", example) == kept("text", example)


def test_golden_files_are_those_of_the_examples() -> None:
    """No file is left over from a removed example."""
    wanted = {path_of(form, example) for form in FORMS for example in EXAMPLES}
    assert {path for form in FORMS for path in (HERE / form).iterdir()} == wanted


def test_examples_cover_what_can_be_told() -> None:
    """There is an example of every kind, every change and every resolution."""
    bodies = [make() for make in EXAMPLES.values()]
    assert {body.kind for body in bodies} == set(Kind)
    assert {body.change for body in bodies} == set(Notice)
    assert {body.resolution for body in bodies} == {None, *Resolution}


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(body=hostile_bodies())
def test_message_is_bounded_and_clean(body: AlertBody) -> None:
    """Whatever the provider writes: single lines, of bounded length, that all count up."""
    told = compose(body)
    lines = [told.headline, *told.to_do, *told.members, *told.changes, *told.facts, told.cause or ""]
    lines += [told.changed or "", acknowledged(told.taken_on) if told.taken_on else ""]
    assert all(line.isprintable() for line in lines)
    assert units(told.headline) <= MAX_HEADLINE
    assert all(units(line) <= MAX_LINE for line in told.members)
    assert len(told.members) <= MAX_ITEMS
    assert len(told.changes) <= MAX_CHANGES + 1
    if body.kind.about_numbers and not body.widespread:
        assert len(told.members) + told.more == (0 if told.brief else body.numbers_total)
    assert len(plain_text(told)) < 20_000


@given(text=st.text(max_size=60), limit=st.integers(min_value=1, max_value=30))
def test_clip_keeps_what_fits(text: str, limit: int) -> None:
    """A cut text is a beginning with an ellipsis, as long as it may be."""
    cut = clip(text, limit)
    assert units(cut) <= limit
    assert cut == text or (cut.endswith("…") and text.startswith(cut[:-1]) and units(cut) >= limit - 1)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(" a\r\n\tb ", "a b", id="white-space"),
        pytest.param("a\x00\x1b[31mb", "a [31mb", id="control"),
        pytest.param("a\u202eb\u2028c", "a b c", id="direction-and-line"),
        pytest.param("مرحبا 😀", "مرحبا 😀", id="letters-stay"),
        pytest.param("x" * 30, "x" * 19 + "…", id="long"),
    ],
)
def test_one_line_of_a_text_from_outside(text: str, line: str) -> None:
    """Nothing from outside breaks a line or turns its direction."""
    assert one_line(text, 20) == line


@pytest.mark.parametrize(
    ("change", "tag"),
    [
        (Notice.OPENED, "CRITICAL"),
        (Notice.UPDATED, "CRITICAL, update"),
        (Notice.REMINDER, "CRITICAL, still open"),
    ],
)
def test_tag_of_an_open_alert(change: Notice, tag: str) -> None:
    """The first word says how bad it is, and whether it is new."""
    assert compose(changed(change=change)).title == f"[{tag}] acme-sales: 1 number NO_BOT"


@pytest.mark.parametrize("resolution", Resolution)
def test_only_what_recovered_is_told_as_recovered(resolution: Resolution) -> None:
    """Green is for recovered numbers; of the others the message says that they are not, or may not be."""
    told = over(resolution)
    if resolution is Resolution.RECOVERED:
        assert (told.tone, told.tag, told.ending) == (Tone.RECOVERED, "RESOLVED", "Recovered: ready again.")
    else:
        assert (told.tone, told.tag) == (Tone.CLOSED, "CLOSED")
        assert told.ending is not None
        assert told.ending.startswith(("Not recovered", "Accepted", "Ended for several reasons"))


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_says_what_to_do_and_how_it_recovered(kind: Kind) -> None:
    """An open alert without actions still says what to do; a resolved one asks for nothing."""
    assert all(compose(changed(kind=kind, actions=[])).to_do)
    told = over(Resolution.RECOVERED, kind)
    assert (told.to_do, bool(told.ending)) == ((), True)


def test_actions_are_counted_against_all_numbers() -> None:
    """Who reads it sees how much is to be done."""
    actions = [Action(code="A", label="Do A", numbers=3), Action(code="B", label="B", numbers=1)]
    told = compose(changed(actions=actions, first_step="Do A of client 415.", numbers_total=3))
    assert told.to_do == ("Do A of client 415.", "B: 1 of 3 numbers")
    told = compose(changed(actions=actions, first_step="Do A.", numbers_total=4))
    assert told.to_do == ("Do A: 3 of 4 numbers", "B: 1 of 4 numbers")


def test_action_without_label_is_its_code() -> None:
    """The code is better than nothing."""
    actions = [Action(code="A", label="Do A", numbers=1), Action(code="NO_BOT", label=" ", numbers=1)]
    assert compose(changed(actions=actions)).to_do == ("Assign a bot.", "NO_BOT")


def test_many_kinds_of_action_are_counted() -> None:
    """A list that was cut says so."""
    actions = [Action(code=f"A{index}", label="", numbers=1) for index in range(11)]
    assert compose(changed(actions=actions)).to_do[-1] == "and 3 more actions"


@pytest.mark.parametrize(
    ("added", "ended", "words"),
    [
        pytest.param(2, 1, "2 joined, 1 ended; now 7 numbers.", id="both"),
        pytest.param(2, 0, "2 joined; now 7 numbers.", id="joined"),
        pytest.param(0, 1000, "1,000 ended; now 7 numbers.", id="ended"),
        pytest.param(
            0,
            0,
            "the same numbers, but states, issues or severity (now critical) changed.",
            id="neither",
        ),
    ],
)
def test_changed_since_the_last_message(added: int, ended: int, words: str) -> None:
    """An update says what is new in it."""
    body = changed(change=Notice.UPDATED, numbers_added=added, numbers_ended=ended, numbers_total=7)
    assert compose(body).changed == words


def test_a_move_of_many_is_in_the_plural_and_a_flap_is_one_number() -> None:
    """`their routing`, and no number twice on a line."""
    first = AlertChange(
        key="1",
        phone_number="+1",
        change=ChangeKind.CHANGED,
        previous_state="NO_BOT",
        state="ROUTING_MISSING",
        previous_issues=["NO_BOT"],
        issues=["ROUTING_MISSING"],
        was={"routing_target": "inbound:bot:93"},
        is_={"routing_target": None},
    )
    second = msgspec.structs.replace(first, key="2", phone_number="+2")
    once = changed(change=Notice.UPDATED, changes=[first, first], changes_total=2)
    assert compose(once).changes == ("+1: NO_BOT → ROUTING_MISSING; lost its routing",)
    both = changed(change=Notice.UPDATED, changes=[first, second], changes_total=2)
    assert compose(both).changes == ("+1, +2: NO_BOT → ROUTING_MISSING; lost their routing",)
    opened = changed(changes=[first, second], changes_total=2, numbers_total=2, common={"client_id": 415})
    assert str(compose(opened).cause).endswith("They both lost their routing.")


def test_changed_is_for_updates_only() -> None:
    """To the reader of a first message everything is new."""
    assert compose(changed(numbers_added=3)).changed is None


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        pytest.param({}, "+918011223344: was READY", id="as-the-alert-says"),
        pytest.param({"previous_state": None}, "+918011223344", id="never-seen-ready"),
        pytest.param(
            {"issues": ["NO_BOT", "EXPIRED"]}, "+918011223344: NO_BOT, EXPIRED; was READY", id="more-issues"
        ),
        pytest.param(
            {"state": "EXPIRED", "issues": []}, "+918011223344: EXPIRED; was READY", id="another-state"
        ),
        pytest.param({"flaps": 1}, "+918011223344: was READY; flapped once", id="flapped-once"),
        pytest.param({"flaps": 12}, "+918011223344: was READY; flapped 12 times", id="flapped"),
    ],
)
def test_number_line_says_what_the_rest_does_not(fields: dict[str, object], line: str) -> None:
    """Its state only where it is not the alert's, and what it was before."""
    assert compose(changed(numbers=[msgspec.structs.replace(NUMBER, **fields)])).members == (line,)


def test_number_lines_do_not_repeat_what_all_share() -> None:
    """What was READY, all of it, need not be said five times; what differs is said."""
    other = msgspec.structs.replace(NUMBER, phone_number="+2", client_id=9, since=LATER)
    told = compose(changed(numbers=[NUMBER, other], numbers_total=2, common={}))
    assert told.members == ("+918011223344: client 415", "+2: client 9; since 2026-03-01 15:05 UTC")


def test_first_seen_is_told_if_it_was_long_before_the_alert() -> None:
    """After a maintenance window: since when calls have been failing."""
    told = compose(changed(started_at=LATER, updated_at=LATER))
    assert told.first_seen_at is not None
    assert "Open since 2026-03-01 15:05 UTC (first seen 2026-03-01 12:00 UTC)." in plain_text(told)
    assert "since" not in told.members[0]


def test_how_long_it_took_is_told_at_the_end() -> None:
    """From, to, and the time between."""
    text = plain_text(over(Resolution.RECOVERED))
    assert "Open from 2026-03-01 12:00 UTC to 2026-03-01 15:05 UTC, 3h 5m." in text


def test_a_single_connection_is_not_listed_again() -> None:
    """The summary names it."""
    fields = {"kind": Kind.API_UNAVAILABLE, "numbers": [], "numbers_total": 0}
    assert compose(changed(**fields, connections=["a"])).members == ()
    told = compose(changed(**fields, connections=["a", "b"]), max_items=1)
    assert (told.members, told.more, told.more_line) == (("a",), 1, "and 1 more")
