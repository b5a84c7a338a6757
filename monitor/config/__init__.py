"""The config: TOML and environment, checked as a whole, secrets kept out of every message."""

from monitor.config.accounts import Account, Connection
from monitor.config.budget import Timing, requests_per_minute
from monitor.config.load import config_schema, find_config_file, load_config
from monitor.config.receivers import (
    AlertmanagerReceiver,
    AppriseReceiver,
    BasicAuth,
    PagerDutyReceiver,
    Receiver,
    SlackReceiver,
    WebhookReceiver,
)
from monitor.config.settings import Config
from monitor.config.silence import IgnoreRule, MaintenanceWindow
from monitor.config.units import format_duration, parse_duration, parse_size
from monitor.config.values import Listen

__all__ = [
    "Account",
    "AlertmanagerReceiver",
    "AppriseReceiver",
    "BasicAuth",
    "Config",
    "Connection",
    "IgnoreRule",
    "Listen",
    "MaintenanceWindow",
    "PagerDutyReceiver",
    "Receiver",
    "SlackReceiver",
    "Timing",
    "WebhookReceiver",
    "config_schema",
    "find_config_file",
    "format_duration",
    "load_config",
    "parse_duration",
    "parse_size",
    "requests_per_minute",
]
