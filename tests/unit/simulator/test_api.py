"""The application: keys, limits, refusals and errors, without a socket."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from monitor.simulator import CONNECTIONS_PATH, SYNC_PATH, SimulatedConnection, Simulator, build_world
from tests.fakes.clock import FakeClock

SYNC = {"import_dids": False}
KEY = "rg_live_account_1"


class Partner:
    """A client of the double, with everything a test wants to move."""

    def __init__(self, connections: int = 1, **settings: Any) -> None:
        self.clock = FakeClock()
        self.said: list[str] = []
        world = build_world(connections=connections, numbers=4, **settings)
        self.simulator = Simulator(world, clock=self.clock, on_step=self.said.append)
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.simulator), base_url="http://provider", headers=bearer(KEY)
        )

    async def sync(self, **body: Any) -> httpx.Response:
        """Send a read-only sync, with more in its body."""
        return await self.http.post(SYNC_PATH, json={**SYNC, **body})

    @property
    def connection(self) -> SimulatedConnection:
        """The first connection."""
        return next(self.simulator.world.connections())


def bearer(key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


def code(response: httpx.Response) -> tuple[int, str]:
    """Return the status and the error code."""
    body = response.json()
    assert body["success"] is False
    return response.status_code, body["error"]["code"]


@pytest.fixture
async def partner() -> AsyncIterator[Partner]:
    """Return a partner with one connection and no rate limit."""
    made = Partner()
    async with made.http:
        yield made


@pytest.fixture
async def pair() -> AsyncIterator[Partner]:
    """Return a partner with two connections."""
    made = Partner(connections=2)
    async with made.http:
        yield made


async def test_sync_answers_the_only_connection(partner: Partner) -> None:
    """Without an id the key's only active connection is meant."""
    response = await partner.sync()
    assert response.status_code == 200
    assert len(response.json()["data"]["readiness"]) == 4


async def test_unchanged_sync_answers_the_same_bytes(partner: Partner) -> None:
    """Byte for byte the same until something changes."""
    first, second = await partner.sync(), await partner.sync()
    partner.simulator.do("unassign_agent", numbers=1)
    assert first.content == second.content != (await partner.sync()).content


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("POST", SYNC_PATH, {}, id="import by default"),
        pytest.param("POST", SYNC_PATH, {"import_dids": True}, id="import"),
        pytest.param("POST", SYNC_PATH, {"import_dids": 0}, id="not quite false"),
        pytest.param("POST", SYNC_PATH, [], id="no object"),
        pytest.param("DELETE", CONNECTIONS_PATH, {}, id="other method"),
        pytest.param("POST", CONNECTIONS_PATH, {}, id="create a connection"),
        pytest.param("POST", "/api/v2/calls", {}, id="other path"),
    ],
)
async def test_what_is_not_read_only_is_refused_and_counted(
    partner: Partner, method: str, path: str, body: Any
) -> None:
    """The double would rather fail than let a write go unseen."""
    response = await partner.http.request(method, path, json=body)
    assert code(response) == (400, "VALIDATION_ERROR")
    assert partner.simulator.writes == 1
    assert [(seen.method, seen.path, seen.write) for seen in partner.simulator.requests] == [
        (method, path, True)
    ]


async def test_read_only_requests_are_recorded_as_such(pair: Partner) -> None:
    """Each request is there with account, connection and status; none counts as a write."""
    await pair.sync(connection_id=pair.connection.id)
    await pair.http.get(CONNECTIONS_PATH)
    seen = [(each.account, each.connection_id, each.status) for each in pair.simulator.requests]
    assert seen == [("account-1", pair.connection.id, 200), ("account-1", None, 200)]
    assert pair.simulator.writes == 0


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Authorization": ""}, id="none"),
        pytest.param(bearer("rg_live_other"), id="unknown key"),
        pytest.param({"Authorization": f"Basic {KEY}"}, id="other scheme"),
    ],
)
async def test_wrong_key_is_unauthorized(partner: Partner, headers: dict[str, str]) -> None:
    """Only a known key as a bearer token opens."""
    response = await partner.http.post(SYNC_PATH, json=SYNC, headers=headers)
    assert code(response) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    ("step", "expected"),
    [("revoke_key", (401, "UNAUTHORIZED")), ("suspend", (403, "FORBIDDEN"))],
)
async def test_rejected_account_gets_its_code(partner: Partner, step: str, expected: tuple[int, str]) -> None:
    """A revoked key and a suspended account are told apart."""
    partner.simulator.do(step)
    assert code(await partner.sync()) == expected


