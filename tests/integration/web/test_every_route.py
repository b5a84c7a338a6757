"""What holds for every route that there is: asked of the routers, not of a list."""

from collections.abc import Iterator
from typing import Any

from starlette.routing import Route

from tests.integration.web.site import Site, hashed

BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/silences": {"json": {"state": "NO_BOT", "for": "2h", "reason": "known"}},
    "/api/v1/replay": {"content": "[drift]", "headers": {"content-type": "application/toml"}},
}
"""What requests bring, by path."""
OPS, VIEWER = ("ops", "pw"), ("viewer", "pw")
LACKING = {("POST", "/silences"): 400, ("DELETE", "/api/v1/silences/s1"): 404}
"""What an operator is refused for other reasons: a silence without anything, and a second end of one."""


def routes(site: Site) -> Iterator[tuple[str, str]]:
    """Yield the method and the path of every route, with the names that the stand-in daemon knows."""
    for router in site.routers:
        for route in router.routes:
            assert isinstance(route, Route)
            names = {"name": "acme-sales", "delivery_id": "d1", "alert_id": "a1", "number": "1", "key": "1"}
            names |= {"receiver": "hook", "silence_id": "s1"}
            path = route.path.format(**names)
            yield from ((method, path) for method in sorted(route.methods or ()))
    for path in ("/metrics", "/static/monitor.css", "/static/monitor.js", "/nothing"):
        yield "GET", path


async def test_every_route_refuses_a_foreign_host(site: Site) -> None:
    """And does nothing, although the browser says that its own page asks."""
    async with site.serve():
        own = {"host": "evil.example", "origin": "http://evil.example", "sec-fetch-site": "same-origin"}
        codes = {
            (method, path): (await site.client.request(method, path, headers=own)).status_code
            for method, path in routes(site)
        }
    assert set(codes.values()) == {421}
    assert len(codes) > 20
    assert site.daemon.done == []


async def test_every_route_asks_for_the_password(site: Site) -> None:
    """Only the probes do not."""
    site.users = {"ops": hashed("pw")}
    async with site.serve():
        codes = {
            (method, path): (await site.client.request(method, path)).status_code
            for method, path in routes(site)
        }
    assert set(codes.values()) == {401}


async def test_every_route_that_acts_takes_an_operator_on_a_page_of_its_own(site: Site) -> None:
    """Not a reader, not a page of another site, nothing while actions are off; then it acts."""
    site.users, site.operators = {"ops": hashed("pw"), "viewer": hashed("pw")}, ("ops",)
    async with site.serve():
        await site.silence("s1")
        acts = [(method, path) for method, path in routes(site) if method not in ("GET", "HEAD")]
        assert len(acts) >= 6

        async def act(method: str, path: str, **more: Any) -> int:
            asked = BODIES.get(path, {}) | more
            return (await site.client.request(method, path, **asked)).status_code

        for method, path in acts:
            assert await act(method, path, auth=VIEWER) == 403, path
            foreign = {"origin": "https://evil.example"}
            assert await act(method, path, auth=OPS, headers=foreign) == 403, path
            site.lifecycle = False
            assert await act(method, path, auth=OPS) == 403, path
            site.lifecycle = True
            assert site.daemon.done == []
        codes = {(method, path): await act(method, path, auth=OPS) for method, path in acts}
    assert {each: code for each, code in codes.items() if code >= 400} == LACKING
    assert [by.user for by in site.daemon.asked] == ["ops"] * (len(acts) - len(LACKING))


async def test_nothing_is_done_by_reading(site: Site) -> None:
    """What a link or an image asks for never acts."""
    site.users = {"ops": hashed("pw")}
    async with site.serve():
        for method, path in routes(site):
            if method in ("GET", "HEAD"):
                await site.client.request(method, path, auth=OPS)
    assert site.daemon.done == []
