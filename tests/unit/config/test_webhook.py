"""What the table of a webhook refuses, so that no message fails for it."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from monitor.config.public import public
from monitor.config.receivers import WebhookConfig
from monitor.secret import Secret


@pytest.mark.parametrize("secret", ["whsec_", "whsec_s3cr not base64!", "s3cret2!", "whsec_a", "clés3cr"])
def test_webhook_secret_is_base64(secret: str) -> None:
    """A bad secret is refused, and never shown."""
    with pytest.raises(ValidationError, match="a webhook secret is base64") as caught:
        WebhookConfig.model_validate({"type": "webhook", "name": "h", "url": "https://h", "secret": secret})
    assert "s3cr" not in str(caught.value)


NEW, OLD = "whsec_bmV3", "whsec_b2xk"
HOOK = {"type": "webhook", "name": "h", "url": "https://h"}


def test_webhook_signs_with_whichever_secrets_it_was_given(tmp_path: Path) -> None:
    """One or several, as values or in a file that is read again."""
    one, several = tmp_path / "secret", tmp_path / "secrets"
    one.write_text(f"{NEW}\n")
    several.write_text(f"{NEW}\r\n\n {OLD} \n")
    given: dict[str, tuple[object, list[str]]] = {
        "secret": (NEW, [NEW]),
        "secret_file": (str(one), [NEW]),
        "secrets": ([NEW, OLD], [NEW, OLD]),
        "secrets_file": (str(several), [NEW, OLD]),
    }
    for key, (value, expected) in given.items():
        hook = WebhookConfig.model_validate(HOOK | {key: value})
        assert [each for secret in hook.signing for each in secret.reveal().split()] == expected
        assert "bmV3" not in json.dumps(public(hook))
        assert all(secret.file is not None for secret in hook.signing) == key.endswith("_file")
    assert WebhookConfig.model_validate(HOOK).signing == ()


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        pytest.param({"secret": NEW, "secrets": [NEW]}, "secrets or secrets_file, not both", id="both"),
        pytest.param({"secrets": []}, "at least 1 item", id="none"),
        pytest.param({"secrets": ["whsec_s3cr!"]}, "a webhook secret is base64", id="not-base64"),
        pytest.param({"secrets": [NEW, '"whsec_s3cr"']}, "it is in quotes", id="in-quotes"),
        pytest.param({"secrets": [NEW, ""]}, "must not be empty", id="empty"),
        pytest.param({"secrets": "whsec_s3cr"}, "should be a valid tuple", id="no-list"),
    ],
)
def test_webhook_secrets_are_checked(keys: dict[str, object], problem: str) -> None:
    """Each of them, like a single one."""
    with pytest.raises(ValidationError, match=problem) as caught:
        WebhookConfig.model_validate(HOOK | keys)
    assert "s3cr" not in str(caught.value)


def test_webhook_secrets_file_is_checked_by_line(tmp_path: Path) -> None:
    """The line with the mistake is told, not what is on it; a later mistake keeps what was read."""
    file = tmp_path / "secrets"
    file.write_text(f"{NEW}\n\nwhsec_s3cr!\n")
    with pytest.raises(ValidationError, match="line 3: a webhook secret is base64") as caught:
        WebhookConfig.model_validate(HOOK | {"secrets_file": str(file)})
    assert "s3cr" not in str(caught.value)
    file.write_text(NEW)
    [secret] = WebhookConfig.model_validate(HOOK | {"secrets_file": str(file)}).signing
    file.write_text(f"{NEW}\n{OLD} s3cr!\n")
    assert not secret.refresh()
    assert (secret.reveal(), secret.refused is None) == (NEW, False)
    file.write_text(f"{OLD}\n{NEW}\n")
    assert secret.refresh()
    assert secret.reveal().split() == [OLD, NEW]


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
