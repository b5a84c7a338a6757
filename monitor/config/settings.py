"""The whole config: one class a table, attributes named like the keys."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, ValidationInfo, WithJsonSchema, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from monitor.config import values
from monitor.config.lists import AccountConfig, ConnectionConfig, IgnoreConfig, MaintenanceConfig
from monitor.config.public import public
from monitor.config.receivers import ReceiverConfig
from monitor.cron import gaps
from monitor.http.address import safe_url
from monitor.secret import Secret
from monitor.units import DURATION_PATTERN

DATABASE_URL = "sqlite:///voicelink-monitor.db"

OUR_LABELS = frozenset(
    {
        "alertname",
        "connection",
        "account",
        "phone_number",
        "state",
        "severity",
        "instance",
        "receiver",
        "kind",
        "alert_id",
    }
)
"""The labels that the monitor gives its alerts; config labels must not shadow them."""


class ApiConfig(values.Section):
    """The provider's API."""

    base_url: values.ApiUrl = "https://api.vocobase.com/api/v2"
    """Base URL of the API."""
    timeout: values.Timeout = timedelta(seconds=30)
    """Maximum duration of a whole request."""
    max_response_size: values.Size = Field(default=64 * 2**20, validate_default=False)
    """Maximum size of an answer, before and after decompression."""
    ca_file: values.OptionalFile = None
    """Certificates to trust instead of the system's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a connection is synced: every `interval`, or by `cron` in `timezone` if there is one."""

    interval: timedelta
    cron: str | None = None
    timezone: str = "UTC"

    def gaps(self, now: datetime) -> tuple[timedelta, timedelta]:
        """Return the shortest and the longest time between two of the next syncs."""
        if self.cron is None:
            return self.interval, self.interval
        return gaps(self.cron, self.timezone, now)


class ScheduleConfig(values.Section):
    """When connections are synced."""

    timezone: values.TimeZone = "UTC"
    """The time zone of crons."""
    cron: values.Cron = None
    """Five fields, weekdays by name; replaces `interval`."""
    interval: Annotated[values.LongDuration, values.exclusive("cron", "interval")] = Field(
        default=timedelta(seconds=60), validate_default=False
    )
    """Time between two syncs of a connection."""
    recheck_interval: values.Recheck = timedelta(seconds=15)
    """Delay before the next sync after one that failed or left something unconfirmed."""
    max_concurrent_syncs: values.Number = Field(default=32, ge=1, le=1000)
    """Maximum number of concurrent syncs."""

    def timing(self, connection: ConnectionConfig) -> Timing:
        """Return when a connection is synced: its own times, or these."""
        if connection.interval is not None:
            return Timing(interval=connection.interval, timezone=self.timezone)
        return Timing(interval=self.interval, cron=connection.cron or self.cron, timezone=self.timezone)


class DriftConfig(values.Section):
    """When drift alerts, and when it is resolved."""

    confirm_syncs: values.Number = Field(default=2, ge=1)
    """Number of syncs that must see drift before it alerts."""
    resolve_syncs: values.Number = Field(default=2, ge=1)
    """Consecutive syncs that must see a number ready, or be answered, before an alert is resolved."""
    keep_firing_for: values.Duration = timedelta(minutes=5)
    """How long drift or a failure that looks resolved keeps firing, so that flapping is a single alert."""
    failing_after: values.Number = Field(default=3, ge=1)
    """Number of consecutive failed syncs, rechecks included, that raise an alert."""
    stale_after: Annotated[
        timedelta | None,
        values.duration_or("auto", timedelta(seconds=1)),
        WithJsonSchema({"type": "string", "pattern": f"^auto$|{DURATION_PATTERN}"}),
    ] = None
    """Alert when no snapshot was applied for this long; "auto" is 3 x the interval, at least 5m."""
    reconfigured: Literal["lost", "record", "alert"] = "lost"
    """Alert when a ready number loses its bot, routing or agent, when any of them changes, or never."""
    removed: Literal["alert", "record"] = "alert"
    """What happens when a number is no longer listed."""

    def stale_after_for(self, interval: timedelta) -> timedelta:
        """Return how long a connection synced this often may go without an applied snapshot."""
        return self.stale_after or max(3 * interval, timedelta(minutes=5))


