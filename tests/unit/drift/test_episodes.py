"""How a number's problem is confirmed and how it ends."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from monitor.drift.alert import Kind, Resolution, Severity
from monitor.drift.rules import Rules
from monitor.drift.snapshot import Dependencies
from tests.unit.drift.build import (
    ANY_CHANGE,
    AT_ONCE,
    EVERY_KIND,
    HOUR,
    MINUTE,
    OPENED,
    RECHECK,
    RESOLVED,
    SECOND,
    START,
    UPDATED,
    Watch,
    answer,
    broken,
    drive,
    firing,
    fleet,
    key,
    ready,
)

# --- confirmation ---


@pytest.mark.parametrize(
    ("confirm_syncs", "seen", "opens_at"),
    [
        pytest.param(1, "t", 1, id="first_sight"),
        pytest.param(2, "tt", 2, id="two_in_a_row"),
        pytest.param(2, "tgt", 3, id="one_ready_between"),
        pytest.param(2, "tggt", None, id="two_ready_close_it"),
        pytest.param(2, "tggtt", 5, id="and_it_begins_anew"),
        pytest.param(3, "tgtgt", 5, id="three_with_gaps"),
        pytest.param(2, "tft", 3, id="failed_sync_between"),
        pytest.param(2, "tfff", None, id="failures_confirm_nothing"),
        pytest.param(2, "tat", 3, id="absent_once"),
        pytest.param(2, "tuu", None, id="unknown_confirms_nothing"),
        pytest.param(2, "tut", 3, id="unknown_between"),
        pytest.param(2, "tg", None, id="ready_in_between_does_not_open"),
    ],
)
def test_drift_is_confirmed_by_so_many_syncs(confirm_syncs: int, seen: str, opens_at: int | None) -> None:
    """Confirmed by `confirm_syncs` sights, not in a row; only two ready ones in a row close it before."""
    watch = Watch(Rules(confirm_syncs=confirm_syncs))
    opened = None
    for position, sight in enumerate(seen, start=1):
        drive(watch, sight)
        if opened is None and watch.open_keys:
            opened = position
    assert opened == opens_at


def test_first_snapshot_confirms_like_any_other() -> None:
    """What was broken before we came alerts after the second sync, however much it is; it is never held."""
    watch = Watch()
    everything = [broken(index) for index in range(1, 31)]
    assert watch.sync(*everything).opened == ()
    assert len(watch.sync(*everything).opened) == 30
    assert watch.held == []


def test_held_answers_count_towards_confirmation() -> None:
    """When the third implausible answer is applied, what all three showed is confirmed at once."""
    watch = Watch()
    watch.sync(*fleet(10))
    most = fleet(10, *(broken(index) for index in range(1, 8)))
    assert not watch.sync(*most).opened
    assert not watch.sync(*most).opened
    assert len(watch.sync(*most).opened) == 7
    assert len(watch.held) == 2


def test_held_answers_confirm_only_what_they_showed() -> None:
    """A number that only the applied answer shows broken was seen once."""
    watch = Watch()
    watch.sync(*fleet(10))
    most = [broken(index) for index in range(1, 8)]
    watch.sync(*fleet(10, *most))
    watch.sync(*fleet(10, *most))
    watch.sync(*fleet(10, *most, broken(8)))
    assert watch.open_keys == {key(index) for index in range(1, 8)}


def test_held_answers_confirm_a_pending_drift_that_the_last_one_shows_ready() -> None:
    """Sights in held answers are never taken off: two held ones count as two."""
    watch = Watch(Rules(confirm_syncs=3))
    watch.sync(*fleet(10, broken(9)))
    most = [broken(index) for index in range(1, 8)]
    watch.sync(*fleet(10, *most, broken(9)))
    watch.sync(*fleet(10, *most, broken(9)))
    watch.sync(*fleet(10, *most))
    assert watch.records.tracks[f"drift:{key(9)}"].seen == 3


def test_held_answers_do_not_confirm_what_they_did_not_show() -> None:
    """A pending drift that unreadable entries may hide stays pending through a hold."""
    watch = Watch()
    watch.sync(*fleet(12, broken(12)))
    most = fleet(11, *(broken(index) for index in range(1, 9)))
    for _ in range(3):
        watch.sync(*most, skipped=1)
    assert len(watch.held) == 2
    assert watch.open_keys == {key(index) for index in range(1, 9)}


def test_held_answers_resolve_nothing() -> None:
    """An answer that would end most drifts in one step ends none until it is believed."""
    watch = Watch(AT_ONCE)
    watch.sync(*(broken(index) for index in range(1, 11)))
    for _ in range(2):
        assert watch.sync(*fleet(10), after=HOUR).ended == ()
    assert len(watch.sync(*fleet(10), after=HOUR).ended) == 10


def test_unknown_numbers_begin_nothing() -> None:
    """A number that only the previous snapshot shows broken begins no track."""
    watch = Watch(AT_ONCE)
    watch.sync(broken(1), ready(2))
    watch.wait(unconfigured=True)
    assert watch.sync(ready(2), skipped=1).opened == ()
    assert len(watch.sync(broken(1), ready(2)).opened) == 1


# --- end ---


def test_episode_ends_after_ready_syncs_and_time() -> None:
    """It takes two ready syncs in a row and five minutes since the first of them."""
    watch = firing()
    watch.sync(ready(1), ready(2))
    done = watch.sync(ready(1), ready(2))
    assert done.wakes_at == watch.now - RECHECK + 5 * MINUTE
    assert not watch.wait(5 * MINUTE - RECHECK - SECOND).ended
    (end,) = watch.wait(SECOND).ended
    assert (end.resolution, end.track.key) == (Resolution.RECOVERED, key(1))
    assert watch.notices == [OPENED, RESOLVED]
    assert watch.records.alerts == ()


def test_episode_does_not_end_on_one_ready_sync() -> None:
    """However long ago it was: failed syncs since leave the streak at one."""
    watch = firing()
    watch.sync(ready(1), ready(2))
    assert not watch.wait(HOUR).ended
    assert len(watch.sync(ready(1), ready(2)).ended) == 1


def test_flap_continues_the_episode_and_is_counted() -> None:
    """Trouble before the end does not open a second episode; time begins anew."""
    watch = firing()
    episode = watch.records.tracks[f"drift:{key(1)}"].episode
    for _ in range(2):
        watch.sync(ready(1), ready(2))
        watch.sync(ready(1), ready(2))
        watch.sync(broken(1), ready(2))
    flapped = watch.records.tracks[f"drift:{key(1)}"].episode
    assert episode is not None
    assert flapped is not None
    assert (flapped.id, flapped.flaps) == (episode.id, 2)
    assert not watch.wait(HOUR).ended
    assert watch.notices == [OPENED]


def test_episode_keeps_its_group_whatever_its_state_becomes() -> None:
    """The alert's state is that at confirmation; the number shows its current one."""
    watch = firing()
    watch.sync(broken(1, "ROUTING_MISSING"), ready(2), after=5 * MINUTE)
    body = watch.last_body()
    assert (body.change, body.state) == (UPDATED, "NO_BOT")
    assert [number.state for number in body.numbers] == ["ROUTING_MISSING"]
    assert len(watch.records.alerts) == 1


