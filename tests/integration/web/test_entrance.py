"""Real requests for hosts, paths and proxies of all kinds, byte by byte."""

import asyncio
import re
import ssl
from pathlib import Path

import pytest
import trustme

from monitor.web.server import WebServer
from tests.integration.web.site import Site, hashed

PATHS = ("/", "/alerts", "/changes", "/metrics", "/api/v1/numbers", "/static/monitor.css", "/nothing")
PROBES = ("/-/healthy", "/-/ready")


async def ask(web: WebServer, *lines: str, tls: ssl.SSLContext | None = None) -> tuple[int, str, str]:
    """Send a request as it stands here; return the code, the headers in lower case, and the body."""
    host, port = re.findall(r"//\[?([^\]/]+?)\]?:(\d+)/", web.address)[0]
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    writer.write("".join(f"{line}\r\n" for line in (*lines, "Connection: close", "")).encode("latin-1"))
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return int(head.split()[1]), head.lower(), body


@pytest.mark.parametrize("path", PATHS)
async def test_foreign_name_that_resolves_here_is_shown_nothing(site: Site, path: str) -> None:
    """A page of another site that lets its name resolve to this machine reads nothing, and is told why."""
    async with site.serve() as web:
        code, head, body = await ask(web, f"GET {path} HTTP/1.1", "Host: evil.example:8790")
        assert (code, "web.allowed_hosts" in body, '"evil.example' in body.replace("\\", "")) == (
            421,
            True,
            True,
        )
        assert "x-frame-options: deny" in head
        assert (await ask(web, f"GET {path} HTTP/1.1", "Host: localhost"))[0] != 421


async def test_foreign_name_can_do_nothing(site: Site) -> None:
    """To the browser it is the site's own page, which says so; it is refused for its host."""
    own = ("Host: evil.example:8790", "Origin: http://evil.example:8790", "Sec-Fetch-Site: same-origin")
    async with site.serve() as web:
        for path in ("/-/reload", "/api/v1/connections/acme-sales/sync"):
            code, _, _ = await ask(web, f"POST {path} HTTP/1.1", *own, "Content-Length: 0")
            assert code == 421
    assert site.daemon.done == []


@pytest.mark.parametrize("path", PROBES)
@pytest.mark.parametrize("prefix", ["", "/voice"])
async def test_probes_answer_any_host(site: Site, path: str, prefix: str) -> None:
    """Whoever probes may call the monitor what they like."""
    site.external_url = "https://ops.example.com/voice"
    async with site.serve() as web:
        assert (await ask(web, f"GET {prefix}{path} HTTP/1.1", "Host: evil.example"))[0] == 200


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        pytest.param(["GET / HTTP/1.1", "Host: 127.0.0.1"], 200, id="address"),
        pytest.param(["GET / HTTP/1.1", "Host: 127.0.0.1:1"], 200, id="forwarded_port"),
        pytest.param(["GET / HTTP/1.1", "Host: LocalHost.:8790"], 200, id="case_dot_port"),
        pytest.param(["GET / HTTP/1.1", "Host: [::ffff:127.0.0.1]:8790"], 200, id="mapped"),
        pytest.param(["GET / HTTP/1.1", "Host: [::1]:8790"], 421, id="another_address"),
        pytest.param(["GET / HTTP/1.1", "Host: localhost.evil.example"], 421, id="begins_alike"),
        pytest.param(["GET / HTTP/1.1", "Host: localhost@evil.example"], 421, id="user_info"),
        pytest.param(["GET / HTTP/1.1", "Host: evil.example/localhost"], 421, id="path"),
        pytest.param(["GET / HTTP/1.1", "Host: evil.example, localhost"], 421, id="list"),
        pytest.param(["GET / HTTP/1.1", "Host: [::1"], 421, id="garbage"),
        pytest.param(["GET / HTTP/1.1", "Host: \xff"], 421, id="latin"),
        pytest.param(["GET / HTTP/1.0"], 200, id="old_without"),
        pytest.param(["GET / HTTP/1.0", "Host: evil.example"], 421, id="old_with"),
        pytest.param(["GET / HTTP/1.1"], 400, id="missing"),
        pytest.param(["GET / HTTP/1.1", "Host: localhost", "Host: evil.example"], 400, id="several"),
        pytest.param(
            ["GET / HTTP/1.1", "Host: evil.example", "X-Forwarded-Host: localhost"], 421, id="forwarded_host"
        ),
        pytest.param(["GET http://localhost:8790/alerts HTTP/1.1", "Host: evil.example"], 200, id="absolute"),
        pytest.param(["GET http://localhost HTTP/1.1", "Host: localhost"], 200, id="absolute_root"),
        pytest.param(["GET http://evil.example/ HTTP/1.1", "Host: localhost"], 421, id="absolute_evil"),
        pytest.param(
            ["GET http://localhost@evil.example/ HTTP/1.1", "Host: localhost"], 421, id="absolute_user"
        ),
    ],
)
async def test_host_is_told_from_every_form_of_request(site: Site, lines: list[str], code: int) -> None:
    """Whatever a request looks like, it is answered by the host that it is for."""
    async with site.serve() as web:
        assert (await ask(web, *lines))[0] == code


