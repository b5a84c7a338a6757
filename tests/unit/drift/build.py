"""Numbers, answers and a watched connection for the tests of the pure core."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from monitor.drift.alert import AlertBody, Kind, Notice, Resolution, Severity
from monitor.drift.alerts import Alert, Report
from monitor.drift.episodes import Ended, Episode, Track
from monitor.drift.naming import NO_NAMES
from monitor.drift.plausibility import Guard
from monitor.drift.policy import Judgement, Records, Step, judge, step
from monitor.drift.rules import Rules
from monitor.drift.snapshot import ActionItem, Dependencies, Number, Snapshot
from monitor.drift.text import Watched, Wording, body

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
RECHECK = timedelta(seconds=15)

SCOPE = "9b7f1c44"
WATCHED = {SCOPE: Watched(name="acme-sales", account="acme")}

OPENED, UPDATED, RESOLVED = Notice.OPENED, Notice.UPDATED, Notice.RESOLVED

AT_ONCE = Rules(confirm_syncs=1, resolve_syncs=1, keep_firing_for=timedelta(0))
BOTH = ("NO_BOT", "ROUTING_MISSING")
EVERY_KIND = frozenset({Kind.DRIFT, Kind.NUMBER_REMOVED, Kind.RECONFIGURED})
ANY_CHANGE = Rules(any_reconfiguration=True)


def key(index: int) -> str:
    """Return the key of the n-th number."""
    return f"9180{index:08d}"


def ready(index: int, *, state: str = "READY", dependencies: Dependencies = Dependencies(415, 93)) -> Number:  # noqa: B008 - a frozen value
    """Return the n-th number as it should be."""
    return Number(
        key=key(index),
        phone_number=f"+{key(index)}",
        state=state,
        drifting=False,
        did_id=index,
        dependencies=dependencies,
    )


def broken(
    index: int,
    state: str = "NO_BOT",
    issues: tuple[str, ...] | None = None,
    *,
    dependencies: Dependencies = Dependencies(415),  # noqa: B008 - a frozen value
) -> Number:
    """Return the n-th number broken; without `issues` its state is its only issue."""
    codes = (state,) if issues is None else issues
    return Number(
        key=key(index),
        phone_number=f"+{key(index)}",
        state=state,
        drifting=True,
        issues=codes,
        action_items=tuple(ActionItem(code, f"Fix {code}") for code in codes),
        did_id=index,
        dependencies=dependencies,
    )


def answer(*numbers: Number, skipped: int = 0) -> Snapshot:
    """Return a sync's answer with these numbers, in this order."""
    return Snapshot(numbers={number.key: number for number in numbers}, skipped=skipped)


def fleet(total: int, *others: Number, first: int = 1) -> list[Number]:
    """Return `total` ready numbers, with `others` in place of those with the same key."""
    replaced = {number.key: number for number in others}
    return [replaced.get(key(index), ready(index)) for index in range(first, first + total)]


