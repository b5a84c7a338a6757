"""One message for one receiver: what it is, what delivers it, how a try ended, and where it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from monitor.drift.alert import AlertBody, Notice, decode_body
from monitor.errors import DeliveryError, Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message as it was committed; the same id and body on every try.

    `body` is the alert body as JSON, as this receiver is told it (its `change` equals `change` here).
    `attempts` counts the tries that failed before, `first_failed_at` is the first of them. `superseded`:
    newer messages about the same alert wait behind it. `follows_dead`: an older one will not be tried again.
    Instants are aware UTC.
    """

    id: str
    receiver: str
    alert_id: str
    change: Notice
    body: bytes
    attempts: int
    created_at: datetime
    first_failed_at: datetime | None
    superseded: bool
    follows_dead: bool = False


def body_of(delivery: Delivery) -> AlertBody:
    """Return the alert body that a delivery tells.

    Raises:
        DeliveryError: What was stored cannot be read (`DEAD`).
    """
    try:
        return decode_body(delivery.body)
    except msgspec.DecodeError as exc:
        raise DeliveryError(Refusal.DEAD, "the stored message cannot be read") from exc


class DeliveryOutcome(StrEnum):
    """How a try ended; also the `outcome` label of `voicelink_monitor_deliveries_total`."""

    DELIVERED = "delivered"
    RETRIED = "retried"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The receiver accepted it. `answer` is short and fit for a log; empty where nothing answers."""

    delivery: Delivery
    at: datetime
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The receiver did not accept it; it is due again at `next_try_at`. `refusal` is never `DEAD`.

    `next_try_at` is None if it is `GONE`: once its receiver is tried again. `answered`: the receiver itself
    said no.
    """

    delivery: Delivery
    at: datetime
    next_try_at: datetime | None
    refusal: Refusal
    error: str
    answered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """It will not be tried again, unless a user asks for it by command. `answered` as in `Failed`."""

    delivery: Delivery
    at: datetime
    error: str
    answered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Postponed:
    """This process had no resources to try it: no attempt, and nothing that its receiver did."""

    delivery: Delivery
    next_try_at: datetime


Result = Sent | Failed | Dead | Postponed


@dataclass(frozen=True, slots=True)
class Leased:
    """Messages to try now, and when to ask again; None: nothing else is due soon."""

    deliveries: list[Delivery]
    next_due_at: datetime | None


class Receiver(Protocol):
    """A channel that accepts one message at a time."""

    @property
    def name(self) -> str:
        """Return the name in the config, unique."""
        ...

    @property
    def timeout_s(self) -> float:
        """Return the seconds that one `send` may take; the drain cuts it off."""
        ...

    async def send(self, delivery: Delivery) -> str | None:
        """Hand the message over; return what the other side answered, short and without secrets.

        None means that there is no other side, and nothing to log about it.

        Raises:
            DeliveryError: It was not taken.
            OutOfResources: This process could not hand it over.
        """
        ...


class Outbox(Protocol):
    """What the drain needs of the store. Any method may raise `StoreUnavailable`."""

    async def lease_due(
        self,
        receiver: str,
        *,
        limit: int,
        lease_s: float,
        ahead_s: float = 0.0,
        ended: Sequence[Result] = (),
    ) -> Leased:
        """Settle what `ended`; return what is due then and not leased, and lease it for `lease_s` seconds.

        All in one transaction. At most the oldest undelivered message of each alert, the longest due first: a
        younger one must not overtake it, not even while the oldest waits for its next try. Nothing for a
        receiver that is `GONE`. With what is due next, if that is in the next `ahead_s` seconds.
        """
        ...

    async def next_due_at(self, receiver: str) -> datetime | None:
        """Return when `lease_due` may next find something, and never later; the end of a lease counts.

        None: not before something is committed.
        """
        ...

    async def settle(self, results: Sequence[Result]) -> None:
        """Write how the tries ended, in one transaction, and end their leases.

        A row that is settled or gone already is left alone: after `StoreUnavailable` the same results come
        again, though they may have been written.
        """
        ...
