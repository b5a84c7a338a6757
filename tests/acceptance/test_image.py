"""The image that the Dockerfile makes runs as its users run it: not as root, read-only, ended by SIGTERM."""

import shutil
import stat
from collections.abc import Iterator, Sequence
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor import __version__
from tests.bill import PROGRAM
from tests.servers.image import Builder, Image, base_name, base_python
from tests.servers.process import Process, free_port, running, wait_until
from tests.servers.webhook import Answer, Received, WebhookSink

# The first run on a machine makes the base image too.
pytestmark = pytest.mark.timeout(1800)

ROOT = Path(__file__).parents[2]
API_KEY = "rg_live_image_test"
PARTS = ("clients", "dids", "available_dids", "bots", "routing", "local_phone_numbers", "warnings", "drift")


class Provider:
    """The provider and the receiver behind one address: one number, broken until it is mended."""

    def __init__(self) -> None:
        self.issues = ["NO_BOT"]

    def answer(self, received: Received) -> Answer:
        """Answer a sync as the API does; take every delivery."""
        if not received.path.endswith("/voicelink/sync"):
            return Answer()
        number = {
            "key": "918011223344",
            "phone_number": "+918011223344",
            "state": "NO_BOT" if self.issues else "READY",
            "issues": self.issues,
            "actions": [],
            "action_items": [{"code": code, "label": "Assign a bot"} for code in self.issues],
        }
        data = {**{part: [] for part in PARTS}, "readiness": [number]}
        body = httpx.Response(200, json={"success": True, "data": data}).content
        return Answer(body=body, headers={"Content-Type": "application/json"})


class Container:
    """The image with a volume, a configuration in it, and a port."""

    def __init__(self, image: Image, folder: Path) -> None:
        self.image = image
        self._log = folder / "container.log"
        self._port = free_port()
        self.data = image.data(folder / "data")

    def configure(self, sink: WebhookSink) -> None:
        """Write the configuration where the image's working folder has it found: quick, against the sink."""
        (self.data / "config.toml").write_text(
            f"""
            api.base_url = "{sink.url}/api/v2"
            schedule.interval = "2s"
            drift = {{ confirm_syncs = 1, resolve_syncs = 1, keep_firing_for = "0s" }}
            accounts = [{{ name = "acme", api_key = "{API_KEY}", requests_per_minute = 60 }}]
            receivers = [{{ name = "hook", type = "webhook", url = "{sink.url}/hook" }}]
            """
        )

    def process(
        self,
        *arguments: str,
        entrypoint: Sequence[str] | None = None,
        ready: bool = False,
        user: str | None = None,
    ) -> Process:
        """Return a process in the container."""
        return self.image.process(
            *arguments,
            data=self.data,
            log_file=self._log,
            env={"VOICELINK_MONITOR_WEB__LISTEN": f"127.0.0.1:{self._port}", "NO_PROXY": "127.0.0.1"},
            entrypoint=entrypoint,
            user=user,
            ready_url=f"http://127.0.0.1:{self._port}/-/ready" if ready else None,
        )

    @property
    def output(self) -> str:
        """What its processes wrote."""
        return self._log.read_text()

    async def healthcheck(self) -> int:
        """Return the exit code of the image's own health check."""
        kind, command, *arguments = self.image.config["Healthcheck"]["Test"]
        assert kind == "CMD", "a shell is not needed"
        check = self.process(*arguments, entrypoint=[command])
        await check.start()
        return await check.wait()


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Return what builds the image."""
    return Builder(tmp_path_factory.mktemp("image") / "build.log")


@pytest.fixture(scope="module")
def image(builder: Builder) -> Iterator[Image]:
    """Build the image once for this module."""
    with builder.build() as image:
        yield image


@pytest.fixture
def container(image: Image, tmp_path: Path) -> Container:
    """Return the image with an empty volume."""
    return Container(image, tmp_path)


def hooks(sink: WebhookSink) -> list[dict[str, Any]]:
    """Return the alerts that the receiver got."""
    return [received.json()["data"] for received in sink.requests if received.path == "/hook"]


def status(pid: int) -> dict[str, list[str]]:
    """Return what the kernel says of a process, as words by field."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: words.split() for name, words in (line.split(":", 1) for line in lines)}


