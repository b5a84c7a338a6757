"""The provider: what is true of its numbers, and what it answers, which is not always that."""

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from tests.world.events import AnyEvent, Break, Garble, Remove, World
from tests.world.loop import Elapsed

CAUSES = {"bot": "NO_BOT", "routing": "ROUTING_MISSING", "agent": "NO_VOCOBASE_AGENT", "expired": "EXPIRED"}
CLIENTS, AGENTS = 3, 3
GUARDED = 5
"""So many numbers that change in one step are suspect."""
_SLOWER_THAN_PATIENCE_S = 30.0
_NO_ANSWERS: dict[str, dict[str, Any]] = {
    "html": {"status_code": 200, "html": "<html>maintenance</html>"},
    "redirect": {"status_code": 302, "headers": {"location": "https://elsewhere.example"}},
    "unsuccessful": {"status_code": 200, "json": {"success": False, "error": {"code": "X", "message": "no"}}},
}


@dataclass(frozen=True)
class Condition:
    """How one number is: drifting or not, its state, its issues."""

    drifting: bool
    state: str
    issues: tuple[str, ...] = ()


@dataclass
class TrueNumber:
    """One number as it really is."""

    connection: int
    position: int
    away: int = 0
    """How many reasons there are for it to be away."""
    troubles: dict[str, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Return its digits."""
        return f"9180{self.connection:02d}{self.position:04d}"

    @property
    def client(self) -> int:
        """Return the client that it belongs to."""
        return 1 + self.position % CLIENTS

    @property
    def agent(self) -> int:
        """Return the agent that answers for it."""
        return 1 + self.position // 2 % AGENTS

    @property
    def condition(self) -> Condition:
        """Return how it is."""
        issues = tuple(
            issue for issue in sorted(self.troubles) if self.troubles[issue] and issue != "EXPIRED"
        )
        if issues:
            return Condition(drifting=True, state=issues[0], issues=issues)
        if self.troubles.get("EXPIRED"):
            return Condition(drifting=True, state="EXPIRED", issues=("EXPIRED",))
        return Condition(drifting=False, state="READY")


def connection_of(key: str) -> str:
    """Return the name of the connection that a number belongs to."""
    return f"c{int(key[4:6])}"


@dataclass(frozen=True)
class Served:
    """One answer that left the provider. `how`: `good`, or what was wrong with it.

    `numbers`: what it says of each number that it names; None if it cannot be read.
    """

    at_s: float
    connection: int
    how: str
    numbers: dict[str, Condition] | None = None


class Provider(httpx.AsyncBaseTransport):
    """Answers `POST /voicelink/sync`."""

    def __init__(self, world: World, elapsed: Elapsed) -> None:
        self._elapsed = elapsed
        self._rng = random.Random(world.seed ^ 0x5EED)
        self._accounts = world.accounts
        self.numbers = [
            [TrueNumber(connection=connection, position=position) for position in range(size)]
            for connection, size in enumerate(world.connections)
        ]
        self.garbling: list[tuple[Garble, dict[int, int]]] = []
        self.served: list[Served] = []
        self.asked: list[tuple[float, int]] = []

    def begin(self, event: AnyEvent) -> None:
        """Let something that is the provider's begin."""
        match event:
            case Break():
                for number in self.hit(event):
                    issue = event.state or CAUSES[event.cause]
                    number.troubles[issue] = number.troubles.get(issue, 0) + 1
            case Remove():
                for connection, position in event.numbers:
                    self.numbers[connection][position].away += 1
            case Garble():
                self.garbling.append((event, {}))
            case _:
                pass

    def over(self, event: AnyEvent) -> None:
        """Let it end."""
        match event:
            case Break():
                for number in self.hit(event):
                    number.troubles[event.state or CAUSES[event.cause]] -= 1
            case Remove():
                for connection, position in event.numbers:
                    self.numbers[connection][position].away -= 1
            case Garble():
                self.garbling = [each for each in self.garbling if each[0] is not event]
            case _:
                pass

    def condition(self, connection: int) -> dict[str, Condition]:
        """Return the truth about a connection's numbers."""
        return {number.key: number.condition for number in self.numbers[connection] if not number.away}

    def hit(self, event: Break) -> list[TrueNumber]:
        """Return the numbers that a cause reaches."""
        every = [number for numbers in self.numbers for number in numbers]
        match event.cause:
            case "bot":
                return [number for number in every if number.client == event.which]
            case "agent":
                return [number for number in every if number.agent == event.which]
            case _:
                return [self.numbers[connection][position] for connection, position in event.numbers]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, as badly as the moment wants it."""
        body = json.loads(await request.aread())
        assert body["import_dids"] is False
        connection = UUID(body["connection_id"]).int
        self.asked.append((self._elapsed.s, connection))
        how = self._how(connection)
        await asyncio.sleep(self._rng.uniform(0.01, 0.3))
        if how == "late":
            await self._wait_until_forgotten(connection)
        if how in ("refused", "reset"):
            self._note(connection, how)
            raise httpx.ConnectError("refused") if how == "refused" else httpx.ReadError("reset")
        if how == "slow":
            await asyncio.sleep(5.0)
            how = "good"
        return self._answer(connection, how)

    async def _wait_until_forgotten(self, connection: int) -> None:
        """Answer later than anybody waits."""
        try:
            await asyncio.sleep(_SLOWER_THAN_PATIENCE_S)
        except asyncio.CancelledError:
            self._note(connection, "late")
            raise

    def _how(self, connection: int) -> str:
        for event, times in self.garbling:
            if event.connections and connection not in event.connections:
                continue
            if event.count and times.get(connection, 0) >= event.count:
                continue
            times[connection] = times.get(connection, 0) + 1
            if event.how.startswith("flap"):
                # Bad for four answers, good for three, and so on.
                return "good" if times[connection] % 7 >= 4 else event.how.removeprefix("flap")
            return event.how
        return "good"

    def _note(self, connection: int, how: str, numbers: dict[str, Condition] | None = None) -> None:
        self.served.append(Served(self._elapsed.s, connection, how, numbers))

    def _answer(self, connection: int, how: str) -> httpx.Response:
        if how.isdecimal():
            self._note(connection, how)
            return httpx.Response(int(how), json={"success": False, "error": {"code": "X", "message": "no"}})
        if how in _NO_ANSWERS:
            self._note(connection, how)
            return httpx.Response(**_NO_ANSWERS[how])
        shown, warnings = self._shown(connection, how)
        answer = json.dumps(
            {"success": True, "data": _data(shown, warnings, unreadable=how == "unreadable_entry")}
        )
        if how == "cut":
            self._note(connection, how)
            return httpx.Response(200, text=answer[: len(answer) // 2])
        if how == "unreadable_entry" and not shown:
            self._note(connection, how)  # nothing in it can be read
        else:
            self._note(connection, how, {number.key: condition for number, condition in shown})
        return httpx.Response(200, text=answer)

    def _shown(self, connection: int, how: str) -> tuple[list[tuple[TrueNumber, Condition]], list[str]]:
        there = [(number, number.condition) for number in self.numbers[connection] if not number.away]
        match how:
            case "empty":
                return [], []
            case "most_lacking" if len(there) - len(there) // 4 >= GUARDED:
                return there[: len(there) // 4], []
            case "quarter_lacking":
                return there[len(there) // 4 + 1 :], ["upstream page 2 failed"]
            case "all_ready":
                return [(number, Condition(drifting=False, state="READY")) for number, _ in there], ["cached"]
            case _:
                self._rng.shuffle(there)
                return there, []


def _data(
    shown: list[tuple[TrueNumber, Condition]], warnings: list[str], *, unreadable: bool
) -> dict[str, Any]:
    readiness = [_readiness(number, condition) for number, condition in shown]
    return {
        "clients": [{"id": client, "first_name": f"Client {client}"} for client in range(1, CLIENTS + 1)],
        "dids": [],
        "available_dids": [],
        "bots": [],
        "routing": [],
        "local_phone_numbers": [],
        "readiness": [*readiness, {"key": None, "phone_number": "unknown"}] if unreadable else readiness,
        "drift": list(_drift(shown)),
        "warnings": warnings,
    }


def _readiness(number: TrueNumber, condition: Condition) -> dict[str, Any]:
    bot = None if "NO_BOT" in condition.issues else {"id": 90 + number.client, "client_id": number.client}
    routing = None if "ROUTING_MISSING" in condition.issues else {"id": 1, "for_inbound_call": 1}
    agent = None if "NO_VOCOBASE_AGENT" in condition.issues else f"agent-{number.agent}"
    expired = condition.state == "EXPIRED"
    return {
        "key": number.key,
        "phone_number": f"+{number.key}",
        "state": "READY" if expired else condition.state,
        "issues": [] if expired else list(condition.issues),
        "remote_did": {"did_id": number.position + 1, "client_id": number.client, "is_expired": expired},
        "local_phone_number": {"id": number.key, "agent_id": agent},
        "routing": routing,
        "bot": bot,
        "actions": [],
        "action_items": [
            {"code": issue, "label": f"mend {issue}"} for issue in condition.issues if not expired
        ],
    }


def _drift(shown: list[tuple[TrueNumber, Condition]]) -> Iterator[dict[str, Any]]:
    for number, condition in shown:
        if condition.drifting and condition.state != "EXPIRED":
            yield {
                "key": number.key,
                "phone_number": f"+{number.key}",
                "state": condition.state,
                "action": f"mend {condition.state}",
                "did_id": number.position + 1,
                "client_id": number.client,
            }
