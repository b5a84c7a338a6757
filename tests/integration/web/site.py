"""The whole web side on a real socket, with a real store behind it and a daemon that is played."""

import contextlib
import datetime as dt
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

import bcrypt
import httpx
import msgspec
from fastapi import APIRouter, FastAPI
from sqlalchemy import insert

from monitor.drift.alert import Acknowledgement
from monitor.drift.facts import Terms
from monitor.drift.rules import Rules
from monitor.drift.silences import NewSilence
from monitor.errors import MonitorError, UnknownName
from monitor.metrics import Metrics
from monitor.notify.routing import Route
from monitor.notify.test_alert import ReceiverTest
from monitor.replay.report import Compared, Replayed
from monitor.secret import Secret
from monitor.store.actions import Actor
from monitor.store.codec import Codec
from monitor.store.connections import Watch, begin_watching
from monitor.store.database import Database
from monitor.store.explanations import LOG, Grounds
from monitor.store.requests import Acknowledged, RetriedNow
from monitor.store.rows import SilenceRow
from monitor.store.silencing import set_silence, stop_silence
from monitor.store.tables import silences
from monitor.web.actions import Actions, action_routes
from monitor.web.api import api_routes
from monitor.web.app import create_app
from monitor.web.auth import Gate
from monitor.web.pages import Pages, form_routes, page_routes
from monitor.web.replays import RULES, Wanted
from monitor.web.server import WebServer, bind
from monitor.web.settings import WebSettings
from monitor.web.sources import Sources
from monitor.web.status import MonitorStatus
from tests.fakes.clock import START, FakeClock
from tests.fakes.log import FakeLog

CODEC = Codec()