def test_drift_of_a_number_that_goes_ends_as_removed() -> None:
    """Not recovered: the drift ends with the word `removed`, and the removal is an alert of its own."""
    watch = firing()
    watch.sync(ready(2))
    watch.sync(ready(2))
    said = [(made.alert.kind, made.notice, made.resolution) for made in watch.reports[1:]]
    assert said == [
        (Kind.DRIFT, RESOLVED, Resolution.REMOVED),
        (Kind.NUMBER_REMOVED, OPENED, None),
    ]


@pytest.mark.parametrize(
    ("sights", "kept"),
    [
        pytest.param("uuu", True, id="unknown"),
        pytest.param("uuuu", False, id="unknown_three_times_is_missing"),
        pytest.param("uutuut", True, id="unknown_never_three_times_in_a_row"),
        pytest.param("ffffffff", True, id="failed"),
        pytest.param("agaga", True, id="absent_and_ready_never_twice"),
        pytest.param("gugu", False, id="unknown_leaves_the_good_streak"),
        pytest.param("gfg", False, id="a_failure_leaves_the_good_streak"),
        pytest.param("gtg", True, id="bad_breaks_the_good_streak"),
    ],
)
def test_episode_ends_only_on_what_was_seen(sights: str, *, kept: bool) -> None:
    """Missing data ends nothing."""
    watch = firing(Rules(keep_firing_for=timedelta(0), alerting=frozenset({Kind.DRIFT})))
    for sight in sights:
        drive(watch, sight)
    assert bool(watch.open_keys) is kept