async def test_sync_without_id_needs_a_single_connection(pair: Partner) -> None:
    """With several active connections the id is required; with one left it is not."""
    assert code(await pair.sync()) == (400, "VALIDATION_ERROR")
    pair.simulator.do("deactivate_connection", connection="conn-0002")
    assert (await pair.sync()).status_code == 200
    pair.simulator.do("deactivate_connection", connection="conn-0001")
    assert code(await pair.sync()) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("connection_id", "expected"),
    [
        pytest.param("00000000-0000-0000-0000-000000000000", (404, "NOT_FOUND"), id="unknown"),
        pytest.param(7, (400, "VALIDATION_ERROR"), id="no text"),
    ],
)
async def test_wrong_connection_id_is_refused(pair: Partner, connection_id: Any, expected: Any) -> None:
    """An id that is none of the key's is not found."""
    assert code(await pair.sync(connection_id=connection_id)) == expected


async def test_inactive_connection_is_a_conflict(pair: Partner) -> None:
    """Asked for by its id, it is there and cannot be synced."""
    pair.simulator.do("deactivate_connection", connection="conn-0001")
    assert code(await pair.sync(connection_id=pair.connection.id)) == (409, "CONFLICT")


async def test_connection_of_another_account_is_not_found() -> None:
    """A key sees its own connections only."""
    partner = Partner(connections=2, accounts=2)
    foreign = list(partner.simulator.world.connections())[1]
    async with partner.http:
        assert code(await partner.sync(connection_id=foreign.id)) == (404, "NOT_FOUND")


async def test_rate_limit_is_by_key_and_window() -> None:
    """The request over the limit is refused until the window resets; another key is not touched."""
    partner = Partner(connections=2, accounts=2, rate_limit=2)
    async with partner.http:
        assert [(await partner.sync()).status_code for _ in range(3)] == [200, 200, 429]
        other = await partner.http.post(SYNC_PATH, json=SYNC, headers=bearer("rg_live_account_2"))
        assert other.status_code == 200
        assert code(await partner.sync()) == (429, "LIMIT_REACHED")
        await partner.clock.advance(60)
        assert (await partner.sync()).status_code == 200


async def test_list_of_connections_has_both_forms(pair: Partner) -> None:
    """In `data.connections`, or `data` itself where the world says so."""
    pair.simulator.do("deactivate_connection", connection="conn-0002")
    data = (await pair.http.get(CONNECTIONS_PATH, params={"provider": "voicelink"})).json()["data"]
    assert [(each["name"], each["status"]) for each in data["connections"]] == [
        ("conn-0001", "ACTIVE"),
        ("conn-0002", "INACTIVE"),
    ]
    pair.simulator.world.connections_form = "list"
    assert (await pair.http.get(CONNECTIONS_PATH)).json()["data"] == data["connections"]


async def test_list_of_connections_is_narrowed_by_provider(pair: Partner) -> None:
    """Another provider's connection is listed only for those who did not ask for VoiceLink's."""
    pair.connection.provider = "plivo"
    narrowed = await pair.http.get(CONNECTIONS_PATH, params={"provider": "voicelink"})
    everything = await pair.http.get(CONNECTIONS_PATH)
    names = [[each["name"] for each in got.json()["data"]["connections"]] for got in (narrowed, everything)]
    assert names == [["conn-0002"], ["conn-0001", "conn-0002"]]


