"""What can be asked of the daemon over the web: who may, what it answers, what a page elsewhere gets."""

import pytest

from monitor.errors import ConfigError, MonitorError, Refused, StartError, StoreUnavailable
from monitor.store.actions import Actor
from tests.integration.web.site import Site, hashed

RELOAD = "/-/reload"
SYNC = "/api/v1/connections/acme-sales/sync"
ALERTS = "/api/v1/alerts"
FORMS = (
    "/connections/acme-sales/sync",
    "/connections/acme-sales/accept",
    "/deliveries/d1/retry",
    "/deliveries/d1/dismiss",
)
PROBLEM = "application/problem+json"


async def test_reload_reloads(site: Site) -> None:
    """A reload that worked says ok."""
    async with site.serve():
        answer = await site.client.post(RELOAD)
    assert (answer.status_code, answer.text) == (200, "ok\n")
    assert site.daemon.done == ["reload"]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        pytest.param(
            ConfigError(["accounts[0].name: is missing", "web.lissen: unknown"], "config.toml"),
            400,
            "config.toml: accounts[0].name: is missing\nconfig.toml: web.lissen: unknown\n",
            id="config",
        ),
        pytest.param(StartError("secret file x is empty"), 400, "secret file x is empty\n", id="file"),
        pytest.param(
            StoreUnavailable("postgres at db:5432"),
            503,
            "the store is unavailable; try again in a moment\n",
            id="store",
        ),
    ],
)
async def test_reload_that_fails_says_why(site: Site, error: MonitorError, code: int, text: str) -> None:
    """All problems of a config are said; where the store is, is not."""
    site.daemon.fails = error
    async with site.serve():
        answer = await site.client.post(RELOAD)
    assert (answer.status_code, answer.text) == (code, text)


async def test_sync_begins(site: Site) -> None:
    """202, and the daemon was asked for it."""
    async with site.serve():
        answer = await site.client.post(SYNC)
    assert (answer.status_code, answer.json()) == (202, {"connection": "acme-sales"})
    assert site.daemon.done == ["sync acme-sales"]


async def test_sync_that_cannot_begin_says_why(site: Site) -> None:
    """409 while it is being synced, 404 for what is not there, 503 without a store."""
    site.daemon.busy = {"acme-sales"}
    async with site.serve():
        busy = await site.client.post(SYNC)
        unknown = await site.client.post("/api/v1/connections/else/sync")
        site.daemon.fails = StoreUnavailable("gone")
        away = await site.client.post(SYNC)
    assert [each.status_code for each in (busy, unknown, away)] == [409, 404, 503]
    assert {each.headers["content-type"] for each in (busy, unknown, away)} == {PROBLEM}
    assert busy.headers["retry-after"] == "2"
    assert site.daemon.done == []


async def test_alert_is_acknowledged_with_a_note_for_the_user(site: Site) -> None:
    """Whose name is recorded is the one that the password is of; one that was taken on before says so."""
    site.users = {"ops": hashed("right")}
    async with site.serve():
        auth = ("ops", "right")
        taken = await site.client.post(f"{ALERTS}/a1/ack", json={"note": "on it"}, auth=auth)
        bare = await site.client.post(f"{ALERTS}/a1/ack", auth=auth)
        again = await site.client.post(f"{ALERTS}/a2/ack", json={"note": None}, auth=auth)
        unknown = await site.client.post(f"{ALERTS}/a3/ack", auth=auth)
        site.daemon.fails = Refused("alert a1 has ended: there is nothing to acknowledge")
        ended = await site.client.post(f"{ALERTS}/a1/ack", auth=auth)
    assert [each.status_code for each in (taken, bare, again, unknown, ended)] == [200, 200, 200, 404, 409]
    body = taken.json()
    assert (body["alert_id"], body["already"], body["acknowledged"]["by"]) == ("a1", False, "ops")
    assert body["acknowledged"]["note"] == "on it"
    assert again.json()["already"]
    assert ended.json()["detail"] == "alert a1 has ended: there is nothing to acknowledge"
    assert site.daemon.done == ["acknowledge a1 on it", "acknowledge a1 None"]


