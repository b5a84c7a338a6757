"""What the table of a webhook refuses, so that no message fails for it."""

import pytest
from pydantic import ValidationError

from monitor.config.receivers import WebhookConfig
from monitor.secret import Secret


@pytest.mark.parametrize("secret", ["whsec_", "whsec_s3cr not base64!", "s3cret2!", "whsec_a", "clés3cr"])
def test_webhook_secret_is_base64(secret: str) -> None:
    """A bad secret is refused, and never shown."""
    with pytest.raises(ValidationError, match="a webhook secret is base64") as caught:
        WebhookConfig.model_validate({"type": "webhook", "name": "h", "url": "https://h", "secret": secret})
    assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        pytest.param({"Webhook-Id": "x"}, "are set by the monitor: .*webhook-id", id="ours"),
        pytest.param({"content-type": "x"}, "are set by the monitor: .*content-type", id="content-type"),
        pytest.param({"a b": "x"}, "a header's name has letters, digits and hyphens only", id="name"),
        pytest.param({"x": "s3cret\r\nhost: y"}, "must not hold line breaks", id="smuggling"),
        pytest.param({"x": "s3cret\x7f"}, "must not hold .*control characters", id="control"),
        pytest.param({"x": "s3crét"}, "a header's value is ASCII", id="not-ascii"),
    ],
)
def test_webhook_headers_can_be_sent(headers: dict[str, str | Secret], problem: str) -> None:
    """A header that would fail at every try, or replace the monitor's own, is refused."""
    with pytest.raises(ValidationError, match=problem) as caught:
        WebhookConfig.model_validate({"type": "webhook", "name": "h", "url": "https://h", "headers": headers})
    assert "s3cr" not in str(caught.value)