async def test_status_fault_carries_its_headers(partner: Partner) -> None:
    """Any status, with the envelope, and Retry-After if asked."""
    partner.simulator.do("fault", status=429, retry_after=7, requests=1)
    response = await partner.sync()
    assert code(response) == (429, "LIMIT_REACHED")
    assert response.headers["retry-after"] == "7"
    assert (await partner.sync()).status_code == 200


async def test_redirect_fault_points_elsewhere(partner: Partner) -> None:
    """A 3xx has its Location."""
    partner.simulator.do("fault", status=302, location="http://elsewhere/")
    assert (await partner.sync()).headers["location"] == "http://elsewhere/"


async def test_refused_fault_is_a_200_that_is_none(partner: Partner) -> None:
    """`success` is false though the status says otherwise."""
    partner.simulator.do("fault", kind="refused")
    assert code(await partner.sync())[0] == 200


async def test_garbage_fault_is_no_json(partner: Partner) -> None:
    """200 with a page of HTML."""
    partner.simulator.do("fault", kind="garbage")
    response = await partner.sync()
    assert (response.status_code, response.content[:6]) == (200, b"<html>")


async def test_content_fault_leaves_the_list_of_connections_alone(partner: Partner) -> None:
    """What a sync's answer says has nothing to do with the list, and is not used up by it."""
    partner.simulator.do("fault", kind="empty", requests=1)
    assert (await partner.http.get(CONNECTIONS_PATH)).json()["data"]["connections"]
    assert (await partner.sync()).json()["data"]["readiness"] == []
    assert (await partner.sync()).json()["data"]["readiness"]


async def test_gzip_comes_only_if_configured_and_asked_for(partner: Partner) -> None:
    """Identity unless both sides want otherwise; the content is the same."""
    plain = await partner.sync()
    partner.simulator.world.gzip = True
    packed = await partner.sync()
    unasked = await partner.http.post(SYNC_PATH, json=SYNC, headers={"Accept-Encoding": "identity"})
    encodings = [got.headers.get("content-encoding") for got in (plain, packed, unasked)]
    assert encodings == [None, "gzip", None]
    assert plain.content == packed.content == unasked.content


async def test_step_from_outside_as_json_and_toml(partner: Partner) -> None:
    """POST /_sim/do speaks the scenario's vocabulary, in both notations, and is told like a step."""
    done = await partner.http.post("/_sim/do", json={"do": "unassign_agent", "numbers": 1, "say": "Gone."})
    assert done.json() == {"success": True, "data": {"done": "unassign_agent"}}
    assert len((await partner.sync()).json()["data"]["drift"]) == 1
    toml = {"content": 'do = "assign_agent"\nnumbers = 1', "headers": {"Content-Type": "application/toml"}}
    await partner.http.post("/_sim/do", **toml)  # type: ignore[arg-type]  # content and headers
    assert (await partner.sync()).json()["data"]["drift"] == []
    assert partner.said == ["Gone.", "assign agent"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "neither JSON nor TOML"),
        (b"[" * 10_000, "neither JSON nor TOML"),
        (b"[]", "one step"),
        (b'{"do":"sai"}', 'did you mean \\"say\\"'),
    ],
)
async def test_wrong_step_from_outside_is_refused(partner: Partner, content: bytes, says: str) -> None:
    """400 with the reason; nothing happens."""
    response = await partner.http.post("/_sim/do", content=content)
    assert response.status_code == 400
    assert says in response.text
    assert partner.said == []


async def test_stats_count_the_api_and_not_themselves(partner: Partner) -> None:
    """Requests by path and status, refused writes, and the log of requests."""
    await partner.sync()
    await partner.http.post(SYNC_PATH, json={})
    stats = (await partner.http.get("/_sim/stats")).json()
    assert stats == {"requests": {SYNC_PATH: {"200": 1, "400": 1}}, "total": 2, "writes_refused": 1}
    log = (await partner.http.get("/_sim/requests")).json()
    assert [(each["status"], each["write"]) for each in log] == [(200, False), (400, True)]
    assert (await partner.http.get("/_sim/else")).status_code == 404
