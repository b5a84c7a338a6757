"""Apprise, the real library, against a local server: its `json://` service posts what it is given."""

import ast
import asyncio
import importlib.util
import logging
import re
from pathlib import Path

import pytest

from monitor.errors import ConfigError, DeliveryError, OutOfResources, Refusal
from monitor.http.client import Network
from monitor.notify.apprise import AppriseReceiver
from monitor.secret import Secret
from tests.descriptors import no_descriptors
from tests.fakes.alerts import BODY, delivery_of
from tests.golden.examples import EXAMPLES
from tests.servers.tls import issued
from tests.servers.webhook import Answer, WebhookSink

# The library imports `imghdr` where Python still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

PATH = "/hooks/s3cr3tt0ken"


def address(sink: WebhookSink) -> str:
    """Return the sink as an Apprise URL with credentials."""
    return sink.url.replace("http://", "json://us3r:p4ssw0rd@") + PATH


SERVICES = {
    "json": "json://us3r:p4ssw0rd@HOST/hooks/s3cr3t",
    "xml": "xml://us3r:p4ssw0rd@HOST/hooks/s3cr3t",
    "form": "form://us3r:p4ssw0rd@HOST/hooks/s3cr3t",
    "apprise": "apprise://us3r:p4ssw0rd@HOST/s3cr3tt0ken",
    "ntfy": "ntfy://us3r:p4ssw0rd@HOST/s3cr3t-topic",
    "gotify": "gotify://HOST/s3cr3tt0ken",
    "mattermost": "mmost://HOST/s3cr3tt0ken",
    "signal": "signal://HOST/+918011223344/+918011223345",
    "ssl": "jsons://us3r:p4ssw0rd@HOST/hooks/s3cr3t",
}
"""Services that can be anywhere, each by its URL."""


def receiver(url: str, timeout_s: float = 10.0) -> AppriseReceiver:
    """Return a receiver of one URL."""
    return AppriseReceiver("chat", url=Secret(url), network=Network(), timeout_s=timeout_s)


async def refused(chat: AppriseReceiver) -> DeliveryError:
    """Return how a message is refused."""
    with pytest.raises(DeliveryError) as caught:
        await chat.send(delivery_of())
    return caught.value


@pytest.mark.parametrize(
    ("example", "kind"),
    [
        ("drift_opened_6", "failure"),
        ("number_removed", "warning"),
        ("test", "info"),
        ("resolved_recovered", "success"),
        ("resolved_ignored", "info"),
    ],
)
async def test_apprise_sends_title_text_and_type(webhook_sink: WebhookSink, example: str, kind: str) -> None:
    """The text is the plain one, as it is kept among the golden files."""
    chat = receiver(address(webhook_sink))
    assert await chat.send(delivery_of(EXAMPLES[example]())) == "accepted"
    [request] = webhook_sink.requests
    sent = request.json()
    kept = Path(__file__).parent.parent / "golden" / "text" / f"{example}.txt"
    assert f"{sent['title']}\n\n{sent['message']}\n" == kept.read_text(encoding="utf-8")
    assert sent["type"] == kind


@pytest.mark.parametrize(
    "answer",
    [Answer(status=500), Answer(status=400), Answer(status=404), Answer(hang_up=True)],
    ids=["500", "400", "404", "hang-up"],
)
async def test_apprise_failure_is_tried_again_and_says_nothing_of_the_url(
    webhook_sink: WebhookSink, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    """The library says only that it failed; what it logs, credentials perhaps, is dropped."""
    caplog.set_level(logging.DEBUG, logger="apprise")
    webhook_sink.script([answer])
    error = await refused(receiver(address(webhook_sink)))
    assert (error.refusal, str(error)) == (Refusal.RETRY, "not accepted (Apprise gives no reason)")
    assert [record for record in caplog.records if record.name.startswith("apprise")] == []


async def test_apprise_that_hangs_is_given_up(webhook_sink: WebhookSink) -> None:
    """A service that does not answer is tried again later."""
    webhook_sink.script([Answer(delay_s=1.5)])
    error = await refused(receiver(address(webhook_sink), timeout_s=0.3))
    assert error.refusal is Refusal.RETRY


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        pytest.param("s3cr3t://us3r@nowhere", "not one that Apprise supports", id="unknown"),
        pytest.param("nonsense s3cr3t", "not one that Apprise supports", id="no-url"),
        pytest.param("json://s3cr3t-a, json://s3cr3t-b", "holds several URLs", id="several"),
    ],
)
def test_apprise_url_that_cannot_be_used_is_an_error_at_the_start(url: str, problem: str) -> None:
    """Told when the receiver is built, without the URL."""
    with pytest.raises(ConfigError, match=problem) as caught:
        receiver(url)
    assert "chat" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


async def test_apprise_url_that_was_replaced_by_a_bad_one_is_failing(
    webhook_sink: WebhookSink, tmp_path: Path
) -> None:
    """The file is read at each try; a URL that cannot be used is for a person to fix."""
    file = tmp_path / "url"
    file.write_text(address(webhook_sink))
    secret = Secret(file=file)
    chat = AppriseReceiver("chat", url=secret, network=Network(), timeout_s=10.0)
    assert await chat.send(delivery_of(BODY)) == "accepted"
    file.write_text("s3cr3t of another kind")
    secret.refresh()
    error = await refused(chat)
    assert error.refusal is Refusal.FAILING
    assert "s3cr3t" not in str(error)


