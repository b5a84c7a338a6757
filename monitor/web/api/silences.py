"""Silences over the API: listed, set and ended."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Query
from starlette.exceptions import HTTPException
from starlette.requests import Request

from monitor.drift.silences import NewSilence
from monitor.errors import Invalid, Refused, UnknownName
from monitor.store.quiet import silence_rows
from monitor.store.rows import SilenceRow
from monitor.web.actions import Actions, actor_of
from monitor.web.api import parameters as ask
from monitor.web.api.answers import Listing, listing_of
from monitor.web.api.body import read_json
from monitor.web.problems import BadRequest
from monitor.web.sources import Sources


@dataclass(frozen=True, slots=True)
class Silences:
    """Answers what is asked of silences; signatures and docstrings become the OpenAPI.

    Args:
        sources: Have the answers.
        actions: Set and end them.
    """

    sources: Sources
    actions: Actions

    async def listed(self, asked: Annotated[ask.SilencesParameters, Query()]) -> Listing[SilenceRow]:
        """The silences, the latest first: what each matches, until when, why, and whom to ask."""
        async with self.sources.read() as tx:
            now = self.sources.clock.now()
            return listing_of(await silence_rows(tx, self.sources.codec, now, **asked.filters()))

    async def add(self, request: Request, _: ask.Nothing) -> SilenceRow:
        """Keep numbers quiet for a while: at least one matcher, one end; needs `web.enable_lifecycle`."""
        asked = await read_json(request, NewSilence)
        try:
            added = await self.actions.lifecycle.add_silence(asked, actor_of(request))
        except Invalid as exc:
            raise BadRequest(f"{exc.field}: {exc}", parameter=exc.field) from exc
        except UnknownName as exc:
            raise BadRequest(f"alert: {exc}", parameter="alert") from exc
        async with self.sources.read() as tx:
            now = self.sources.clock.now()
            found = await silence_rows(tx, self.sources.codec, now, ended=True, silence_id=added.id)
        return found.rows[0] if found.rows else added

    async def end(self, silence_id: ask.SilenceId, request: Request, _: ask.Nothing) -> SilenceRow:
        """End a silence: what it kept quiet and still drifts alerts anew; needs `web.enable_lifecycle`."""
        try:
            return await self.actions.lifecycle.end_silence(silence_id, actor_of(request))
        except (UnknownName, Refused) as exc:
            raise HTTPException(HTTPStatus.NOT_FOUND, str(exc)) from exc