class GuardConfig(values.Section):
    """When an answer is too implausible to be accepted at once."""

    ratio: values.Fraction = Field(default=0.5, gt=0, le=1, allow_inf_nan=False)
    """Hold an answer in which more than this share of a connection's numbers changes at once."""
    min_numbers: values.Number = Field(default=5, ge=1)
    """Hold it only if at least this many numbers change."""
    confirm_syncs: values.Number = Field(default=3, ge=1)
    """Accept the change after this many such answers in a row, over at least an interval (5m at most)."""


_CRITICAL = ("no_bot", "routing_missing", "no_vocobase_agent")


class SeverityConfig(values.Section):
    """Severity by state, issue code or alert kind; the names are compared case-folded."""

    model_config = values.Section.model_config | {"extra": "allow"}
    __pydantic_extra__: dict[str, values.SeverityWord] = Field(init=False)

    default: values.SeverityWord = "warning"
    """Severity of all other states and issues."""

    @property
    def codes(self) -> dict[str, values.SeverityWord]:
        """All names but `default`, case-folded, with the monitor's own unless overridden."""
        given = {code.casefold(): severity for code, severity in self.__pydantic_extra__.items()}
        own: dict[str, values.SeverityWord] = dict.fromkeys(_CRITICAL, "critical")
        return own | given


def _label_names(labels: dict[str, str]) -> dict[str, str]:
    for name in labels:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name.startswith("__"):
            raise values.problem(
                "a label's name has letters, digits and _ only, and begins with no digit and no __"
            )
        if name in OUR_LABELS:
            raise values.problem(f"the label {name} is one of the monitor's own: choose another name")
    return labels


class AlertsConfig(values.Section):
    """What alerts look like."""

    update_interval: values.Duration = timedelta(minutes=5)
    """Drifts within this time share an alert, which is updated at most this often; "0s": at once."""
    widespread_connections: values.Number = Field(default=5, ge=0, le=1000)
    """Alerts with one cause that page by themselves within `update_interval`; the rest share one; 0: all."""
    max_listed_numbers: values.Number = Field(default=50, ge=1, le=1000)
    """Maximum number of phone numbers that an alert lists."""
    external_url: values.PageUrl = None
    """URL of the status page, for links in alerts."""
    runbook_base_url: values.PageUrl = None
    """Base URL of the runbooks, for links in alerts; by default those that the monitor shows itself."""
    labels: Annotated[dict[str, values.Text], AfterValidator(_label_names)] = Field(default_factory=dict)
    """Labels added to every alert."""


class StoreConfig(values.Section):
    """Where the monitor stores its state."""

    url: values.DatabaseUrl = None
    """`sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/DATABASE`; default sqlite:///voicelink-monitor.db."""
    url_file: Annotated[values.DatabaseUrlFile, values.exclusive("url", "url_file")] = None
    """A file that holds the URL."""
    retention: values.LongDuration = timedelta(days=90)
    """How long resolved alerts, changes and the journal are kept."""

    @property
    def secret(self) -> Secret:
        """The URL, wherever it was given; it may hold a password."""
        return self.url or self.url_file or Secret(DATABASE_URL)

    @property
    def safe_url(self) -> str:
        """The URL with stars for user and password, and without options."""
        return safe_url(self.secret.reveal())

    @property
    def is_sqlite(self) -> bool:
        """Whether it is the embedded database."""
        return self.secret.reveal().startswith("sqlite:")


def _user_names(users: dict[str, Secret]) -> dict[str, Secret]:
    if any(not name or ":" in name or not name.isprintable() for name in users):
        raise values.problem("a user's name must not be empty, and holds no colon")
    return users


class WebConfig(values.Section):
    """The status page, the metrics and the probes."""

    listen: values.ListenAddress = values.Listen("127.0.0.1", 8790)
    """HOST:PORT; an IPv6 address in brackets."""
    enable_lifecycle: values.Flag = False
    """Allow `POST /-/reload` and `POST …/sync`."""
    tls_cert_file: values.OptionalFile = None
    """Certificate chain; enables https."""
    tls_key_file: values.OptionalFile = None
    """The certificate's key."""
    basic_auth_users: Annotated[dict[str, values.PasswordHash], AfterValidator(_user_names)] = Field(
        default_factory=dict
    )
    """Bcrypt hashes of passwords by user name; probes stay open."""
    operators: tuple[values.Text, ...] = ("*",)
    """Globs of user names who may reload, sync, accept and retry; other users only read."""
    allowed_hosts: tuple[values.Host, ...] = ()
    """Host names that are answered; by default any, on a loopback address only this machine's own."""
    trusted_proxies: tuple[values.Network, ...] = ()
    """Addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    max_connections: values.Number = Field(default=200, ge=1)
    """Connections open at once; beyond, the oldest that has not sent its headers is closed for a new one."""

    @field_validator("tls_key_file", mode="after")
    @classmethod
    def _both(cls, value: Any, info: ValidationInfo) -> Any:
        if "tls_cert_file" in info.data and (value is None) != (info.data["tls_cert_file"] is None):
            raise values.problem("tls_cert_file and tls_key_file go together: give both")
        return value


class HeartbeatConfig(values.Section):
    """An external watchdog that notices when the monitor dies."""

    url: values.SecretUrl = None
    """Called with GET at most once a minute while the monitor is healthy; a secret."""
    url_file: Annotated[values.SecretUrlFile, values.exclusive("url", "url_file")] = None
    """A file that holds the address; read again when it changes."""
    ca_file: values.OptionalFile = None
    """Certificates to trust instead of the system's."""

    @property
    def secret(self) -> Secret | None:
        """The address, wherever it was given."""
        return values.chosen(self.url, self.url_file) if self.url or self.url_file else None