async def test_allowed_hosts_follow_the_config(site: Site) -> None:
    """A reload counts at once, in both directions, and a container answers under its service's name."""
    async with site.serve() as web:

        async def code(host: str) -> int:
            return (await ask(web, "GET /metrics HTTP/1.1", f"Host: {host}"))[0]

        assert await code("monitor:8790") == 421
        site.allowed_hosts = ("monitor",)
        assert (await code("monitor:8790"), await code("evil.example")) == (200, 421)
        site.allowed_hosts = ("*",)
        assert await code("evil.example") == 200
        site.allowed_hosts = ()
        assert await code("evil.example") == 421
    site.on_loopback = False
    async with site.serve() as web:
        assert await code("monitor:8790") == 200
        site.allowed_hosts = ("monitor.example.com",)
        assert [await code(host) for host in ("monitor:8790", "127.0.0.1")] == [421, 200]


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/alerts/", "/alerts"),
        ("/alerts//", "/alerts"),
        ("/changes/?state=NO_BOT", "/changes?state=NO_BOT"),
        ("/connections/a%20b%C3%BC/", "/connections/a%20b%C3%BC"),
        ("/api/v1/status/", "/api/v1/status"),
        ("/\\evil.example/", "/%5Cevil.example"),
    ],
)
async def test_slash_behind_leads_to_no_other_host(site: Site, path: str, to: str) -> None:
    """The redirect names no host, so that it leads to the one that the reader sees."""
    site.allowed_hosts = ("*",)
    async with site.serve() as web:
        for prefix, url in (("", None), ("/voice", "https://ops.example.com/voice/")):
            site.external_url = url
            code, head, _ = await ask(web, f"GET {path} HTTP/1.1", "Host: evil.example")
            assert (code, re.findall("location: (.*)\r", head)) == (307, [(prefix + to).lower()])


@pytest.mark.parametrize("path", ["//evil.example/", "/%2Fevil.example/", "//alerts/", "/alerts/x"])
async def test_no_redirect_where_a_path_could_be_a_host(site: Site, path: str) -> None:
    """Two slashes begin the name of a host."""
    async with site.serve() as web:
        assert (await ask(web, f"GET {path} HTTP/1.1", "Host: localhost"))[0] == 404


@pytest.mark.parametrize("prefix", ["", "/ops/v%C3%B6ice"])
async def test_daemon_answers_with_and_without_the_path_of_its_url(site: Site, prefix: str) -> None:
    """It is the same whether the proxy takes the path away or not."""
    site.external_url = "https://ops.example.com/ops/v%C3%B6ice/"
    await site.watch("acme")
    async with site.serve():
        for path in ("", "/", "/alerts", "/changes", "/connections/acme", "/metrics", "/-/healthy"):
            assert (await site.client.get(prefix + path)).status_code == 200, path
        for path in ("/static/monitor.css", "/api/v1/status", "/api/v1/openapi.json"):
            assert (await site.client.get(prefix + path)).status_code == 200, path
        missing = await site.client.get(f"{prefix}/api/v1/nothing")
        assert missing.headers["content-type"] == "application/problem+json"
        assert (await site.client.post(f"{prefix}/-/reload")).status_code == 200