@pytest.mark.parametrize(
    ("sent", "kind", "code"),
    [
        (b'{"notes": "x"}', "application/json", 400),
        (b'{"note": 5}', "application/json", 400),
        (b'{"note": "' + b"x" * 501 + b'"}', "application/json", 400),
        (b"note", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"note": "\xff"}', "application/json", 400),
        (b"note=x", "application/x-www-form-urlencoded", 400),
        (b'{"note": "' + b"x" * 100_000 + b'"}', "application/json", 413),
    ],
    ids=["misspelt", "number", "long", "text", "list", "not-utf-8", "form", "huge"],
)
async def test_acknowledgement_that_cannot_be_read_is_a_problem(
    site: Site, sent: bytes, kind: str, code: int
) -> None:
    """Nothing is taken on by mistake, and what was meant is not dropped in silence."""
    async with site.serve():
        answer = await site.client.post(f"{ALERTS}/a1/ack", content=sent, headers={"content-type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (code, PROBLEM)
    assert site.daemon.done == []


async def test_receiver_is_tried_and_tested(site: Site) -> None:
    """What waits for it is counted, and what it answered is said, also if it refused."""
    async with site.serve():
        tried = await site.client.post("/api/v1/receivers/hook/retry")
        tested = await site.client.post("/api/v1/receivers/hook/test")
        unknown = [await site.client.post(f"/api/v1/receivers/hok/{what}") for what in ("retry", "test")]
    assert tried.json() == {"receiver": "hook", "waiting": 3, "urls": []}
    assert tested.json() == {
        "receiver": "hook",
        "delivered": False,
        "answers": ["200 OK"],
        "error": "401 Unauthorized",
    }
    assert [(each.status_code, each.json()["detail"]) for each in unknown] == [
        (404, "no receiver is called hok; known: hook")
    ] * 2
    assert site.daemon.done == ["retry now hook", "test hook"]


@pytest.mark.parametrize("path", [RELOAD, SYNC])
async def test_actions_are_off_unless_configured(site: Site, path: str) -> None:
    """403 with the key that allows them; a reload that sets it counts at once."""
    site.lifecycle = False
    async with site.serve():
        answer = await site.client.post(path)
        assert answer.status_code == 403
        assert "web.enable_lifecycle = true" in answer.text
        site.lifecycle = True
        assert (await site.client.post(path)).is_success
    assert len(site.daemon.done) == 1


@pytest.mark.parametrize("path", [RELOAD, SYNC])
async def test_actions_need_the_password(site: Site, path: str) -> None:
    """Where there are users, only they may act."""
    site.users = {"ops": hashed("right")}
    async with site.serve():
        assert (await site.client.post(path)).status_code == 401
        assert site.daemon.done == []
        assert (await site.client.post(path, auth=("ops", "right"))).is_success


@pytest.mark.parametrize("path", [RELOAD, SYNC])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_only_post_acts(site: Site, path: str, method: str) -> None:
    """A link or an image does nothing."""
    async with site.serve():
        answer = await site.client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert site.daemon.done == []


@pytest.mark.parametrize("path", [RELOAD, SYNC])
async def test_action_is_done_for_the_user_and_address(site: Site, path: str) -> None:
    """Who asks is known to who does it; without users nobody has a name."""
    site.trusted_proxies = ("127.0.0.1",)
    async with site.serve():
        await site.client.post(path)
        site.users = {"ops": hashed("right")}
        await site.client.post(path, auth=("ops", "right"), headers={"x-forwarded-for": "192.0.2.7"})
    assert site.daemon.asked == [
        Actor(user=None, address="127.0.0.1"),
        Actor(user="ops", address="192.0.2.7"),
    ]


@pytest.mark.parametrize("path", [RELOAD, SYNC, *FORMS])
async def test_only_operators_act(site: Site, path: str) -> None:
    """Others are told the key that names who may, and the log says who tried; a reload counts at once."""
    site.users = {name: hashed("pw") for name in ("ops-ann", "viewer")}
    site.operators = ("ops-*",)
    async with site.serve():
        refused = await site.client.post(path, auth=("viewer", "pw"))
        assert (refused.status_code, "web.operators" in refused.text) == (403, True)
        assert site.daemon.done == []
        assert (await site.client.post(path, auth=("ops-ann", "pw"))).status_code < 400
        site.operators = ("viewer",)
        assert (await site.client.post(path, auth=("ops-ann", "pw"))).status_code == 403
        assert (await site.client.post(path, auth=("viewer", "pw"))).status_code < 400
        site.operators = ()
        assert (await site.client.post(path, auth=("viewer", "pw"))).status_code == 403
    assert [asked.user for asked in site.daemon.asked] == ["ops-ann", "viewer"]
    refusals = site.log.of("action.refused")
    assert [(line["user"], line["address"], line["target"]) for line in refusals] == [
        (user, "127.0.0.1", path) for user in ("viewer", "ops-ann", "viewer")
    ]


@pytest.mark.parametrize("path", ["/", "/alerts", "/changes", "/metrics", "/api/v1/actions", "/-/ready"])
async def test_reader_reads_everything(site: Site, path: str) -> None:
    """Who may not act sees the same, metrics and probes included."""
    site.users, site.operators = {"viewer": hashed("pw")}, ("ops",)
    async with site.serve():
        assert (await site.client.get(path, auth=("viewer", "pw"))).status_code == 200


async def test_without_users_nobody_needs_to_be_an_operator(site: Site) -> None:
    """Where no one has a name, lifecycle alone decides, as it always did."""
    site.operators = ("ops",)
    async with site.serve():
        assert (await site.client.post(RELOAD)).status_code == 200


def own(site: Site) -> str:
    """Return the origin of our own pages."""
    return str(site.client.base_url).rstrip("/")


FOREIGN = [
    pytest.param({"origin": "https://evil.example"}, id="another-origin"),
    pytest.param({"origin": "null"}, id="no-origin-to-tell"),
    pytest.param({"origin": "http://127.0.0.1:1"}, id="another-port"),
    pytest.param({"sec-fetch-site": "cross-site"}, id="cross-site"),
    pytest.param({"sec-fetch-site": "same-site"}, id="same-site"),
    pytest.param({"sec-fetch-site": "same-origin", "origin": "https://evil.example"}, id="they-differ"),
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", [RELOAD, SYNC])
async def test_page_of_another_site_cannot_act(site: Site, path: str, headers: dict[str, str]) -> None:
    """A browser says where a request comes from; whatever a foreign page sends along, nothing is done."""
    async with site.serve():
        answer = await site.client.post(path, headers=headers, data={"x": "y"})
    assert (answer.status_code, "another site" in answer.text) == (403, True)
    assert site.daemon.done == []


@pytest.mark.parametrize("path", [RELOAD, SYNC])
async def test_own_page_acts(site: Site, path: str) -> None:
    """What a browser says of the monitor's own pages is enough, with or without Fetch metadata."""
    async with site.serve():
        for headers in ({"origin": own(site), "sec-fetch-site": "same-origin"}, {"origin": own(site)}):
            assert (await site.client.post(path, headers=headers)).is_success
    assert len(site.daemon.done) == 2


async def test_page_behind_a_proxy_acts(site: Site) -> None:
    """The address that the config gives to people belongs to the monitor too."""
    site.external_url = "https://Monitor.example.com/voice"
    async with site.serve():
        headers = {"origin": "https://monitor.example.com"}
        assert (await site.client.post(RELOAD, headers=headers)).status_code == 200


async def test_huge_form_is_refused(site: Site) -> None:
    """A form has a size."""
    async with site.serve():
        answer = await site.client.post(RELOAD, data={"x": "y" * 2_000_000})
    assert answer.status_code == 413
    assert site.daemon.done == []
