"""Apprise, the real library, against a local server: its `json://` service posts what it is given."""

import logging
from pathlib import Path

import pytest

from monitor.errors import ConfigError, DeliveryError, Refusal
from monitor.http.client import Network
from monitor.notify.apprise import AppriseReceiver
from monitor.secret import Secret
from tests.fakes.alerts import BODY, delivery_of
from tests.golden.examples import EXAMPLES
from tests.servers.webhook import Answer, WebhookSink

# The library imports `imghdr` where Python still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

PATH = "/hooks/s3cr3tt0ken"


def address(sink: WebhookSink) -> str:
    """Return the sink as an Apprise URL with credentials."""
    return sink.url.replace("http://", "json://us3r:p4ssw0rd@") + PATH


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
    with pytest.raises(ConfigError, match=r"pip install voicelink-drift-monitor\[apprise\]"):
        AppriseReceiver(
            "chat",
            url=Secret("json://x"),
            network=Network(),
            timeout_s=1.0,
            library="apprise_is_not_installed",
        )
