"""The JSON Schema of the config file."""

from typing import Any

from monitor.config.settings import Config


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the whole config, every key described."""
    schema = Config.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "The config of voicelink-monitor",
    }