@pytest.mark.parametrize("url", [None, "https://ops.example.com", "https://ops.example.com/ops/voice/"])
async def test_every_link_begins_with_the_path(site: Site, url: str | None) -> None:
    """No link, form, style or picture of any page leads beside it; without one they begin with a slash."""
    site.external_url, site.users = url, {"ops": hashed("pw")}
    root = "/ops/voice" if url and url.endswith("/") else ""
    await site.watch("acme")
    async with site.serve():
        for path in ("/", "/alerts", "/changes", "/connections/acme", "/connections/nobody"):
            page = (await site.client.get(path, auth=("ops", "pw"))).text
            links = re.findall(r"(?:href|src|action)=\"([^\"]*)\"", page)
            assert len(links) > 8
            aside = [link for link in links if not link.startswith((f"{root}/", "#"))]
            assert (aside, [link for link in links if link.startswith("//")]) == ([], []), path


async def test_forms_lead_back_below_the_path(site: Site) -> None:
    """What a form did is told on a page below the path, on whatever host."""
    site.external_url, site.users = "https://ops.example.com/voice", {"ops": hashed("pw")}
    async with site.serve():
        answer = await site.client.post("/voice/connections/acme-sales/sync", auth=("ops", "pw"))
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/voice/connections/acme-sales?done=synced",
    )


async def test_openapi_names_the_path(site: Site) -> None:
    """A generated client asks below the path, and a reload that changes it counts at once."""
    async with site.serve():
        for url, server in ((None, "/"), ("https://ops.example.com/voice", "/voice")):
            site.external_url = url
            document = (await site.client.get("/api/v1/openapi.json")).json()
            assert [each["url"] for each in document["servers"]] == [server]


async def test_password_is_asked_for_below_the_path_too(site: Site) -> None:
    """The prefix is no way around the password."""
    site.external_url, site.users = "https://ops.example.com/voice", {"ops": hashed("pw")}
    async with site.serve():
        for path in ("/voice", "/voice/", "/voice/metrics", "/voice/voice/-/healthy", "/voice/-/healthy/"):
            assert (await site.client.get(path)).status_code == 401, path


@pytest.mark.parametrize(
    ("trusted", "client"),
    [((), "127.0.0.1"), (("127.0.0.0/8",), "203.0.113.7"), (("10.0.0.0/8",), "127.0.0.1")],
)
async def test_client_is_whom_a_trusted_proxy_names(
    site: Site, trusted: tuple[str, ...], client: str
) -> None:
    """A wrong password is told of the client; a header from elsewhere is not believed."""
    site.trusted_proxies, site.users = trusted, {"ops": hashed("pw")}
    headers = {"x-forwarded-for": "6.6.6.6, 203.0.113.7"}
    async with site.serve():
        await site.client.get("/", auth=("ops", "wrong"), headers=headers)
    assert [line["client"] for line in site.log.of("auth.refused")] == [client]


@pytest.mark.parametrize(
    ("trusted", "proto", "origin", "code"),
    [
        ((), None, "http", 200),
        ((), None, "https", 200),  # TLS may end at a proxy that is not trusted to say so
        ((), "https", "http", 200),
        (("127.0.0.1",), "https", "https", 200),
        (("127.0.0.1",), "http, https", "https", 200),
        (("127.0.0.1",), "https", "http", 403),
        (("127.0.0.1",), "http, HTTPS", "http", 403),
        (("127.0.0.1",), "http", "http", 200),
        (("127.0.0.1",), "ftp", "http", 200),
    ],
)
async def test_page_without_tls_cannot_act_on_one_with_it(
    site: Site, trusted: tuple[str, ...], proto: str | None, origin: str, code: int
) -> None:
    """Where it is certain that people use https, a page that came over http is another site."""
    site.trusted_proxies = trusted
    headers = {"origin": f"{origin}://localhost", "host": "localhost"}
    async with site.serve():
        said = {"x-forwarded-proto": proto} if proto else {}
        assert (await site.client.post("/-/reload", headers=headers | said)).status_code == code


async def test_own_tls_is_certain(site: Site, tmp_path: Path) -> None:
    """The same where the monitor itself serves https."""
    ca = trustme.CA()
    cert = ca.issue_cert("localhost")
    cert.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "tls.pem"))
    context = ssl.create_default_context()
    ca.configure_trust(context)
    context.check_hostname = False
    async with site.serve(tmp_path / "tls.pem") as web:
        for scheme, code in (("http", 403), ("https", 200)):
            lines = ("POST /-/reload HTTP/1.1", "Host: localhost", f"Origin: {scheme}://localhost")
            assert (await ask(web, *lines, "Content-Length: 0", tls=context))[0] == code
