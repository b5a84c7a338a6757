"""Where the health check asks, and what it makes of the answers."""

import codecs
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from monitor.cli.healthcheck import own_url
from monitor.cli.main import run


class Handler(BaseHTTPRequestHandler):
    """Answers /-/healthy with 200, all else with 503; `reason` is why it is not ready, if it is not."""

    reason = ""

    def do_GET(self) -> None:
        """Answer."""
        well = self.path == "/-/healthy" or (self.path == "/-/ready" and not self.reason)
        self.send_response(200 if well else 503)
        self.end_headers()
        self.wfile.write(self.reason.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@contextmanager
def serving() -> Iterator[int]:
    """Give the port of a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def checked(*arguments: str) -> tuple[int, str, str]:
    """Return the exit code of a health check and what it said."""
    out, err = io.StringIO(), io.StringIO()
    return run([*arguments], out, err), out.getvalue(), err.getvalue()


def config(folder: Path, listen: str) -> str:
    """Return a config file, incomplete as it may be, whose page is there."""
    file = folder / "c.toml"
    file.write_text(f'[web]\nlisten = "{listen}"\n')
    return str(file)


def test_address_is_read_as_the_daemon_reads_it(tmp_path: Path) -> None:
    """A byte order mark in the file, or a line end in a variable, does not lead elsewhere."""
    file = tmp_path / "c.toml"
    file.write_bytes(codecs.BOM_UTF8 + b'[web]\r\nlisten = "127.0.0.1:1234"\r\n')
    assert own_url(file, None, None) == "http://127.0.0.1:1234/-/healthy"
    assert own_url(file, "127.0.0.1:4321\r\n", "\n") == "http://127.0.0.1:4321/-/healthy"


def test_file_that_cannot_be_read_leaves_the_default_address(tmp_path: Path) -> None:
    """The daemon goes on with the config that it has, and says itself what is wrong with the file."""
    file = tmp_path / "c.toml"
    for text in ("[web", "a = " + "[" * 5000, "a = " + "9" * 5000):
        file.write_text(text)
        assert own_url(file, None, None) == "http://127.0.0.1:8790/-/healthy"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_healthy_where_the_config_says(host: str, tmp_path: Path) -> None:
    """The address is that of web.listen; any address is loopback here."""
    with serving() as port:
        assert checked("--config", config(tmp_path, f"{host}:{port}"), "healthcheck") == (0, "healthy\n", "")


def test_machines_get_json_alone(tmp_path: Path) -> None:
    """Whether it is healthy, where was asked, and what is wrong."""
    with serving() as port:
        file = config(tmp_path, f"127.0.0.1:{port}")
        healthy = checked("--config", file, "healthcheck", "--format", "json")
        bad = f"http://127.0.0.1:{port}/x"
        code, out, _ = checked("healthcheck", "--url", bad, "--format", "json")
    url = f"http://127.0.0.1:{port}/-/healthy"
    assert healthy[0] == 0
    assert json.loads(healthy[1]) == {"healthy": True, "url": url, "problem": None, "not_ready": None}
    assert code == 1
    told = {"healthy": False, "url": bad, "problem": "it answers 503", "not_ready": None}
    assert json.loads(out) == told


def test_healthy_but_not_ready_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container whose store is away must not be restarted for it, but whoever looks is told."""
    monkeypatch.setattr(Handler, "reason", "the disk is full\n")
    with serving() as port:
        url = f"http://127.0.0.1:{port}/-/healthy"
        people = checked("healthcheck", "--url", url)
        machines = checked("healthcheck", "--url", url, "--format", "json")
    assert people == (0, "healthy, but not ready: the disk is full\n", "")
    assert json.loads(machines[1])["not_ready"] == "the disk is full"


def test_url_beats_the_config(tmp_path: Path) -> None:
    """An explicit address is asked as it is."""
    with serving() as port:
        code, _, err = checked(
            "--config",
            config(tmp_path, f"127.0.0.1:{port}"),
            "healthcheck",
            "--url",
            f"http://127.0.0.1:{port}/x",
        )
    assert (code, err) == (1, f"unhealthy: http://127.0.0.1:{port}/x: it answers 503\n")


def test_login_in_the_url_is_not_shown() -> None:
    """Neither in the line nor in the JSON."""
    with serving() as port:
        for options in ((), ("--format", "json")):
            code, out, err = checked(
                "healthcheck", "--url", f"http://us3r:s3cr3t@127.0.0.1:{port}/x", *options
            )
            assert code == 1
            assert f"@127.0.0.1:{port}/x" in out + err
            assert "us3r" not in out + err
            assert "s3cr3t" not in out + err


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://127.0.0.1/",
        "http://",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "nonsense",
    ],
)
def test_bad_addresses_are_unhealthy_in_one_line(url: str) -> None:
    """Whatever is wrong, it exits 1 and says so in one line."""
    code, out, err = checked("healthcheck", "--url", url)
    assert (code, out, len(err.splitlines())) == (1, "", 1)


def test_https_to_a_plain_server_is_unhealthy() -> None:
    """A server that speaks no TLS is told about in one line, however healthy it is."""
    with serving() as port:
        code, out, err = checked("healthcheck", "--url", f"https://127.0.0.1:{port}/-/healthy")
    assert (code, out, len(err.splitlines())) == (1, "", 1)


def test_https_is_asked_where_a_certificate_is_configured(tmp_path: Path) -> None:
    """With tls_cert_file the check speaks TLS: a listener hears a client hello."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            peer, _ = listener.accept()
            with peer:
                heard.append(peer.recv(3))

        thread = threading.Thread(target=listen)
        thread.start()
        file = tmp_path / "c.toml"
        port = listener.getsockname()[1]
        file.write_text(f'[web]\nlisten = "127.0.0.1:{port}"\ntls_cert_file = "cert.pem"\n')
        assert checked("--config", str(file), "healthcheck")[0] == 1
        thread.join()
    assert heard[0][:1] == bytes([22])  # a TLS handshake record; RFC 8446, section 5.1


@pytest.mark.parametrize(
    ("text", "listen", "cert", "url"),
    [
        ('[web]\nlisten = "[::]:9000"', None, None, "http://[::1]:9000/-/healthy"),
        ('[web]\nlisten = "10.0.0.7:9000"', None, None, "http://10.0.0.7:9000/-/healthy"),
        ('[web]\nlisten = "[::]:9000"', "0.0.0.0:8000", None, "http://127.0.0.1:8000/-/healthy"),
        ('[web]\ntls_cert_file = "c.pem"', None, None, "https://127.0.0.1:8790/-/healthy"),
        ('[web]\ntls_cert_file = ""', None, "c.pem", "https://127.0.0.1:8790/-/healthy"),
        ("[web", None, None, "http://127.0.0.1:8790/-/healthy"),
        ("web = 3", None, None, "http://127.0.0.1:8790/-/healthy"),
        ("[web]\nlisten = 3", None, None, "http://127.0.0.1:8790/-/healthy"),
    ],
    ids=["any", "one", "environment", "tls", "tls by environment", "no toml", "no table", "no text"],
)
def test_own_url_is_read_off_the_config(
    text: str, listen: str | None, cert: str | None, url: str, tmp_path: Path
) -> None:
    """The environment beats the file; a file that cannot be read is the daemon's to tell about."""
    file = tmp_path / "c.toml"
    file.write_text(text)
    assert own_url(file, listen, cert) == url
