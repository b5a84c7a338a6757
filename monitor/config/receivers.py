"""`[[receivers]]`: where alerts are sent, in addition to the log."""

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema

from monitor.config import values
from monitor.http.address import Address
from monitor.secret import Secret
from monitor.units import DURATION_PATTERN, format_duration

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"

_OUR_HEADERS = frozenset(
    {"content-type", "content-length", "host", "webhook-id", "webhook-timestamp", "webhook-signature"}
)


def _not_reserved(name: str) -> str:
    if name == "log":
        raise values.problem('"log" is the receiver that always exists: choose another name')
    return name


def _header_names(headers: dict[str, Secret]) -> dict[str, Secret]:
    for name in headers:
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise values.problem("a header's name has letters, digits and hyphens only")
        if name.lower() in _OUR_HEADERS:
            raise values.problem(f"these headers are set by the monitor: {', '.join(sorted(_OUR_HEADERS))}")
    return headers


def _one_login(urls: tuple[Address, ...], info: ValidationInfo) -> tuple[Address, ...]:
    """Refuse a user name in a URL beside another login: there is one Authorization header for both."""
    others = ("basic_auth", "bearer_token", "bearer_token_file")
    given = next((key for key in others if info.data.get(key) is not None), None)
    if given is not None and any(url.authorization is not None for url in urls):
        raise values.problem(f"give a user name in the URL or {given}, not both")
    return urls


def _one_authorization(headers: dict[str, Secret], info: ValidationInfo) -> dict[str, Secret]:
    """Refuse a user name in the URL beside an Authorization of its own."""
    url = info.data.get("url") or info.data.get("url_file")
    named = next((name for name in headers if name.lower() == "authorization"), None)
    if named is not None and url is not None and Address.of(url.reveal()).authorization is not None:
        raise values.problem(f"give a user name in the URL or the header {named}, not both")
    return headers


def _longer_than_two_posts(expire_after: timedelta, info: ValidationInfo) -> timedelta:
    every = info.data.get("resend_interval")
    if every is not None and expire_after <= 2 * every:
        raise values.problem(f"must be more than twice resend_interval, which is {format_duration(every)}")
    return expire_after


class _ReceiverConfig(values.Section):
    """The keys of every receiver."""

    name: Annotated[values.Name, AfterValidator(_not_reserved)]
    """Its name in metrics and logs."""
    min_severity: values.SeverityWord = "info"
    """Alerts below this severity are not sent."""
    connections: tuple[values.Text, ...] = Field(default=("*",), min_length=1)
    """Globs of connection names; an alert about several connections is sent if any matches."""
    send_resolved: values.Flag = True
    """Whether to send a message when an alert is resolved."""
    repeat_interval: Annotated[
        timedelta | None,
        values.duration_or("off", timedelta(seconds=1)),
        WithJsonSchema({"type": "string", "pattern": f"^off$|{DURATION_PATTERN}"}),
    ] = None
    """Send a reminder of a firing alert this often; or "off"."""
    timeout: values.Timeout = timedelta(seconds=10)
    """Maximum duration of one delivery."""
    ca_file: values.OptionalFile = None
    """Certificates to trust instead of the system's."""


class BasicAuthConfig(values.Section):
    """User name and password."""

    username: values.Text
    """The user's name."""
    password: values.Password = None
    """The user's password."""
    password_file: Annotated[
        values.PasswordFile, values.exclusive("password", "password_file", required=True)
    ] = None
    """A file that holds the password; read again when it changes."""

    @property
    def secret(self) -> Secret:
        """The password, wherever it was given."""
        return values.chosen(self.password, self.password_file)


