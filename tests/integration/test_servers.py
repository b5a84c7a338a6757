"""The servers that other tests lean on do what those tests take for granted."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.conftest import StartAlertmanager, StartPrometheus
from tests.servers.chromium import LAUNCH_ARGUMENTS
from tests.servers.postgres import PostgresServer
from tests.servers.process import Process, free_port, running, wait_until
from tests.servers.prometheus import check
from tests.servers.require import require
from tests.servers.webhook import Answer, Received, WebhookSink

FAST_ROUTE = {"receiver": "hook", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s"}


def to_webhook(url: str) -> dict[str, object]:
    """Return an Alertmanager configuration that sends everything on at once."""
    return {"route": FAST_ROUTE, "receivers": [{"name": "hook", "webhook_configs": [{"url": url}]}]}


def client() -> httpx.AsyncClient:
    """Return a client that talks to loopback whatever proxies the machine has."""
    return httpx.AsyncClient(timeout=60, trust_env=False)


def test_require_absent_command_fails_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """With CI=true a missing server is a failure that names it, not a skip."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs no-such-server"):
        require("no-such-server")


def test_require_absent_command_skips_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere the test is skipped, and the reason names what is missing."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs no-such-server"):
        require("no-such-server", "nor-this")


async def test_wait_until_gives_up_and_says_on_what() -> None:
    """A wait in vain fails with what it waited for and what it saw last."""
    with pytest.raises(AssertionError, match=r"waited 0\.01 s for the moon; last seen: 0"):
        await wait_until(lambda: 0, 0.01, "the moon")


async def test_process_dies_with_the_test_even_if_frozen(tmp_path: Path) -> None:
    """Nothing outlives its test: a stopped process that ignores SIGTERM is killed."""
    process = Process(argv=[sys.executable, "-c", "import time; time.sleep(600)"], log_file=tmp_path / "log")
    async with running(process):
        pid = process.pid
        process.signal(signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_process_that_ends_early_says_why(tmp_path: Path) -> None:
    """A server that cannot start fails the test with its own words."""
    process = Process(
        argv=[sys.executable, "-c", "raise SystemExit('no such setting')"],
        log_file=tmp_path / "log",
        ready_url=f"http://127.0.0.1:{free_port()}/",
    )
    with pytest.raises(AssertionError, match="no such setting"):
        await process.start()


async def test_prometheus_scrapes_and_evaluates(prometheus: StartPrometheus) -> None:
    """Prometheus scrapes itself and fires a rule from a file beside its configuration."""
    rule = {"alert": "Up", "expr": "up == 1"}
    server = await prometheus(
        {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": "up", "static_configs": [{"targets": ["127.0.0.1:PORT"]}]},
            ],
        },
        {"rules.yml": {"groups": [{"name": "own", "rules": [rule]}]}},
    )
    target = server.url.removeprefix("http://")
    await server.reload((server.folder / "prometheus.yml").read_text().replace("127.0.0.1:PORT", target))
    series = await wait_until(lambda: server.query("up"), what="the first scrape")
    assert series[0]["metric"]["instance"] == target
    alerts = await wait_until(server.alerts, what="the rule to fire")
    assert alerts[0]["labels"]["alertname"] == "Up"


def test_promtool_findings_fail() -> None:
    """What promtool finds fails the test; a clean exposition passes."""
    check("promtool", "check", "metrics", text="# HELP a_total A.\n# TYPE a_total counter\na_total 1\n")
    with pytest.raises(AssertionError, match="promtool"):
        check("promtool", "check", "metrics", text="no exposition {")


async def test_alertmanager_notifies_and_survives_a_restart(
    alertmanager: StartAlertmanager, webhook_sink: WebhookSink
) -> None:
    """An alert reaches the sink; killed and started again it is where it was, with its silences."""
    server = await alertmanager(to_webhook(f"{webhook_sink.url}/am"))
    async with client() as http:
        alert = {"labels": {"alertname": "Test"}, "annotations": {"summary": "one"}}
        (await http.post(f"{server.url}/api/v2/alerts", json=[alert])).raise_for_status()
        [received, *_] = await webhook_sink.wait_for(1)
        assert received.path == "/am"
        assert received.json()["alerts"][0]["labels"] == {"alertname": "Test"}
        assert [held["labels"] for held in await server.alerts()] == [{"alertname": "Test"}]

        now = datetime.now(UTC)
        silence = {
            "matchers": [{"name": "alertname", "value": "Test", "isRegex": False}],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(hours=1)).isoformat(),
            "createdBy": "test",
            "comment": "kept",
        }
        made = (await http.post(f"{server.url}/api/v2/silences", json=silence)).json()["silenceID"]
        await server.stop()
        await server.start()
        kept = (await http.get(f"{server.url}/api/v2/silences")).json()
        assert [one["id"] for one in kept] == [made]


