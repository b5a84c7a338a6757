"""Passwords: who is let in, what stays open, and what guessing costs."""

import asyncio
import base64

import httpx
import pytest

from monitor.web.app import SECURITY_HEADERS
from monitor.web.attempts import FOR_USER_FROM_ADDRESS
from monitor.web.auth import Gate
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog
from tests.integration.web.site import Held, Site, hashed
from tests.servers.process import wait_until

BURST = FOR_USER_FROM_ADDRESS.burst

RIGHT = ("ops", "correct horse")
WRONG = ("ops", "battery staple")


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
async def test_probes_need_no_password(site: Site, path: str) -> None:
    """Whoever probes the process has no password."""
    site.users = {"ops": hashed(RIGHT[1])}
    async with site.serve():
        assert (await site.client.get(path)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/metrics",
        "/static/monitor.css",
        "/api/v1/status",
        "/api/v1/openapi.json",
        "/nothing",
        "/-/healthy/",
        "/-/reload",
        "//-/healthy",
        "/-/ready/../../metrics",
    ],
)
async def test_everything_else_needs_one(site: Site, path: str) -> None:
    """Without a password nothing is told, not even what there is; the headers are there all the same."""
    site.users = {"ops": hashed(RIGHT[1])}
    async with site.serve():
        answer = await site.client.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="voicelink-monitor", charset="UTF-8"'
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS


async def test_right_password_opens_everything(site: Site) -> None:
    """A user gets the page, the metrics, the style and the API."""
    site.users = {"ops": hashed(RIGHT[1])}
    async with site.serve():
        for path in ("/", "/metrics", "/static/monitor.css", "/api/v1/status"):
            assert (await site.client.get(path, auth=RIGHT)).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!!",
        "Basic b3Bz",  # no colon
        "Basic //86eA==",  # no UTF-8
        "Bearer b3BzOmNvcnJlY3QgaG9yc2U=",
        "Basic b3BzOmJhdHRlcnkgc3RhcGxl",
        "Basic bm9ib2R5OmNvcnJlY3QgaG9yc2U=",
        "Basic OmNvcnJlY3QgaG9yc2U=",
    ],
    ids=["no token", "no base64", "no colon", "no text", "bearer", "wrong", "nobody", "no name"],
)
async def test_what_is_no_password_opens_nothing(site: Site, header: str) -> None:
    """Whatever is wrong with the header, the answer is the same."""
    site.users = {"ops": hashed(RIGHT[1])}
    async with site.serve():
        answer = await site.client.get("/api/v1/status", headers={"authorization": header})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


async def test_without_users_nobody_needs_a_password(site: Site) -> None:
    """The default is open, as it listens on this machine alone."""
    async with site.serve():
        assert (await site.client.get("/")).status_code == 200


async def test_users_are_those_of_now(site: Site) -> None:
    """A user who is taken out of the config is out at once, and so is an old password, remembered or not."""
    site.users = {"ops": hashed(RIGHT[1])}
    async with site.serve():
        assert (await site.client.get("/", auth=RIGHT)).status_code == 200
        site.users = {"ops": hashed("another one")}
        assert (await site.client.get("/", auth=RIGHT)).status_code == 401
        site.users = {"else": hashed(RIGHT[1])}
        assert (await site.client.get("/", auth=RIGHT)).status_code == 401


async def test_long_password_is_cut_off_as_other_programs_do(site: Site) -> None:
    """What htpasswd made of 80 characters works here; bcrypt reads 72 of them."""
    site.users = {"ops": hashed("x" * 72)}
    async with site.serve():
        assert (await site.client.get("/", auth=("ops", "x" * 80))).status_code == 200
        assert (await site.client.get("/", auth=("ops", "x" * 71))).status_code == 401


async def test_guessing_is_slowed_down(site: Site) -> None:
    """After five wrong passwords one more every 12 seconds; until then 429 with the time to wait."""
    site.users = {"ops": hashed(RIGHT[1])}
    async with site.serve():
        codes = [(await site.client.get("/", auth=WRONG)).status_code for _ in range(BURST)]
        assert codes == [401] * BURST
        late = await site.client.get("/api/v1/status", auth=RIGHT)
        assert (late.status_code, late.headers["retry-after"]) == (429, "12")
        assert late.json()["detail"] == "too many wrong passwords; try again in 12 s"
        await site.clock.advance(12)
        assert (await site.client.get("/", auth=RIGHT)).status_code == 200


