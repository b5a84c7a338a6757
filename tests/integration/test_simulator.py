"""The double on a real socket: how answers arrive, and how they do not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from monitor.errors import StartError
from monitor.simulator import Simulator, build_world, shipped_scenario
from tests.fakes.clock import FakeClock

MIB = 1024 * 1024
KEY = {"Authorization": "Bearer rg_live_account_1"}


class WatchedClock(FakeClock):
    """A clock that says when somebody sleeps on it, and when that is over."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep = asyncio.Event()
        self.awake = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Sleep, and say so."""
        self.asleep.set()
        try:
            await super().sleep(seconds)
        finally:
            self.awake.set()


@asynccontextmanager
async def served(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a simulator and give a client of it."""
    async with (
        simulator.serve() as url,
        httpx.AsyncClient(base_url=url, headers=KEY, timeout=60, trust_env=False) as client,
    ):
        yield client


async def sync(client: httpx.AsyncClient) -> httpx.Response:
    """Send a read-only sync."""
    return await client.post("voicelink/sync", json={"import_dids": False})


async def test_serves_on_a_free_port() -> None:
    """Port 0 gives a base URL that ends in the API's path, and it answers."""
    async with (
        Simulator(build_world()).serve() as url,
        httpx.AsyncClient(timeout=60, headers=KEY, trust_env=False) as client,
    ):
        assert url.endswith("/api/v2")
        response = await client.post(f"{url}/voicelink/sync", json={"import_dids": False})
    assert len(response.json()["data"]["readiness"]) == 100


async def test_port_taken_is_a_clear_error() -> None:
    """Who asks for a port in use is told the address and why."""
    async with Simulator(build_world()).serve() as url:
        port = httpx.URL(url).port
        assert port is not None
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            async with Simulator(build_world()).serve(port=port):
                pass


async def test_closed_simulator_answers_no_more() -> None:
    """Leaving the context closes the socket."""
    async with Simulator(build_world()).serve() as url:
        pass
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


@pytest.mark.parametrize("kind", ["drop", "truncated"])
async def test_cut_connection_breaks_the_exchange(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """The client sees a broken exchange once, then an answer; the server logs nothing about it."""
    simulator = Simulator(build_world())
    simulator.do("fault", kind=kind, requests=1)
    async with served(simulator) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await sync(client)
        assert (await sync(client)).status_code == 200
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []
    assert simulator.requests[0].status == (0 if kind == "drop" else 200)


@pytest.mark.parametrize("kind", ["huge", "bomb"])
async def test_large_body_is_as_large_as_asked(kind: str) -> None:
    """It is a valid answer with filler; a bomb is small on the wire."""
    simulator = Simulator(build_world(numbers=1))
    simulator.do("fault", kind=kind, size_mib=3)
    async with served(simulator) as client:
        response = await sync(client)
    assert 3 * MIB < len(response.content) < 4 * MIB
    assert response.json()["data"]["readiness"]
    assert "content-length" not in response.headers
    assert (response.num_bytes_downloaded < MIB // 10) is (kind == "bomb")


@pytest.mark.parametrize("kind", ["delay", "stall"])
async def test_late_answer_comes_when_the_time_has_passed(kind: str) -> None:
    """The answer, or its second half, waits for the clock; then it is whole."""
    clock = WatchedClock()
    simulator = Simulator(build_world(), clock=clock)
    simulator.do("fault", kind=kind, delay="20s")
    async with served(simulator) as client:
        waiting = asyncio.create_task(sync(client))
        await clock.asleep.wait()
        assert not waiting.done()
        await clock.advance(20)
        assert len((await waiting).json()["data"]["readiness"]) == 100


async def test_closing_does_not_wait_for_a_late_answer(caplog: pytest.LogCaptureFixture) -> None:
    """What is still being answered is cut off, quietly."""
    clock = WatchedClock()
    simulator = Simulator(build_world(), clock=clock)
    simulator.do("fault", delay="1h")
    async with httpx.AsyncClient(timeout=60, headers=KEY, trust_env=False) as client:
        async with simulator.serve() as url:
            waiting = asyncio.create_task(client.post(f"{url}/voicelink/sync", json={"import_dids": False}))
            await clock.asleep.wait()
        with pytest.raises(httpx.TransportError):
            await waiting
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


async def test_client_that_leaves_early_is_forgotten() -> None:
    """A client's timeout ends the wait on this side as well."""
    clock = WatchedClock()
    simulator = Simulator(build_world(), clock=clock)
    simulator.do("fault", delay="1h")
    async with served(simulator) as client:
        leaving = asyncio.create_task(sync(client))
        await clock.asleep.wait()
        leaving.cancel()
        await clock.awake.wait()
        simulator.do("clear_faults")
        assert (await sync(client)).status_code == 200


async def test_demo_story_plays_while_served() -> None:
    """The story begins with the server: six numbers drift, then 503, then all is well."""
    clock, said = FakeClock(), list[str]()
    simulator = Simulator(shipped_scenario("demo"), clock=clock, on_step=said.append)
    key = {"Authorization": "Bearer rg_live_demo_acme"}
    body = {"import_dids": False, "connection_id": "9b7f1c44-c87f-4f0c-9124-3c802a9c1a20"}
    seen = []
    async with (
        simulator.serve() as url,
        httpx.AsyncClient(timeout=60, headers=key, trust_env=False) as client,
    ):
        for seconds in (7, 2, 18, 14, 10):
            await clock.advance(seconds)
            response = await client.post(f"{url}/voicelink/sync", json=body)
            drift = response.json().get("data", {}).get("drift")
            seen.append((response.status_code, drift if drift is None else len(drift)))
    assert seen == [(200, 0), (200, 6), (200, 0), (503, None), (200, 0)]
    assert len(said) == 7