def test_amtool_checks_a_configuration(tmp_path: Path) -> None:
    """Amtool accepts what the fixture writes."""
    config = tmp_path / "am.yml"
    config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    assert "SUCCESS" in check("amtool", "check-config", config)


@pytest.mark.parametrize("turn", ["first", "second"])
def test_postgres_database_is_fresh(postgres: str, turn: str) -> None:
    """Each test has a database that no other has written to."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE TABLE only_here (turn text)")
        connection.execute("INSERT INTO only_here VALUES (%s)", [turn])
        assert connection.execute("SELECT turn FROM only_here").fetchall() == [(turn,)]


def test_postgres_template_is_prepared_once(postgres_server: PostgresServer) -> None:
    """Copies of a template hold what its one preparation wrote."""
    prepared: list[str] = []

    def prepare(url: str) -> None:
        prepared.append(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE filled AS SELECT 42 AS answer")

    for _ in range(2):
        name = postgres_server.create_database(postgres_server.template("servers_test", prepare))
        with psycopg.connect(postgres_server.url(name)) as connection:
            assert connection.execute("SELECT answer FROM filled").fetchall() == [(42,)]
        postgres_server.drop_database(name)
    assert len(prepared) == 1


def test_postgres_comes_back_with_its_data(postgres_server: PostgresServer, postgres: str) -> None:
    """Stopped it refuses; started again it has what was committed."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    postgres_server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres)
    postgres_server.start()
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT one FROM kept").fetchall() == [(1,)]


def test_chromium_renders_a_page(chromium: Path, tmp_path: Path) -> None:
    """Chromium runs a page's script without a screen."""
    page = tmp_path / "page.html"
    page.write_text("<p id=p></p><script>document.getElementById('p').textContent = 6 * 7</script>")
    argv = [str(chromium), "--headless", "--no-sandbox", f"--user-data-dir={tmp_path / 'profile'}"]
    argv += [*LAUNCH_ARGUMENTS, "--dump-dom", page.as_uri()]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert '<p id="p">42</p>' in done.stdout


async def test_webhook_sink_follows_its_script(webhook_sink: WebhookSink) -> None:
    """Scripted answers come in order, then 200; every request is kept with headers and body."""
    webhook_sink.script([Answer(status=429, retry_after="7"), 503])
    async with client() as http:
        answers = [await http.post(f"{webhook_sink.url}/hook?a=1", json={"n": n}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [429, 503, 200]
    assert answers[0].headers["Retry-After"] == "7"
    assert [received.json()["n"] for received in webhook_sink.requests] == [0, 1, 2]
    last = webhook_sink.requests[-1]
    assert (last.method, last.path, last.headers["content-type"]) == ("POST", "/hook?a=1", "application/json")


async def test_webhook_sink_answers_by_function_and_hangs_up(webhook_sink: WebhookSink) -> None:
    """A function sees the request; hanging up is a transport error at the client, and still recorded."""

    def answer(received: Received) -> Answer:
        return Answer(hang_up=received.path == "/hang", body=received.body.upper())

    webhook_sink.script(answer)
    async with client() as http:
        assert (await http.post(f"{webhook_sink.url}/echo", content=b"abc")).content == b"ABC"
        with pytest.raises(httpx.TransportError):
            await http.post(f"{webhook_sink.url}/hang")
    assert [received.path for received in webhook_sink.requests] == ["/echo", "/hang"]


async def test_webhook_sink_gives_up_slow_answers_on_close(webhook_sink: WebhookSink) -> None:
    """A delayed answer reaches no client that gave up, and does not hold up the end of the test."""
    webhook_sink.script([Answer(delay_s=600)])
    async with client() as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.get(webhook_sink.url, timeout=0.2)
    assert len(webhook_sink.requests) == 1


async def test_webhook_sink_reopens_on_its_port(webhook_sink: WebhookSink) -> None:
    """Closed, it refuses; open again, it takes requests at the same address."""
    url = webhook_sink.url
    await webhook_sink.close()
    async with client() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(url)
        await webhook_sink.open()
        assert (await http.get(url)).status_code == 200