# --- removed and reconfigured numbers ---


def test_number_removed_ends_when_it_returns() -> None:
    """Two sights of the number, and five minutes since the first."""
    watch = Watch()
    watch.sync(ready(1), ready(2))
    watch.sync(ready(2))
    watch.sync(ready(2))
    body = watch.last_body()
    assert (body.kind, body.change, body.severity) == (Kind.NUMBER_REMOVED, OPENED, Severity.WARNING)
    assert [number.key for number in body.numbers] == [key(1)]
    assert body.common == {"client_id": 415, "bot_id": 93}
    watch.sync(ready(1), ready(2))
    watch.sync(ready(1), ready(2))
    watch.wait(5 * MINUTE)
    assert watch.last_body().resolution is Resolution.RECOVERED


def test_number_removed_ends_after_a_day() -> None:
    """After 24 hours it is simply gone, and says so once."""
    watch = Watch()
    watch.sync(ready(1), ready(2))
    gone_at = START + 2 * RECHECK
    watch.sync(ready(2))
    assert watch.sync(ready(2)).wakes_at == gone_at + 24 * HOUR
    watch.wait(gone_at + 24 * HOUR - watch.now - SECOND)
    assert watch.notices == [OPENED]
    watch.wait(SECOND)
    assert watch.last_body().resolution is Resolution.REMOVED
    assert watch.sync(ready(2)).reports == ()


def test_number_that_returned_before_the_day_was_over_recovered() -> None:
    """The 24 hours do not call a number removed that is back and only waits for `keep_firing_for`."""
    watch = Watch()
    watch.sync(ready(1), ready(2))
    watch.sync(ready(2))
    watch.sync(ready(2))
    watch.sync(ready(1), ready(2), after=24 * HOUR - MINUTE)
    done = watch.sync(ready(1), ready(2))
    assert done.wakes_at == watch.now - RECHECK + 5 * MINUTE
    watch.wait(2 * MINUTE)
    assert watch.notices == [OPENED]
    watch.wait(5 * MINUTE)
    assert watch.last_body().resolution is Resolution.RECOVERED


def test_number_removed_is_not_confirmed_by_an_answer_that_may_hide_it() -> None:
    """A number that was missing once may be among the entries that could not be read."""
    watch = Watch()
    watch.sync(ready(1), ready(2))
    watch.sync(ready(2))
    for _ in range(2):
        watch.sync(ready(2), skipped=1)
    assert watch.reports == []
    watch.sync(ready(2))
    assert watch.open_keys == {key(1)}


def test_drift_is_not_ended_by_an_answer_that_may_hide_the_number() -> None:
    """Missing once and then unknown is not gone."""
    watch = firing(Rules(alerting=frozenset({Kind.DRIFT})))
    watch.sync(ready(2))
    for _ in range(2):
        watch.sync(ready(2), skipped=1)
    assert watch.open_keys == {key(1)}
    watch.sync(ready(2))
    assert watch.open_keys == set()


def test_number_removed_needs_confirmation() -> None:
    """A number that one answer lacks is no news."""
    watch = Watch()
    watch.sync(ready(1), ready(2))
    watch.sync(ready(2))
    watch.sync(ready(1), ready(2))
    watch.sync(ready(1), ready(2))
    assert watch.reports == []
    assert watch.records.tracks == {}


def test_removed_numbers_are_one_alert_by_connection() -> None:
    """Whatever their state was."""
    watch = Watch(AT_ONCE)
    watch.sync(*fleet(8, broken(1), broken(2, "EXPIRED")))
    watch.sync(*fleet(5, first=4))
    opened = [made for made in watch.reports if made.alert.kind is Kind.NUMBER_REMOVED]
    assert [len(made.members) for made in opened] == [3]


