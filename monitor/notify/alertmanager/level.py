"""What the poster knows: the episodes, the labels they were posted with, and where both are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Protocol

import msgspec

from monitor.drift.alert import Acknowledgement, Kind, Resolution, Severity
from monitor.drift.episodes import Track
from monitor.errors import DeliveryError


@dataclass(frozen=True, slots=True, kw_only=True)
class PostTarget:
    """One Alertmanager of one receiver."""

    receiver: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One episode. `connection` and `account` are as they are named now; None where there is none.

    `told_as` is the alert that people are told of: the widespread one, if the episode's own is a part of it.
    `common`, `common_names` and `first_step` are its alert's while that fires; `first_action` is the action
    that the step is made of. `alone`: it has one number.
    `acknowledged` is who has taken on what people are told of.
    """

    id: str
    alert_id: str
    told_as: str
    kind: Kind
    group: str
    severity: Severity
    opened_at: datetime
    ended_at: datetime | None
    resolution: Resolution | None
    track: Track
    connection: str | None
    account: str | None
    alone: bool = False
    common: Mapping[str, int | str] = field(default_factory=dict)
    common_names: Mapping[str, str] = field(default_factory=dict)
    first_step: str = ""
    first_action: str = ""
    acknowledged: Acknowledgement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSet:
    """The labels under which an episode is, or was, posted to one URL.

    `ended_at` is when the episode ended, or went on under other labels. `changed_at` is when this set began
    or ended for us, `accepted_at` when the URL first accepted that; None while it has not.
    """

    member_id: str
    labels: Mapping[str, str]
    changed_at: datetime
    ended_at: datetime | None = None
    accepted_at: datetime | None = None

    @property
    def fingerprint(self) -> str:
        """A name for these labels: sets with the same one are the same alert to Alertmanager."""
        content = msgspec.json.encode(sorted(self.labels.items()))
        return blake2b(content, digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelState:
    """What is to be posted: all open episodes, those still to be ended, and all label sets at an instant."""

    read_at: datetime
    members: Mapping[str, Member]
    sets: Sequence[LabelSet]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMoves:
    """What must be written down before the next post. `changed` and `gone` are sets that the store knows."""

    begun: Sequence[LabelSet] = ()
    changed: Sequence[LabelSet] = ()
    gone: Sequence[LabelSet] = ()

    def __bool__(self) -> bool:
        return bool(self.begun or self.changed or self.gone)


class Level(Protocol):
    """What a poster needs of the store. Any method may raise `StoreUnavailable`."""

    @property
    def is_shared(self) -> bool:
        """Whether another process may post there once the lease is over."""
        ...

    async def hold(self, target: PostTarget, *, lease_s: float) -> bool:
        """Make this process the one that posts there, for so long; False: another one is."""
        ...

    async def release(self, target: PostTarget) -> None:
        """Let another process post there."""
        ...

    async def read(self, target: PostTarget) -> LevelState:
        """Return what is open and what was posted there."""
        ...

    async def marker(self) -> object:
        """Return a value that changes when an episode opens, ends or is acknowledged anywhere; cheap."""
        ...

    async def asked_at(self, target: PostTarget) -> datetime | None:
        """Return when a user last asked for a post there at once; None: never. Cheap."""
        ...

    async def write(self, target: PostTarget, moves: LabelMoves) -> None:
        """Write down what is about to be posted there."""
        ...

    async def accepted(self, target: PostTarget, *, read_at: datetime, at: datetime) -> None:
        """Record that the URL accepted everything that was read at an instant, and is well."""
        ...

    async def failed(self, target: PostTarget, error: DeliveryError, at: datetime) -> None:
        """Record that the URL did not accept a post."""
        ...

    async def forget_others(self, receiver: str, urls: Sequence[str]) -> None:
        """Forget what was posted to URLs this receiver no longer has, and by receivers that are gone."""
        ...