def test_apprise_without_the_extra_says_how_to_get_it() -> None:
    """Nobody needs to guess the package."""
    with pytest.raises(ConfigError, match=r"pip install 'voicelink-drift-monitor\[apprise\]'"):
        AppriseReceiver(
            "chat",
            url=Secret("json://x"),
            network=Network(),
            timeout_s=1.0,
            library="apprise_is_not_installed",
        )


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_apprise_follows_no_redirect(service: str, status: int, tmp_path: Path) -> None:
    """Whichever the service, and even if its URL asks for it: numbers and passwords go nowhere else."""
    tls = issued(tmp_path) if service == "ssl" else None
    async with WebhookSink(tls=tls.context if tls else None) as sink, WebhookSink() as elsewhere:
        headers = {"Location": f"{elsewhere.url}/further"}
        sink.script(lambda _: Answer(status=status, headers=headers))
        url = SERVICES[service].replace("HOST", sink.url.partition("://")[2])
        for wish in ("", "?redirect=yes"):
            chat = AppriseReceiver(
                "chat",
                url=Secret(url + wish),
                network=Network(),
                ca_file=tls.ca_file if tls else None,
                timeout_s=10.0,
            )
            sink.requests.clear()
            error = await refused(chat)
            assert error.refusal is Refusal.RETRY
            assert sink.requests
        assert elsewhere.requests == []


def test_apprise_sends_in_no_other_way() -> None:
    """Every plugin calls the functions of `requests` that are taken over, and no other HTTP client.

    It reads the plugins' sources: one that made a session of its own would not be held by the rules.
    """
    spec = importlib.util.find_spec("apprise.plugins")
    assert spec is not None
    assert spec.origin is not None
    files = Path(spec.origin).parent.rglob("*.py")
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    used = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "requests"
    }
    functions = {"get", "post", "put", "delete", "request"}
    assert functions <= used
    assert used <= functions | {"RequestException", "TooManyRedirects", "codes", "exceptions"}
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    clients = re.compile(r"(requests|urllib3|httpx|aiohttp|pycurl|http\.client|urllib\.request)\b")
    assert {name for name in imported if clients.match(name)} == {"requests", "requests.auth"}


async def test_apprise_verifies_certificates_unless_its_url_says_no(tmp_path: Path) -> None:
    """With a `ca_file`, always."""
    tls, other = issued(tmp_path), issued(tmp_path / "other")
    async with WebhookSink(tls=tls.context) as sink:
        for query, ca_file, accepted in (
            ("", None, False),
            ("", tls.ca_file, True),
            ("?verify=no", tls.ca_file, True),
            ("?verify=no", other.ca_file, False),
        ):
            chat = AppriseReceiver(
                "chat",
                url=Secret(sink.url.replace("https", "jsons") + query),
                network=Network(),
                ca_file=ca_file,
                timeout_s=10.0,
            )
            if accepted:
                assert await chat.send(delivery_of()) == "accepted"
            else:
                await refused(chat)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
async def test_apprise_url_may_turn_verification_off(tmp_path: Path) -> None:
    """That is a documented part of an Apprise URL; who writes it means it."""
    async with WebhookSink(tls=issued(tmp_path).context) as sink:
        chat = receiver(sink.url.replace("https", "jsons") + "?verify=no")
        assert await chat.send(delivery_of()) == "accepted"


@pytest.mark.parametrize("url", ["mailtos://u:p@mail.test", "irc://irc.test/#x", "syslog://"])
def test_apprise_service_that_has_no_use_for_a_ca_file_is_an_error(url: str, tmp_path: Path) -> None:
    """A key that would change nothing is not accepted silently."""
    with pytest.raises(ConfigError, match="receiver 'chat': ca_file"):
        AppriseReceiver(
            "chat",
            url=Secret(url),
            network=Network(),
            ca_file=issued(tmp_path).ca_file,
            timeout_s=10.0,
        )


async def test_apprise_waits_no_longer_than_the_receiver() -> None:
    """Its URL may ask for more, but the thread that sends ends with the delivery, and hangs up."""
    hung_up = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        hung_up.set()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        error = await refused(receiver(f"json://{host}:{port}/?cto=900&rto=900", timeout_s=0.3))
        assert error.refusal is Refusal.RETRY
        await asyncio.wait_for(hung_up.wait(), 10)


async def test_message_that_lacks_descriptors_is_not_refused(webhook_sink: WebhookSink) -> None:
    """Apprise does not say why it failed: without descriptors, it is this process's own fault."""
    chat = receiver(address(webhook_sink))
    assert await chat.send(delivery_of()) == "accepted"
    with no_descriptors(), pytest.raises(OutOfResources):
        await chat.send(delivery_of())
    assert await chat.send(delivery_of()) == "accepted"