async def test_guesses_at_the_same_time_are_counted_too(site: Site) -> None:
    """Twenty at once are not twenty tries."""
    site.users = {"ops": hashed(RIGHT[1])}
    async with site.serve():
        answers = await asyncio.gather(*(site.client.get("/", auth=("ops", f"{n}")) for n in range(20)))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(401), codes.count(429)) == (BURST, 20 - BURST)


async def test_requests_with_one_password_share_its_check(site: Site) -> None:
    """A page and all it loads, right after a start: every request is let in, and bcrypt runs once."""
    site.users = {"ops": hashed(RIGHT[1])}
    site.work = Held(released=False)
    async with site.serve():
        asked = [asyncio.create_task(site.client.get("/", auth=RIGHT)) for _ in range(12)]
        await wait_until(lambda: site.work.hashes and site.judged == 12, what="12 waiting requests")
        site.work.release()
        codes = [answer.status_code for answer in await asyncio.gather(*asked)]
        assert (codes, site.work.hashes) == ([200] * 12, 1)


async def test_same_wrong_password_at_once_is_one_failure(site: Site) -> None:
    """A browser that remembers an old password asks for many files with it."""
    site.users = {"ops": hashed(RIGHT[1])}
    site.work = Held(released=False)
    async with site.serve():
        asked = [asyncio.create_task(site.client.get("/", auth=WRONG)) for _ in range(12)]
        await wait_until(lambda: site.work.hashes and site.judged == 12, what="12 waiting requests")
        site.work.release()
        codes = [answer.status_code for answer in await asyncio.gather(*asked)]
        assert (codes, site.work.hashes) == ([401] * 12, 1)
        assert (await site.client.get("/", auth=RIGHT)).status_code == 200


async def test_request_that_is_cancelled_takes_no_other_down() -> None:
    """Who shares a check gets its answer although the request that began it is gone."""
    work, log = Held(released=False), FakeLog()
    users = {"ops": hashed(RIGHT[1])}
    gate = Gate(users=lambda: users, clock=FakeClock(), log=log.logger, hash_password=work.hash)
    header = "Basic " + base64.b64encode(":".join(RIGHT).encode()).decode()
    first, second = (asyncio.create_task(gate.judge(header, address)) for address in ("192.0.2.1", "::1"))
    await wait_until(lambda: work.hashes, what="the check")
    first.cancel()
    work.release()
    assert (await second).user == "ops"
    assert (first.cancelled(), work.hashes) == (True, 1)


async def test_wrong_passwords_of_one_user_lock_out_no_other_behind_the_address(site: Site) -> None:
    """Somebody who mistypes, or guesses, keeps no colleague at the same proxy out."""
    site.users = {"ops": hashed(RIGHT[1]), "ann": hashed("anns")}
    async with site.serve():
        for _ in range(BURST + 1):
            blocked = await site.client.get("/", auth=WRONG)
        assert blocked.status_code == 429
        assert (await site.client.get("/", auth=("ann", "anns"))).status_code == 200


async def test_wrong_passwords_from_elsewhere_lock_no_user_out(site: Site) -> None:
    """Behind a trusted proxy the same user comes in from another address."""
    site.users, site.trusted_proxies = {"ops": hashed(RIGHT[1])}, ("127.0.0.1",)

    async def code(address: str, login: tuple[str, str]) -> int:
        return (await site.client.get("/", auth=login, headers={"x-forwarded-for": address})).status_code

    async with site.serve():
        assert [await code("192.0.2.1", WRONG) for _ in range(BURST + 1)] == [401] * BURST + [429]
        assert await code("192.0.2.1", RIGHT) == 429
        assert await code("192.0.2.2", RIGHT) == 200
        # A customer's /64 counts as one address.
        assert [await code(f"2001:db8::{n}", WRONG) for n in range(1, BURST + 2)] == [401] * BURST + [429]