@pytest.mark.parametrize("by", ["key", "all"])
def test_accept_ends_removals_and_reconfigurations_but_no_drift(by: str) -> None:
    """Accepted as it is now: the word is `accepted`; a drift is not for accepting."""
    watch = Watch(ANY_CHANGE)
    watch.sync(broken(1), ready(2), ready(3))
    for _ in range(2):
        watch.sync(broken(1), ready(2, dependencies=Dependencies(7, 93)))
    assert {made.alert.kind for made in watch.reports} == EVERY_KIND
    watch.wait(accepted={key(1), key(2), key(3)} if by == "key" else (), accept_all=by == "all")
    ended = {made.alert.kind: made.resolution for made in watch.reports if made.notice is RESOLVED}
    assert ended == {Kind.NUMBER_REMOVED: Resolution.ACCEPTED, Kind.RECONFIGURED: Resolution.ACCEPTED}
    for _ in range(3):
        assert watch.sync(broken(1), ready(2, dependencies=Dependencies(7, 93)), after=HOUR).reports == ()


def test_accept_of_one_number_leaves_the_others() -> None:
    """The alert continues with those that were not accepted."""
    watch = Watch(AT_ONCE)
    watch.sync(*fleet(6))
    watch.sync(*fleet(4, first=3))
    watch.wait(accepted=[key(1)])
    assert watch.open_keys == {key(2)}
    assert watch.notices == [OPENED]


def test_another_target_is_recorded_but_silent_by_default() -> None:
    """The change is there for the log and the page; no alert, nothing pending."""
    watch = Watch()
    watch.sync(ready(1))
    done = watch.sync(ready(1, dependencies=Dependencies(7, 93)))
    assert [change.kind.value for change in done.changes] == ["reconfigured"]
    assert (done.records.tracks, done.settled) == ({}, True)


def test_removed_can_be_recorded_only() -> None:
    """`removed = "record"`: the change alone."""
    watch = Watch(Rules(alerting=frozenset({Kind.DRIFT})))
    watch.sync(ready(1), ready(2))
    assert [change.kind.value for change in watch.sync(ready(2)).changes] == ["removed"]
    watch.sync(ready(2))
    assert watch.reports == []


def test_reconfigured_fires_until_reverted() -> None:
    """Other dependencies still are not the old ones, and are told; the old ones again end it."""
    watch = Watch(Rules(any_reconfiguration=True, keep_firing_for=timedelta(0)))
    watch.sync(ready(1))
    for bot in (94, 94, 95, 96):
        watch.sync(ready(1, dependencies=Dependencies(415, bot)), after=HOUR)
    assert watch.notices == [OPENED, UPDATED, UPDATED]
    watch.sync(broken(1))
    watch.sync(ready(1))
    watch.sync(ready(1))
    body = watch.last_body()
    assert (body.kind, body.change, body.resolution) == (Kind.RECONFIGURED, RESOLVED, Resolution.RECOVERED)


FULL = Dependencies(415, 93, "inbound:bot:93 outbound:sip:7", "a-1", True, True, True)
LOSSES = {
    "bot": replace(FULL, bot_id=None, bot_active=None),
    "bot_off": replace(FULL, bot_active=False),
    "routing": replace(FULL, routing_target=None, routing_active=None),
    "routing_off": replace(FULL, routing_active=False),
    "inbound": replace(FULL, routing_target="outbound:sip:7"),
    "outbound": replace(FULL, routing_target="inbound:bot:93"),
    "agent": replace(FULL, agent_id=None),
    "number_off": replace(FULL, number_active=False),
    "several": Dependencies(415),
}
MOVED = Dependencies(416, 94, "inbound:sip:9 outbound:bot:94", "a-2", True, True, True)


