"""The config: TOML and environment, checked as a whole, secrets kept out of every message."""

from monitor.config.checks import requests_per_minute
from monitor.config.environment import process_environment, variable_name, without_key_log
from monitor.config.lists import AccountConfig, ConnectionConfig, IgnoreConfig, MaintenanceConfig
from monitor.config.load import Reading, config_schema, find_config_file, load_config, read_config
from monitor.config.public import secrets_of
from monitor.config.receivers import (
    AlertmanagerConfig,
    AppriseConfig,
    BasicAuthConfig,
    PagerDutyConfig,
    ReceiverConfig,
    SlackConfig,
    WebhookConfig,
)
from monitor.config.settings import Config, Timing
from monitor.config.values import Listen
from monitor.units import format_duration, parse_duration, parse_size

__all__ = [
    "AccountConfig",
    "AlertmanagerConfig",
    "AppriseConfig",
    "BasicAuthConfig",
    "Config",
    "ConnectionConfig",
    "IgnoreConfig",
    "Listen",
    "MaintenanceConfig",
    "PagerDutyConfig",
    "Reading",
    "ReceiverConfig",
    "SlackConfig",
    "Timing",
    "WebhookConfig",
    "config_schema",
    "find_config_file",
    "format_duration",
    "load_config",
    "parse_duration",
    "parse_size",
    "process_environment",
    "read_config",
    "requests_per_minute",
    "secrets_of",
    "variable_name",
    "without_key_log",
]