async def test_flood_of_guesses_does_not_queue(site: Site) -> None:
    """Most of sixty guesses are answered at once, with the time to wait; a known password never waits."""
    site.users = {"ops": hashed(RIGHT[1]), "scraper": hashed("known")}
    async with site.serve():
        assert (await site.client.get("/metrics", auth=("scraper", "known"))).status_code == 200
        site.work = Held(released=False)
        logins = [(f"user-{n}", "x") for n in range(60)]
        async with httpx.AsyncClient(timeout=60, base_url=site.client.base_url, trust_env=False) as crowd:
            asked = [asyncio.create_task(crowd.get("/", auth=login)) for login in logins]
            await wait_until(lambda: sum(task.done() for task in asked) == 60 - 16, what="answers")
            refused = [task.result() for task in asked if task.done()]
            assert {(each.status_code, each.headers["retry-after"]) for each in refused} == {(503, "1")}
            assert (await site.client.get("/metrics", auth=("scraper", "known"))).status_code == 200
            site.work.release()
            assert {(await task).status_code for task in asked} == {401, 503}


async def test_flood_of_one_address_keeps_no_other_waiting(site: Site) -> None:
    """Whoever comes in from elsewhere for the first time is checked beside it, not behind it."""
    site.users, site.trusted_proxies = {"ops": hashed(RIGHT[1])}, ("127.0.0.1",)
    site.work = Held(released=False, quick=RIGHT[1].encode())
    async with site.serve():
        guesses = [
            asyncio.create_task(
                site.client.get("/", auth=(f"user-{n}", "x"), headers={"x-forwarded-for": "192.0.2.1"})
            )
            for n in range(10)
        ]
        await wait_until(lambda: site.judged == 10 and site.work.hashes, what="guesses")
        other = await site.client.get("/", auth=RIGHT, headers={"x-forwarded-for": "192.0.2.2"})
        site.work.release()
        assert other.status_code == 200
        assert {(await guess).status_code for guess in guesses} == {401}


async def test_a_client_that_was_right_goes_on_while_another_guesses(site: Site) -> None:
    """A scraper behind the same proxy as somebody who guesses is not locked out."""
    site.users = {"ops": hashed(RIGHT[1])}
    async with site.serve():
        assert (await site.client.get("/metrics", auth=RIGHT)).status_code == 200
        for _ in range(BURST + 1):
            blocked = await site.client.get("/", auth=WRONG)
        assert blocked.status_code == 429
        assert (await site.client.get("/metrics", auth=RIGHT)).status_code == 200


async def test_right_passwords_are_never_too_many(site: Site) -> None:
    """Users that come from one address all get in, one after the other or at once."""
    names = [f"user-{n}" for n in range(40)]
    site.users = dict.fromkeys(names, hashed(RIGHT[1]))
    async with site.serve():
        at_once = await asyncio.gather(*(site.client.get("/", auth=(name, RIGHT[1])) for name in names[:12]))
        codes = [(await site.client.get("/", auth=(name, RIGHT[1]))).status_code for name in names]
    assert codes + [answer.status_code for answer in at_once] == [200] * 52


async def test_wrong_passwords_are_logged_once_a_streak(site: Site) -> None:
    """One line says from where, nothing of what was typed; after some quiet the next streak gets its own."""
    site.users = {"ops": hashed(RIGHT[1])}
    async with site.serve():
        for _ in range(3):
            await site.client.get("/", auth=WRONG)
        [line] = site.log.of("auth.refused")
        assert line["client"] == "127.0.0.1"
        assert not [value for value in line.values() if value in (*WRONG, *RIGHT)]
        await site.clock.advance(700)
        await site.client.get("/", auth=WRONG)
    assert site.log.events.count("auth.refused") == 2


async def test_post_is_refused_without_reading_its_body(site: Site) -> None:
    """A large body is no way around the password, nor a way to fill memory."""
    site.users = {"ops": hashed(RIGHT[1])}
    async with site.serve():
        # The server may hang up while the body is still being sent: then too, nothing was let in.
        try:
            answer = await site.client.post("/-/reload", content=b"x" * 1_000_000)
        except httpx.TransportError:
            pass
        else:
            assert answer.status_code == 401
    assert site.daemon.done == []
