"""Passwords: who is let in, what stays open, and what guessing costs."""

import asyncio

import httpx
import pytest

from monitor.web.app import SECURITY_HEADERS
from monitor.web.auth import WINDOW_S, WRONG_PER_WINDOW
from tests.integration.web.site import Site, hashed

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
    """Five wrong passwords a minute, then 429 with the time to wait, even for the right one."""
    site.users = {"ops": hashed(RIGHT[1])}
    async with site.serve():
        codes = [(await site.client.get("/", auth=WRONG)).status_code for _ in range(WRONG_PER_WINDOW)]
        assert codes == [401] * WRONG_PER_WINDOW
        late = await site.client.get("/api/v1/status", auth=RIGHT)
        assert (late.status_code, late.headers["retry-after"]) == (429, "60")
        await site.clock.advance(WINDOW_S)
        assert (await site.client.get("/", auth=RIGHT)).status_code == 200


async def test_guesses_at_the_same_time_are_counted_too(site: Site) -> None:
    """Twenty at once are not twenty tries."""
    site.users = {"ops": hashed(RIGHT[1])}
    async with site.serve():
        answers = await asyncio.gather(*(site.client.get("/", auth=("ops", f"{n}")) for n in range(20)))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(401), codes.count(429)) == (WRONG_PER_WINDOW, 20 - WRONG_PER_WINDOW)


async def test_a_client_that_was_right_goes_on_while_another_guesses(site: Site) -> None:
    """A scraper behind the same proxy as somebody who guesses is not locked out."""
    site.users = {"ops": hashed(RIGHT[1])}
    async with site.serve():
        assert (await site.client.get("/metrics", auth=RIGHT)).status_code == 200
        for _ in range(WRONG_PER_WINDOW + 1):
            blocked = await site.client.get("/", auth=WRONG)
        assert blocked.status_code == 429
        assert (await site.client.get("/metrics", auth=RIGHT)).status_code == 200


async def test_right_passwords_are_never_too_many(site: Site) -> None:
    """Users that come one after the other from one address all get in."""
    names = [f"user-{n}" for n in range(WRONG_PER_WINDOW + 3)]
    site.users = dict.fromkeys(names, hashed(RIGHT[1]))
    async with site.serve():
        codes = [(await site.client.get("/", auth=(name, RIGHT[1]))).status_code for name in names]
    assert codes == [200] * len(names)


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