def test_image_configuration_is_what_a_cluster_needs(image: Image) -> None:
    """A numeric user that is not root, one volume, one port, no secret, and the revision that was built."""
    assert image.user == "65532:65532"
    assert list(image.config["Volumes"]) == ["/data"]
    assert list(image.config["ExposedPorts"]) == ["8790/tcp"]
    assert image.env["VOICELINK_MONITOR_REVISION"] == "0123abc"
    assert not [name for name in image.env if name.startswith("PIP_")]


def test_image_labels_say_where_it_comes_from(image: Image) -> None:
    """The standard labels name the version of the program, the source, when it was made, and the base."""
    prefix = "org.opencontainers.image."
    labels = {
        name.removeprefix(prefix): text
        for name, text in image.config["Labels"].items()
        if name.startswith(prefix)
    }
    assert labels.pop("title")
    assert labels.pop("description")
    source = labels["source"]
    assert f"Documentation, {source}#readme" in (metadata(PROGRAM).get_all("Project-URL") or ())
    assert labels == {
        "version": __version__,
        "created": "2026-02-03T04:05:06Z",
        "revision": "0123abc",
        "source": source,
        "url": source,
        "documentation": f"{source}#readme",
        "base.name": base_name(),
    }


def test_image_holds_the_program_compiled_and_nothing_that_built_it(image: Image) -> None:
    """Modules have their bytecode, packages a licence, pages their files; pip and the sources are gone."""
    [packages] = (image.root / "opt/venv/lib").glob("python3.*/site-packages")
    modules = {path.stem for path in (packages / "monitor").glob("*.py")}
    compiled = {path.name.split(".")[0] for path in (packages / "monitor/__pycache__").glob("*.pyc")}
    assert "__init__" in modules
    assert compiled == modules
    for kind in ("runbooks", "templates", "static"):
        there = {path.name for path in (packages / "monitor/web" / kind).iterdir()}
        assert there == {path.name for path in (ROOT / "monitor/web" / kind).iterdir()}
    assert not [path.name for name in ("pip", "hatchling") for path in packages.glob(f"{name}*")]
    assert not (image.root / "src").exists()
    listed = (image.root / "usr/share/doc/voicelink-monitor/licenses.txt").read_text()
    installed = {path.name.split("-")[0].replace("_", "-").lower() for path in packages.glob("*.dist-info")}
    assert installed - {PROGRAM} == {line.split(":")[0] for line in listed.splitlines() if line[0] != "#"}


async def test_image_entrypoint_says_its_version(container: Container) -> None:
    """The entry point takes the command's arguments."""
    process = container.process("--version")
    await process.start()
    assert await process.wait() == 0, process.output
    assert __version__ in process.output


async def test_image_carries_the_certificates_that_it_trusts(container: Container) -> None:
    """It has the system's list, where its Python looks, and needs no other."""
    code = (
        "from monitor.http.certificates import Authorities; authorities = Authorities(); "
        "print(len(authorities.warnings), authorities.path(), authorities.context().cert_store_stats())"
    )
    process = container.process("-c", code, entrypoint=["python"])
    await process.start()
    assert await process.wait() == 0, process.output
    warnings, path, stats = process.output.strip().split(" ", 2)
    assert (warnings, path.startswith(("/usr/lib/ssl/", "/etc/ssl/"))) == ("0", True), process.output
    assert "'x509_ca': 0" not in stats


async def test_image_healthcheck_fails_without_a_daemon(
    container: Container, webhook_sink: WebhookSink
) -> None:
    """The health check exits 1, the code that engines count as unhealthy, while nothing serves."""
    container.configure(webhook_sink)
    assert await container.healthcheck() == 1
    assert "Traceback" not in container.output