class FakeDaemon:
    """What the daemon answers: ready, with nothing to say, and it does what it is asked."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.asked: list[Actor] = []
        self.fails: MonitorError | None = None
        self.busy: set[str] = set()
        self.database: Database | None = None
        self.wanted: list[Wanted] = []
        self.replayed = Replayed(
            since=START,
            until=START,
            alerts=[],
            messages={},
            summary=Compared(recorded=0, replayed=0),
            time_to_notice=None,
            strayed=0,
        )
        self.shown = MonitorStatus(
            instance="prod",
            version="1.2.3",
            connections=[],
            receivers=[],
            config_error=None,
            store_ok=True,
        )

    def did(self, what: str, by: Actor) -> None:
        """Note what was done, and for whom."""
        self.done.append(what)
        self.asked.append(by)

    def not_ready(self) -> str | None:
        """Return that it is ready."""
        return None

    def stuck(self) -> str | None:
        """Return that nothing is."""
        return None

    async def status(self) -> MonitorStatus:
        """Return what the test wants to be shown."""
        return self.shown

    async def reload(self, by: Actor) -> None:
        """Reload, or fail as the test wants."""
        if self.fails is not None:
            raise self.fails
        self.did("reload", by)

    async def sync_now(self, name: str, by: Actor) -> bool:
        """Sync `acme-sales`, unless it is busy."""
        if self.fails is not None:
            raise self.fails
        if name != "acme-sales":
            raise UnknownName("no connection has this name")
        if name in self.busy:
            return False
        self.did(f"sync {name}", by)
        return True

    async def accept(self, name: str, numbers: Sequence[str] | None, by: Actor) -> int:
        """Note what is accepted."""
        if self.fails is not None:
            raise self.fails
        self.did(f"accept {name} {numbers}", by)
        return len(numbers or ())

    async def acknowledge(self, alert: str, note: str | None, by: Actor) -> Acknowledged:
        """Note what is taken on: `a1`, unless it was before, as `a2` was."""
        if self.fails is not None:
            raise self.fails
        if alert not in ("a1", "a2"):
            raise UnknownName("no alert has this id")
        known = Acknowledgement(by=by.user, at="2026-03-01T12:00:00.000Z", note=note)
        if alert == "a1":
            self.did(f"acknowledge {alert} {note}", by)
        return Acknowledged(
            alert_id=alert,
            summary="acme-sales: 1 number NO_BOT",
            acknowledged=known,
            already=alert == "a2",
            told=(),
        )

    async def retry_now(self, receiver: str, by: Actor) -> RetriedNow:
        """Note who is tried at once."""
        if self.fails is not None:
            raise self.fails
        if receiver != "hook":
            raise UnknownName(f"no receiver is called {receiver}; known: hook")
        self.did(f"retry now {receiver}", by)
        return RetriedNow(receiver=receiver, waiting=3, urls=())

    async def test_alert(self, receiver: str, by: Actor) -> ReceiverTest:
        """Note who is tested, and say that it refused."""
        if self.fails is not None:
            raise self.fails
        if receiver != "hook":
            raise UnknownName(f"no receiver is called {receiver}; known: hook")
        self.did(f"test {receiver}", by)
        return ReceiverTest(receiver=receiver, delivered=False, answers=("200 OK",), error="401 Unauthorized")

    async def replay(self, wanted: Wanted, by: Actor) -> Replayed:
        """Note what is to be replayed by another config, and return what the test wants."""
        if self.fails is not None:
            raise self.fails
        self.wanted.append(wanted)
        if wanted.config is not None:
            self.did(f"replay {wanted.config.decode()}", by)
        return self.replayed

    def values(self) -> Mapping[str, str]:
        """Return that every rule is a 2."""
        return dict.fromkeys(RULES, "2")

    async def retry(self, delivery_id: str, by: Actor) -> None:
        """Note what is sent again."""
        if self.fails is not None:
            raise self.fails
        self.did(f"retry {delivery_id}", by)

    async def dismiss(self, delivery_id: str, by: Actor) -> None:
        """Note what is dismissed."""
        if self.fails is not None:
            raise self.fails
        self.did(f"dismiss {delivery_id}", by)

    async def add_silence(self, asked: NewSilence, by: Actor) -> SilenceRow:
        """Set a silence in the store, as the daemon does."""
        if self.fails is not None:
            raise self.fails
        assert self.database is not None
        asked = msgspec.structs.replace(asked, by=by.user or asked.by)
        made = await set_silence(self.database, CODEC, asked, by, START, logged=True)
        self.did(made.did.target, by)
        return made.silence

    async def end_silence(self, silence_id: str, by: Actor) -> SilenceRow:
        """End a silence in the store, as the daemon does."""
        if self.fails is not None:
            raise self.fails
        assert self.database is not None
        ended = await stop_silence(self.database, silence_id, by, START, logged=True)
        self.did(f"end {ended.did.target}", by)
        return ended.silence


class Held:
    """bcrypt that counts what it hashes, and waits until it is released, if not for a `quick` password."""

    def __init__(self, *, released: bool = True, quick: bytes | None = None) -> None:
        self.hashes = 0
        self._quick = quick
        self._released = threading.Event()
        if released:
            self._released.set()
        self.release = self._released.set

    def hash(self, password: bytes, salt: bytes) -> bytes:
        """Hash."""
        self.hashes += 1
        assert password == self._quick or self._released.wait(30)
        return bcrypt.hashpw(password, salt)


@dataclass(kw_only=True)
class Site:
    """The running web side, and what a test changes about it."""

    database: Database
    clock: FakeClock = field(default_factory=FakeClock)
    daemon: FakeDaemon = field(default_factory=FakeDaemon)
    log: FakeLog = field(default_factory=FakeLog)
    users: Mapping[str, Secret] = field(default_factory=dict)
    lifecycle: bool = True
    external_url: str | None = None
    operators: Sequence[str] = ("*",)
    allowed_hosts: Sequence[str] = ()
    trusted_proxies: Sequence[str] = ()
    on_loopback: bool = True
    rules: Rules | None = None
    work: Held = field(default_factory=Held)
    judged: int = 0
    app: FastAPI = field(init=False)
    routers: Sequence[APIRouter] = field(init=False)
    client: httpx.AsyncClient = field(init=False)
    actions: Actions = field(init=False)
    sources: Sources = field(init=False)

    @property
    def settings(self) -> WebSettings:
        """What the config says just now."""
        return WebSettings(
            users=self.users,
            operators=self.operators,
            lifecycle=self.lifecycle,
            external_url=self.external_url,
            allowed_hosts=self.allowed_hosts,
            trusted_proxies=[ip_network(each) for each in self.trusted_proxies],
        )

    def _users_now(self) -> Mapping[str, Secret]:
        self.judged += 1
        return self.users

    def _hash(self, password: bytes, salt: bytes) -> bytes:
        return self.work.hash(password, salt)

    async def watch(self, *names: str) -> None:
        """Let the store know these connections, each with an identity like its name."""
        watches = [
            Watch(
                identity=f"id-{name}",
                name=name,
                account="acme",
                connection_id=None,
                first_due_at=START,
                next_due_at=START + dt.timedelta(minutes=1),
            )
            for name in names
        ]
        async with self.database.write() as tx:
            await begin_watching(tx, watches, START)

    async def silence(self, silence_id: str) -> None:
        """Let a silence of all connections be active, for an hour."""
        row = {"id": silence_id, "connection": "*", "reason": "known", "until_ready": False}
        times = {"created_at": START, "until": START + dt.timedelta(hours=1)}
        async with self.database.write() as tx:
            await tx.execute(insert(silences).values(**row, **times))

    @contextlib.asynccontextmanager
    async def serve(
        self, cert_file: Path | None = None, key_file: Path | None = None
    ) -> AsyncIterator[WebServer]:
        """Listen on a free port; `client` asks there."""
        self.daemon.database = self.database
        self.actions = Actions(
            lifecycle=self.daemon,
            settings=lambda: self.settings,
            log=self.log.logger,
        )
        self.sources = Sources(
            database=self.database,
            codec=CODEC,
            status=self.daemon,
            readiness=self.daemon,
            clock=self.clock,
            rules_of=lambda _: self.rules,
            maintenance_of=lambda _: False,
            is_overdue=lambda _, seen_at: self.clock.now() - seen_at > dt.timedelta(minutes=2),
            grounds=lambda: Grounds(
                terms_of=lambda _: Terms(rules_at=lambda _: self.rules or Rules()),
                routes=(Route(receiver=LOG), Route(receiver="hook")),
            ),
            ignores=lambda: self.rules.ignores if self.rules is not None else (),
            retention=lambda: dt.timedelta(days=90),
            replays=self.daemon,
        )
        pages, metrics = Pages(self.sources, self.actions), Metrics(version="1.2.3")
        self.routers = [
            page_routes(pages),
            form_routes(pages),
            action_routes(self.actions),
            api_routes(self.sources, self.actions, version="1.2.3"),
        ]
        self.app = create_app(
            metrics=metrics,
            readiness=self.daemon,
            routers=self.routers,
            gate=Gate(
                users=self._users_now,
                clock=self.clock,
                log=self.log.logger,
                hash_password=self._hash,
            ),
            settings=lambda: self.settings,
            on_loopback=self.on_loopback,
        )
        sock = bind("127.0.0.1", 0)
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        server = WebServer(
            self.app,
            sock,
            metrics=metrics,
            on_error=unexpected,
            tls_cert_file=cert_file,
            tls_key_file=key_file,
        )
        await server.start()
        try:
            async with httpx.AsyncClient(timeout=60, base_url=url, trust_env=False) as self.client:
                yield server
        finally:
            await server.stop()


def hashed(password: str, rounds: int = 4) -> Secret:
    """Return a bcrypt hash, of the quickest kind."""
    return Secret(bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode())


def unexpected(doing: str, exc: BaseException) -> None:
    """Fail: the web server is not expected to have errors of its own."""
    raise AssertionError(doing) from exc