class MetricsConfig(values.Section):
    """What is exported in addition to counts."""

    numbers: values.Flag = False
    """One series per number; phone numbers are personal data."""
    max_number_series: values.Number = Field(default=10_000, ge=1)
    """Maximum number of these series."""


class LogConfig(values.Section):
    """How the monitor logs to standard output."""

    format: Literal["json", "console"] = "json"
    """JSON lines, or text for people."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum level that is written."""


class Config(BaseSettings):
    """The whole config."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        case_sensitive=True,
    )

    instance: values.Text = "voicelink-monitor"
    """The name of this monitor in alerts; the same on all replicas."""
    api: ApiConfig = Field(default_factory=ApiConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    drift: DriftConfig = Field(default_factory=DriftConfig)
    guard: GuardConfig = Field(default_factory=GuardConfig)
    severity: SeverityConfig = Field(default_factory=SeverityConfig)
    accounts: tuple[AccountConfig, ...] = ()
    """API keys and their connections."""
    ignore: tuple[IgnoreConfig, ...] = ()
    """Numbers whose drift is not alerted."""
    maintenance: tuple[MaintenanceConfig, ...] = ()
    """Times during which no alert opens."""
    alerts: AlertsConfig = Field(default_factory=AlertsConfig)
    receivers: tuple[ReceiverConfig, ...] = ()
    """Where alerts are sent, in addition to the log."""
    store: StoreConfig = Field(default_factory=StoreConfig)
    web: WebConfig = Field(default_factory=WebConfig)
    heartbeat: HeartbeatConfig = Field(default_factory=HeartbeatConfig)
    metrics: MetricsConfig = Field(default_factory=MetricsConfig)
    log: LogConfig = Field(default_factory=LogConfig)
    _warnings: list[str] = PrivateAttr(default_factory=list)
    _file: str | None = PrivateAttr(default=None)
    _file_digest: str | None = PrivateAttr(default=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing by itself: `load_config` brings file and environment."""
        return (init_settings,)

    @classmethod
    def _settings_log_debug(cls, states: dict[str, dict[str, Any]]) -> None:
        """Log nothing: pydantic-settings would log every raw value, secrets too, when asked to debug."""

    @field_validator("maintenance", mode="before")
    @classmethod
    def _in_the_schedules_zone(cls, value: Any, info: ValidationInfo) -> Any:
        schedule = info.data.get("schedule")
        if not isinstance(schedule, ScheduleConfig) or not isinstance(value, list):
            return value
        zone = {"timezone": schedule.timezone}
        return [zone | window if isinstance(window, dict) else window for window in value]

    def noting(self, *, file: str | None, file_digest: str | None, warnings: list[str]) -> Self:
        """Note which content of which file this is, and what is questionable but valid."""
        self._file, self._file_digest, self._warnings = file, file_digest, warnings
        return self

    @property
    def file(self) -> str | None:
        """The path of the file; None without one."""
        return self._file

    @property
    def file_digest(self) -> str | None:
        """Of the file's bytes, as `sha256sum` shows it, behind "sha256:"; None without a file."""
        return self._file_digest

    @property
    def warnings(self) -> list[str]:
        """What is valid but probably not meant; sentences without values."""
        return self._warnings

    def public(self) -> dict[str, Any]:
        """Return all values fit for JSON and for people, secrets starred."""
        shown = public(self)
        shown["store"]["url"] = self.store.safe_url
        shown["severity"] = {"default": self.severity.default, **self.severity.codes}
        return shown