async def test_image_runs_without_root_on_a_read_only_file_system(
    container: Container, webhook_sink: WebhookSink
) -> None:
    """It becomes ready with no user, group or writable place but its own, and the health check sees it."""
    container.configure(webhook_sink)
    webhook_sink.script(Provider().answer)
    daemon = container.process(ready=True)
    async with running(daemon):
        fields = status(daemon.pid)
        assert set(fields["Uid"]) == set(fields["Gid"]) == {"65532"}
        assert not {"0"} & set(fields["Groups"])
        assert int(fields["CapEff"][0], 16) == 0
        assert await container.healthcheck() == 0
        await webhook_sink.wait_for(1)
    assert API_KEY not in container.output


async def test_image_runs_as_any_user_of_group_0(container: Container, webhook_sink: WebhookSink) -> None:
    """As on OpenShift: a user without name or home, in the root group, keeps its state and can act on it."""
    container.configure(webhook_sink)
    webhook_sink.script(Provider().answer)
    async with running(container.process(ready=True, user="1000680000:0")):
        await wait_until(lambda: hooks(webhook_sink), what="the alert")
        command = container.process(
            *(
                "silence",
                "add",
                "--connection",
                "acme",
                "--for",
                "1h",
                "--reason",
                "test",
                "--format",
                "json",
            ),
            user="1000680000:0",
        )
        await command.start()
        assert await command.wait() == 0, command.output
    store = (container.data / "voicelink-monitor.db").stat()
    assert (store.st_uid, stat.S_IMODE(store.st_mode)) == (1000680000, 0o600)
    assert '"by": "1000680000"' in container.output


async def test_image_sigterm_ends_it_cleanly_and_the_volume_keeps_the_state(
    container: Container, webhook_sink: WebhookSink
) -> None:
    """Ended by SIGTERM it exits 0; a new container on the volume ends the alert that the first one opened."""
    provider = Provider()
    container.configure(webhook_sink)
    webhook_sink.script(provider.answer)
    daemon = container.process(ready=True)
    async with running(daemon):
        await wait_until(lambda: hooks(webhook_sink), what="the alert")
        assert await daemon.stop() == 0, daemon.output
    assert (container.data / "voicelink-monitor.db").is_file()

    async with running(container.process(ready=True)):
        provider.issues = []
        await wait_until(lambda: len(hooks(webhook_sink)) > 1, what="its end")
    opened, resolved = hooks(webhook_sink)
    assert [alert["status"] for alert in (opened, resolved)] == ["firing", "resolved"]
    assert resolved["alert_id"] == opened["alert_id"]


FOR_FAST_TESTS = (
    "cyclonedx-python-lib[json-validation]",
    "hypothesis",
    "jsonschema",
    "pytest",
    "pytest-asyncio",
    "pytest-timeout",
    "pytest-xdist",
    "standardwebhooks",
    "trustme",
)
"""What the fast tests import that the image lacks."""

WITHOUT = (".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "node_modules", "dist")
"""What a checkout has beside its sources."""


async def test_image_passes_the_fast_tests(builder: Builder, container: Container) -> None:
    """The program is right on the Python that runs it, whichever runs the other tests."""
    source = container.data / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*WITHOUT))
    shutil.copytree(builder.fetch_packages(*FOR_FAST_TESTS), container.data / "packages")
    container.image.data(container.data / "home")
    unset = [f"--unset={name}" for name in container.image.env if name.startswith("VOICELINK_")]
    home = {
        "HOME": "/data/home",
        "TMPDIR": "/data/home",
        "HYPOTHESIS_STORAGE_DIRECTORY": "/data/home/examples",
    }
    variables = [f"{name}={value}" for name, value in {**home, "PYTHONPATH": "/data/packages"}.items()]
    process = container.process(
        *("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "tests/unit"),
        entrypoint=["env", "--chdir=/data/source", *unset, *variables],
    )
    await process.start()
    assert await process.wait(1200) == 0, process.output[-5000:]
    version = container.process("--version", entrypoint=["python"])
    await version.start()
    assert await version.wait() == 0
    assert f"Python {base_python()}." in version.output
