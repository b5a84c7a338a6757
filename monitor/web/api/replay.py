"""Replays over the API: what would have paged."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Query
from starlette.exceptions import HTTPException
from starlette.requests import Request

from monitor.errors import Busy, ConfigError, NoHistory, Refused
from monitor.replay.report import Replayed
from monitor.units import parse_since
from monitor.web.actions import actor_of
from monitor.web.api import parameters as ask
from monitor.web.api.body import read_toml
from monitor.web.problems import BadRequest
from monitor.web.replays import BUSY_RETRY_S, Wanted, while_connected
from monitor.web.sources import Sources


@dataclass(frozen=True, slots=True)
class Again:
    """Answers what would have paged; signatures and docstrings become the OpenAPI.

    Args:
        sources: Run the history again.
    """

    sources: Sources

    async def replay(self, request: Request, asked: Annotated[ask.RuleParameters, Query()]) -> Replayed:
        """What would have paged: the recorded history by the rules of then, or with single other ones."""
        return await self._replay(request, asked, rules=asked.rules())

    async def replay_config(
        self, request: Request, asked: Annotated[ask.ReplayParameters, Query()]
    ) -> Replayed:
        """What would have paged with another config, given in TOML; needs `web.enable_lifecycle`."""
        return await self._replay(request, asked, config=await read_toml(request))

    async def _replay(
        self,
        request: Request,
        asked: ask.ReplayParameters,
        *,
        config: bytes | None = None,
        rules: Mapping[str, str] | None = None,
    ) -> Replayed:
        since = parse_since(asked.since, self.sources.clock.now())
        wanted = Wanted(since=since, connection=asked.connection, config=config, rules=rules or {})
        with _problems():
            return await while_connected(request, self.sources.replays.replay(wanted, actor_of(request)))


@contextlib.contextmanager
def _problems() -> Iterator[None]:
    """Turn what the monitor says of a replay into a problem: 400, 409 or 503."""
    try:
        yield
    except ConfigError as exc:
        raise BadRequest("\n".join(exc.problems), problems=exc.problems) from exc
    except (NoHistory, Refused) as exc:
        raise HTTPException(HTTPStatus.CONFLICT, str(exc)) from exc
    except Busy as exc:
        headers = {"retry-after": str(BUSY_RETRY_S)}
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(exc), headers) from exc