@pytest.mark.parametrize("lost", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("cure", [FULL, MOVED], ids=["back", "replaced"])
def test_ready_number_that_lost_something_alerts_until_nothing_is_lost(
    lost: Dependencies, cure: Dependencies
) -> None:
    """Gone or switched off, twice seen; it ends when all is there again, be it another one."""
    watch = Watch(Rules(keep_firing_for=timedelta(0)))
    watch.sync(ready(1, dependencies=FULL))
    first = watch.sync(ready(1, dependencies=lost))
    assert [change.kind.value for change in first.changes] == ["reconfigured"]
    assert watch.reports == []
    watch.sync(ready(1, dependencies=lost))
    (track,) = watch.records.tracks.values()
    assert (watch.last_body().kind, watch.notices) == (Kind.RECONFIGURED, [OPENED])
    assert track.number is not None
    assert (track.dependencies, track.number.dependencies) == (FULL, lost)
    for _ in range(2):
        watch.sync(ready(1, dependencies=cure))
    assert (watch.last_body().resolution, watch.records.tracks) == (Resolution.RECOVERED, {})


@pytest.mark.parametrize("name", [*FULL.__struct_fields__[:-1], "inbound", "outbound"])
def test_what_an_answer_does_not_say_is_no_loss(name: str) -> None:
    """A field that is not there changes nothing, whether it was known before or is known later."""
    unsaid = replace(FULL, unknown=(name,), **({} if name in ("inbound", "outbound") else {name: None}))
    for rules in (Rules(), ANY_CHANGE):
        watch = Watch(rules)
        for dependencies in (FULL, unsaid, FULL, unsaid, unsaid, FULL):
            watch.sync(ready(1, dependencies=dependencies))
        other = Watch(rules)
        for dependencies in (unsaid, unsaid, FULL):
            other.sync(ready(1, dependencies=dependencies))
        assert [done.changes for done in watch.steps + other.steps] == [()] * 9


def test_loss_that_an_answer_does_not_mention_goes_on() -> None:
    """Lost, then not said: still lost."""
    watch = Watch(Rules(keep_firing_for=timedelta(0)))
    for dependencies in (FULL, LOSSES["bot"], replace(FULL, bot_id=None, unknown=("bot_id",))):
        watch.sync(ready(1, dependencies=dependencies))
    assert watch.open_keys == {key(1)}


def test_what_a_number_gains_meanwhile_it_can_lose() -> None:
    """The alert ends only when nothing is missing that the number had since before the change."""
    watch = Watch(Rules(keep_firing_for=timedelta(0)))
    before = Dependencies(415, 93, "outbound:sip:7")
    watch.sync(ready(1, dependencies=before))
    for _ in range(2):
        watch.sync(ready(1, dependencies=replace(before, bot_id=None)))
    gained = Dependencies(415, None, "inbound:bot:93 outbound:sip:7", "a-1", number_active=True)
    watch.sync(ready(1, dependencies=gained))
    for dependencies in (
        before,
        replace(gained, bot_id=93, agent_id=None),
        replace(gained, bot_id=93, routing_target="outbound:sip:7"),
        replace(gained, bot_id=93, number_active=False),
    ):
        for _ in range(3):
            watch.sync(ready(1, dependencies=dependencies))
        assert watch.open_keys == {key(1)}
    for _ in range(2):
        watch.sync(ready(1, dependencies=replace(gained, bot_id=94)))
    assert watch.open_keys == set()


def test_loss_that_is_accepted_ends_and_stays_quiet() -> None:
    """Until something else is lost."""
    watch = Watch()
    for dependencies in (FULL, LOSSES["bot"], LOSSES["bot"]):
        watch.sync(ready(1, dependencies=dependencies))
    watch.wait(accepted=[key(1)])
    assert watch.last_body().resolution is Resolution.ACCEPTED
    for _ in range(3):
        watch.sync(ready(1, dependencies=LOSSES["bot"]), after=HOUR)
    assert watch.records.tracks == {}
    for _ in range(2):
        watch.sync(ready(1, dependencies=LOSSES["several"]))
    assert watch.open_keys == {key(1)}


def test_losses_count_for_the_guard_and_towards_confirmation() -> None:
    """Six of ten numbers without bot in one step are held; believed, they alert at once."""
    watch = Watch()
    watch.read(answer(*(ready(index, dependencies=FULL) for index in range(1, 11))))
    lost = answer(*(ready(i, dependencies=LOSSES["bot"] if i < 7 else FULL) for i in range(1, 11)))
    watch.read(lost)
    watch.read(lost)
    assert watch.held == ["6 of 10 numbers would lose what they depend on at once"] * 2
    watch.read(lost)
    assert watch.open_keys == {key(index) for index in range(1, 7)}


def test_drift_remembers_the_last_dependencies_that_a_sync_showed() -> None:
    """What is gone now is as it was last, not as it was when the number broke."""
    watch = Watch()
    watch.sync(ready(1), ready(2))
    for client, bot in ((416, 94), (417, 95), (None, 96), (None, None)):
        watch.sync(broken(1, dependencies=Dependencies(client, bot)), ready(2))
    (track,) = watch.records.tracks.values()
    assert track.dependencies == Dependencies(417, 96)
