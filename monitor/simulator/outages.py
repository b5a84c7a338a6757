"""The steps that break the API itself: keys, limits, faults. The rest of the vocabulary is in `steps`."""

from typing import Annotated

import msgspec

from monitor.simulator.faults import Fault, FaultKind
from monitor.simulator.problem import ScenarioError, seconds
from monitor.simulator.step import HttpStatus, Positive, Ratio, ScenarioStep
from monitor.simulator.world import World


class AccountStep(ScenarioStep, frozen=True, kw_only=True):
    """A step about one account."""

    account: str | None = None


class RevokeKey(AccountStep, frozen=True, kw_only=True, tag="revoke_key"):
    """The account's key is refused with 401."""

    def _apply(self, world: World) -> None:
        world.account(self.account).revoked = True


class RestoreKey(AccountStep, frozen=True, kw_only=True, tag="restore_key"):
    """The account's key works again."""

    def _apply(self, world: World) -> None:
        world.account(self.account).revoked = False


class Suspend(AccountStep, frozen=True, kw_only=True, tag="suspend"):
    """The account is refused with 403."""

    def _apply(self, world: World) -> None:
        world.account(self.account).suspended = True


class Unsuspend(AccountStep, frozen=True, kw_only=True, tag="unsuspend"):
    """The account may again."""

    def _apply(self, world: World) -> None:
        world.account(self.account).suspended = False


class SetRateLimit(ScenarioStep, frozen=True, kw_only=True, tag="rate_limit"):
    """So many requests a window and key; 0 for no limit."""

    limit: Annotated[int, msgspec.Meta(ge=0)]

    def _apply(self, world: World) -> None:
        world.rate_limit = self.limit


class InjectFault(ScenarioStep, frozen=True, kw_only=True, tag="fault"):
    """The API answers wrongly, for a time (`for`), some `requests`, or until `clear_faults`.

    `status = 503` and `delay = "2s"` need no `kind`.
    """

    kind: FaultKind | None = None
    account: str | None = None
    connection: str | None = None
    lasts: str | float | None = msgspec.field(name="for", default=None)
    requests: Positive | None = None
    status: HttpStatus | None = None
    code: str | None = None
    retry_after: str | int | None = None
    location: str | None = None
    delay: str | float = 0
    ratio: Ratio = 0.5
    size_mib: Positive = 65
    count: Positive = 1
    part: str = "readiness"

    def _apply(self, world: World) -> None:
        world.faults.add(
            Fault(
                kind=self.kind or self._implied(),
                account=None if self.account is None else world.account(self.account).name,
                connection_id=None if self.connection is None else world.connection(self.connection).id,
                until=None if self.lasts is None else world.now_s + seconds(self.lasts),
                requests=self.requests,
                status=self.status or 503,
                code=self.code,
                retry_after=None if self.retry_after is None else str(self.retry_after),
                location=self.location,
                delay_s=seconds(self.delay),
                ratio=self.ratio,
                size_mib=self.size_mib,
                count=self.count,
                part=self.part,
            )
        )

    def _implied(self) -> FaultKind:
        if self.status is not None:
            return FaultKind.STATUS
        if self.delay:
            return FaultKind.DELAY
        raise ScenarioError([f"say `status`, `delay` or `kind`; kinds are {', '.join(FaultKind)}"])


class ClearFaults(ScenarioStep, frozen=True, kw_only=True, tag="clear_faults"):
    """The faults of an account or a connection end; without one, all."""

    account: str | None = None
    connection: str | None = None

    def _apply(self, world: World) -> None:
        connection_id = None if self.connection is None else world.connection(self.connection).id
        world.faults.clear(self.account, connection_id)