class AlertmanagerConfig(_ReceiverConfig):
    """Posts every open episode to each Alertmanager."""

    type: Literal["alertmanager"]
    """The kind of receiver."""
    resend_interval: values.LongDuration = timedelta(seconds=60)
    """How often all open alerts are posted again."""
    expire_after: Annotated[values.LongDuration, AfterValidator(_longer_than_two_posts)] = timedelta(
        minutes=30
    )
    """When Alertmanager resolves alerts by itself if the monitor is gone; over 2 x `resend_interval`."""
    basic_auth: BasicAuthConfig | None = None
    """User name and password, if Alertmanager asks for them."""
    bearer_token: values.Token = None
    """Bearer token, if Alertmanager asks for one."""
    bearer_token_file: Annotated[
        values.TokenFile, values.exclusive("basic_auth", "bearer_token", "bearer_token_file")
    ] = None
    """A file that holds the bearer token; read again when it changes."""
    urls: Annotated[tuple[values.BaseUrl, ...], AfterValidator(_one_login)] = Field(min_length=1)
    """Base URL of every member of the Alertmanager cluster; may hold a user name and password."""

    @property
    def bearer(self) -> Secret | None:
        """The bearer token, wherever it was given."""
        return self.bearer_token or self.bearer_token_file


class WebhookConfig(_ReceiverConfig):
    """Posts CloudEvents, signed the Standard Webhooks way if it has a secret."""

    type: Literal["webhook"]
    """The kind of receiver."""
    url: values.SecretUrl = None
    """Where to post, a secret; may hold a user name and password."""
    url_file: Annotated[values.SecretUrlFile, values.exclusive("url", "url_file", required=True)] = None
    """A file that holds the URL; read again when it changes."""
    secret: values.SigningSecret = None
    """Signs every message: `whsec_` and base64."""
    secret_file: values.SigningSecretFile = None
    """A file that holds the secret; read again when it changes."""
    secrets: values.SigningSecrets = None
    """Instead of `secret` while it is being rotated: each signs every message, so that either verifies it."""
    secrets_file: Annotated[
        values.SigningSecretsFile, values.exclusive("secret", "secret_file", "secrets", "secrets_file")
    ] = None
    """A file that holds `secrets`, one a line; read again when it changes."""
    headers: Annotated[
        dict[str, values.HeaderValue], AfterValidator(_header_names), AfterValidator(_one_authorization)
    ] = Field(default_factory=dict)
    """Additional headers; their values are secret."""

    @property
    def address(self) -> Secret:
        """The URL, wherever it was given."""
        return values.chosen(self.url, self.url_file)

    @property
    def signing(self) -> tuple[Secret, ...]:
        """The signing secrets, wherever they were given; that of a file may hold several, one a line."""
        return self.secrets or tuple(filter(None, (self.secret, self.secret_file, self.secrets_file)))


class PagerDutyConfig(_ReceiverConfig):
    """Sends PagerDuty Events v2."""

    type: Literal["pagerduty"]
    """The kind of receiver."""
    routing_key: values.Token = None
    """The integration's key."""
    routing_key_file: Annotated[
        values.TokenFile, values.exclusive("routing_key", "routing_key_file", required=True)
    ] = None
    """A file that holds the key; read again when it changes."""
    url: values.LoginUrl = Field(default=Address(PAGERDUTY_URL), json_schema_extra={"default": PAGERDUTY_URL})
    """Where to send events; may hold a user name and password."""

    @property
    def secret(self) -> Secret:
        """The routing key, wherever it was given."""
        return values.chosen(self.routing_key, self.routing_key_file)


class SlackConfig(_ReceiverConfig):
    """Posts to a Slack incoming webhook."""

    type: Literal["slack"]
    """The kind of receiver."""
    url: values.SecretUrl = None
    """The incoming webhook's address, a secret."""
    url_file: Annotated[values.SecretUrlFile, values.exclusive("url", "url_file", required=True)] = None
    """A file that holds the address; read again when it changes."""

    @property
    def secret(self) -> Secret:
        """The address, wherever it was given."""
        return values.chosen(self.url, self.url_file)


class AppriseConfig(_ReceiverConfig):
    """Sends through Apprise to any service that it supports."""

    type: Literal["apprise"]
    """The kind of receiver."""
    url: values.ServiceUrl = None
    """The Apprise URL of the service, a secret."""
    url_file: Annotated[values.ServiceUrlFile, values.exclusive("url", "url_file", required=True)] = None
    """A file that holds the URL; read again when it changes."""

    @property
    def secret(self) -> Secret:
        """The URL, wherever it was given."""
        return values.chosen(self.url, self.url_file)


ReceiverConfig = Annotated[
    AlertmanagerConfig | WebhookConfig | PagerDutyConfig | SlackConfig | AppriseConfig,
    Field(discriminator="type"),
]
