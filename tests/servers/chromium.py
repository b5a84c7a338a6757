"""The installed Chromium, for tests of the pages."""

from pathlib import Path

from tests.servers.require import require

LAUNCH_ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""Keeps it from talking to anybody but the page; for a driver's launch, beside `headless=True`."""


def require_chromium() -> Path:
    """Return its path, for a driver's `executable_path`; nothing is ever downloaded."""
    return require("chromium", "chromium-browser", "google-chrome")