def restored(records: Records) -> Records:
    """Return the records as a restart finds them in the store."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(records), type=Records)


class Watch:
    """One connection, driven as the data path drives it; the records are all it takes from step to step."""

    def __init__(self, rules: Rules | None = None, guard: Guard | None = None) -> None:
        self.rules = rules or Rules()
        self.guard = guard or Guard()
        self.now = START
        self.records = Records()
        self.steps: list[Step] = []
        self.held: list[str] = []

    def sync(self, *numbers: Number, after: timedelta = RECHECK, skipped: int = 0) -> Step:
        """Read an answer some time after the last step: it is judged, then applied or held."""
        return self.read(answer(*numbers, skipped=skipped), after=after)

    def read(self, found: Snapshot, *, after: timedelta = RECHECK) -> Step:
        """Read a ready-made answer."""
        verdict = judge(self.records, found, self.guard, self.now + after)
        if verdict.reason is not None:
            self.held.append(verdict.reason)
            return self._step(verdict.records, None, after)
        return self._step(self.records, verdict, after)

    def wait(
        self,
        after: timedelta = RECHECK,
        *,
        accepted: Iterable[str] = (),
        accept_all: bool = False,
        unconfigured: bool = False,
    ) -> Step:
        """Step without an answer: the timer, a reload, a failed sync, a command."""
        return self._step(
            self.records,
            None,
            after,
            accepted=frozenset(accepted),
            accept_all=accept_all,
            unconfigured=unconfigured,
        )

    def _step(
        self,
        records: Records,
        verdict: Judgement | None,
        after: timedelta,
        *,
        accepted: frozenset[str] = frozenset(),
        accept_all: bool = False,
        unconfigured: bool = False,
    ) -> Step:
        self.now += after
        made = step(
            records,
            self.rules,
            self.now,
            scope=SCOPE,
            verdict=verdict,
            accepted=accepted,
            accept_all=accept_all,
            unconfigured=unconfigured,
        )
        self.records = made.records
        self.steps.append(made)
        return made

    @property
    def reports(self) -> list[Report]:
        """Everything that receivers were told, in order."""
        return [made for done in self.steps for made in done.reports if made.notice is not None]

    @property
    def notices(self) -> list[Notice]:
        """The words of `reports`."""
        return [made.notice for made in self.reports if made.notice is not None]

    @property
    def open_keys(self) -> set[str]:
        """The keys of the open episodes."""
        return {track.key for track in self.records.tracks.values() if track.episode is not None}

    def last_body(self, wording: Wording | None = None, names: Mapping[str, str] = NO_NAMES) -> AlertBody:
        """Return the last message as receivers get it."""
        return told(self.reports[-1], self.now, wording=wording, names=names)


def told(
    made: Report,
    now: datetime,
    *,
    wording: Wording | None = None,
    watched: Mapping[str, Watched] = WATCHED,
    scope: str = SCOPE,
    names: Mapping[str, str] = NO_NAMES,
) -> AlertBody:
    """Return the body of a report."""
    return body(made, scope=scope, watched=watched, wording=wording or Wording(), now=now, names=names)


def member(name: str, *, kind: Kind = Kind.DRIFT, number: Number | None = None, detail: str = "") -> Track:
    """Return a member of the alert that `report_of` makes."""
    episode = Episode(id=f"e-{name}", alert_id="a1", group="", opened_at=START, severity=Severity.WARNING)
    return Track(
        kind=kind,
        key=name,
        since=START,
        number=number,
        dependencies=number.dependencies if number else Dependencies(),
        detail=detail,
        episode=episode,
    )


def report_of(
    *members: Track,
    kind: Kind = Kind.DRIFT,
    group: str = "NO_BOT",
    ended: tuple[Track, ...] = (),
    resolutions: tuple[Resolution, ...] = (),
    lasted: timedelta = MINUTE,
    notice: Notice | None = Notice.OPENED,
) -> Report:
    """Return a report of an alert that began at START, with these members, or with what ended."""
    alert = Alert(
        id="a1",
        kind=kind,
        group=group,
        started_at=START,
        updated_at=START,
        notified_at=START,
        severity=Severity.WARNING,
        grown_at=START,
        joined=len(members) + len(ended),
        version=1,
        resolutions=resolutions,
    )
    over = tuple(
        Ended(
            track=track, at=START + lasted, resolution=resolutions[0] if resolutions else Resolution.RECOVERED
        )
        for track in ended
    )
    return Report(alert=alert, notice=notice, members=members, ended=over, added=len(members))


def drive(watch: Watch, sight: str) -> None:
    """Let the first of two numbers be t(roubled), g(ood), a(bsent), u(nknown), or the sync f(ail)."""
    match sight:
        case "t":
            watch.sync(broken(1), ready(2))
        case "g":
            watch.sync(ready(1), ready(2))
        case "a":
            watch.sync(ready(2))
        case "u":
            watch.sync(ready(2), skipped=1)
        case _:
            watch.wait()


def firing(rules: Rules | None = None, *others: Number) -> Watch:
    """Return a connection whose first number drifts in an open alert."""
    watch = Watch(rules or Rules())
    for _ in range(max(watch.rules.confirm_syncs, 1)):
        watch.sync(broken(1), ready(2), *others)
    assert watch.notices == [OPENED]
    return watch
