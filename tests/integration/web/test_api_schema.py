"""The API against its own OpenAPI: schemathesis asks the real daemon all that it allows, and more."""

import asyncio
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast, get_type_hints

import bcrypt
import httpx
import jsonschema_rs
import msgspec
import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from monitor import __version__
from monitor.config import load_config
from monitor.daemon.app import run_daemon
from monitor.simulator import Simulator, build_world
from monitor.web.actions import Actions, Lifecycle
from monitor.web.api import api_routes
from monitor.web.api.answers import encode
from monitor.web.api.openapi import build_openapi
from monitor.web.settings import WebSettings
from monitor.web.sources import Sources
from tests.acceptance.daemon import to_toml
from tests.fakes.log import FakeLog
from tests.servers.process import wait_until

LOGIN = ("reader", "a right password")
EXAMPLES = {"/api/v1/replay": 2}
"""Of an operation, if not 50: each replay is a process."""


class DaemonThread:
    """The daemon with a simulated provider, in a loop of its own: schemathesis is not asynchronous."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "DaemonThread":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        world = build_world(1, 30)
        simulator = Simulator(world)
        simulator.do("remove_routing", numbers=3)
        async with simulator.serve() as url:
            config = self.folder / "config.toml"
            config.write_text(to_toml(self._settings(url, world.accounts[0].key)))
            with (self.folder / "log").open("w") as log:
                await run_daemon(
                    load_config(config), stop=self._stop, on_ready=self._on_ready, log_stream=log
                )

    def _on_ready(self, page: str) -> None:
        self.page = page.rstrip("/")
        self._ready.set()

    def _settings(self, url: str, key: str) -> dict[str, object]:
        return {
            "api": {"base_url": url},
            "schedule": {"interval": "1s", "recheck_interval": "100ms"},
            "store": {"url": f"sqlite:///{self.folder}/store.db"},
            "web": {
                "listen": "127.0.0.1:0",
                "enable_lifecycle": True,
                "basic_auth_users": {LOGIN[0]: bcrypt.hashpw(LOGIN[1].encode(), bcrypt.gensalt(4)).decode()},
            },
            "accounts": [{"name": "acme", "api_key": key, "discover": True, "requests_per_minute": 6000}],
        }


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonThread]:
    """Run one daemon for all of it."""
    with DaemonThread(tmp_path_factory.mktemp("daemon")) as running:
        for name in ("connections", "numbers", "changes", "alerts", "deliveries"):
            asyncio.run(wait_until(partial(has_items, running, name), what=name))
        yield running


async def has_items(daemon: DaemonThread, name: str) -> bool:
    """Return whether there is something in a list of the API."""
    async with httpx.AsyncClient(timeout=60, auth=LOGIN, trust_env=False) as client:
        answer = await client.get(f"{daemon.page}/api/v1/{name}")
    return bool(answer.json()["items"])


@pytest.fixture(scope="module")
def document(daemon: DaemonThread) -> BaseSchema:
    """Return the document that the daemon serves."""
    return schemathesis.openapi.from_url(f"{daemon.page}/api/v1/openapi.json", auth=LOGIN)


POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


def routes() -> list[APIRoute]:
    """Return the routes of the API, without anybody to answer."""
    actions = Actions(lifecycle=cast("Lifecycle", None), settings=WebSettings, log=FakeLog().logger)
    router = api_routes(cast("Sources", None), actions, version="0")
    return [route for route in router.routes if isinstance(route, APIRoute)]


def built(version: str) -> dict[str, Any]:
    """Return the document of these routes."""
    return build_openapi(routes(), version)


def asks() -> list[Any]:
    """Return every operation to be asked well, and badly where there is a parameter to get wrong."""
    paths = built("0")["paths"]
    operations = [
        (method, path, described) for path, methods in paths.items() for method, described in methods.items()
    ]
    return [
        pytest.param(method, path, mode, id=f"{method}-{path}-{mode.value}")
        for method, path, described in operations
        for mode in (POSITIVE, NEGATIVE)
        if mode is POSITIVE
        or "requestBody" in described
        or any(each["in"] != "header" for each in described.get("parameters", ()))
    ]


@pytest.mark.parametrize(("method", "path", "mode"), asks())
def test_api_answers_as_its_document_says(
    document: BaseSchema, method: str, path: str, mode: GenerationMode
) -> None:
    """Whatever is asked, allowed or not, the answer is one that the document describes, and never a 500."""

    @settings(
        max_examples=EXAMPLES.get(path, 50),
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=document[path][method].as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        # No schema can say which cursors there are, or what belongs together in a body: it may be refused.
        made_up = "cursor" in case.query or isinstance(case.body, dict | str)
        made_up |= any("." in name for name in case.query)  # the keys of rules
        excluded: list[Any] = [positive_data_acceptance] if mode is POSITIVE and made_up else []
        case.call_and_validate(auth=LOGIN, excluded_checks=excluded, timeout=60)

    ask()


def test_document_is_served_as_it_is_built(daemon: DaemonThread) -> None:
    """What the daemon serves is what its parts describe, with its version."""
    answer = httpx.get(f"{daemon.page}/api/v1/openapi.json", auth=LOGIN, timeout=60, trust_env=False)
    assert answer.json() == built(__version__)


def test_examples_fit_their_schemas() -> None:
    """Every example in the document is what its schema says."""
    document = built("0")
    shown = [
        (content["schema"], content["example"])
        for methods in document["paths"].values()
        for operation in methods.values()
        for response in operation["responses"].values()
        for content in response.get("content", {}).values()
        if "example" in content
    ]
    bodies = [
        (content["schema"], content["example"])
        for methods in document["paths"].values()
        for operation in methods.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]
    shown += [
        (content["schema"], content["example"])
        for response in document["components"]["responses"].values()
        for content in response["content"].values()
    ]
    for schema, example in [*shown, *bodies]:
        jsonschema_rs.validate({**schema, "components": document["components"]}, example)
    # All but the OpenAPI document itself.
    assert len(shown) == len(routes()) - 1 + len(document["components"]["responses"])


def test_examples_are_whole_answers() -> None:
    """Every example has exactly the fields of its type, so that none can be out of date."""
    document = built("0")
    for route in routes():
        [method] = (route.methods or set()) - {"HEAD"}
        operation = document["paths"][route.path][method.lower()]
        content = operation["responses"][str(route.status_code or 200)]["content"]["application/json"]
        if "example" in content:
            answer = msgspec.convert(content["example"], get_type_hints(route.endpoint)["return"])
            assert json.loads(encode(answer)) == content["example"]
