"""Episodes and label sets in memory, that can be away for a while."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from monitor.clock import Clock
from monitor.drift.alert import Kind, Resolution, Severity
from monitor.drift.episodes import Episode, Track
from monitor.drift.snapshot import ActionItem, Dependencies, Number
from monitor.errors import DeliveryError, StoreUnavailable
from monitor.notify.alertmanager.level import LabelMoves, LabelSet, LevelState, Member, PostTarget
from tests.fakes.clock import START


def member(index: int = 1, *, kind: Kind = Kind.DRIFT, opened_at: datetime = START, flaps: int = 0) -> Member:
    """Return the open episode of the n-th number, of a connection or of a receiver."""
    number = None
    if kind.about_numbers:
        number = Number(
            key=f"9180{index:08d}",
            phone_number=f"+9180{index:08d}",
            state="NO_BOT",
            drifting=True,
            issues=("NO_BOT",),
            action_items=(ActionItem("NO_BOT", "Assign a bot"),),
            dependencies=Dependencies(415),
        )
    episode = Episode(
        id=f"e{index}",
        alert_id="a1",
        group="NO_BOT",
        opened_at=opened_at,
        severity=Severity.WARNING,
        flaps=flaps,
    )
    track = Track(
        kind=kind,
        key=number.key if number is not None else "am",
        since=opened_at,
        number=number,
        previous_state="READY" if number is not None else None,
        detail="" if number is not None else "timeout",
        episode=episode,
    )
    of_receiver = kind is Kind.RECEIVER_FAILING
    return Member(
        id=f"e{index}",
        alert_id="a1",
        told_as="a1",
        kind=kind,
        group="NO_BOT",
        severity=Severity.WARNING,
        opened_at=opened_at,
        ended_at=None,
        resolution=None,
        track=track,
        connection=None if of_receiver else "acme-sales",
        account=None if of_receiver else "acme",
    )


@dataclass
class FakeLevel:
    """What `monitor.notify.alertmanager.Level` promises, for one URL.

    `away`: every call raises `StoreUnavailable`. `elsewhere`: another process posts. `is_shared`: one may.
    `asked` is when a user wanted a post at once.
    `errors` are what was recorded of failures since the last success; `forgotten`, the receivers and URLs
    that all others were forgotten for.
    """

    clock: Clock
    members: dict[str, Member] = field(default_factory=dict)
    sets: dict[tuple[str, str], LabelSet] = field(default_factory=dict)
    away: bool = False
    elsewhere: bool = False
    is_shared: bool = False
    released: bool = False
    asked: datetime | None = None
    errors: list[str] = field(default_factory=list)
    forgotten: list[tuple[str, list[str]]] = field(default_factory=list)

    def put(self, *members: Member) -> None:
        """Commit episodes."""
        self.members |= {each.id: each for each in members}

    def end(self, member_id: str, resolution: Resolution = Resolution.RECOVERED) -> None:
        """Commit that an episode is over."""
        now = self.clock.now()
        self.put(replace(self.members[member_id], ended_at=now, resolution=resolution))

    async def hold(self, target: PostTarget, *, lease_s: float) -> bool:
        """Say yes unless another process posts."""
        self._answer()
        return not self.elsewhere

    async def release(self, target: PostTarget) -> None:
        """Take note."""
        self._answer()
        self.released = True

    async def read(self, target: PostTarget) -> LevelState:
        """Return what there is."""
        self._answer()
        posted = {posted.member_id for posted in self.sets.values()}
        members = {
            name: each for name, each in self.members.items() if each.ended_at is None or name in posted
        }
        return LevelState(read_at=self.clock.now(), members=members, sets=list(self.sets.values()))

    async def marker(self) -> object:
        """Return how many are open."""
        self._answer()
        return sorted(name for name, each in self.members.items() if each.ended_at is None)

    async def asked_at(self, target: PostTarget) -> datetime | None:
        """Return when a user asked."""
        self._answer()
        return self.asked

    async def write(self, target: PostTarget, moves: LabelMoves) -> None:
        """Keep the sets."""
        self._answer()
        for posted in moves.gone:
            del self.sets[posted.member_id, posted.fingerprint]
        for posted in (*moves.begun, *moves.changed):
            self.sets[posted.member_id, posted.fingerprint] = posted

    async def accepted(self, target: PostTarget, *, read_at: datetime, at: datetime) -> None:
        """Record it."""
        self._answer()
        self.errors.clear()
        for name, posted in list(self.sets.items()):
            if posted.accepted_at is None and posted.changed_at <= read_at:
                self.sets[name] = replace(posted, accepted_at=at)
            elif posted.ended_at and posted.accepted_at and posted.accepted_at <= at - timedelta(minutes=15):
                del self.sets[name]

    async def failed(self, target: PostTarget, error: DeliveryError, at: datetime) -> None:
        """Record it."""
        self._answer()
        self.errors.append(str(error))

    async def forget_others(self, receiver: str, urls: Sequence[str]) -> None:
        """Take note of what is to be kept."""
        self._answer()
        self.forgotten.append((receiver, list(urls)))

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("the database is away")
