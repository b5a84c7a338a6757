"""Entry point of the command `voicelink-monitor` and of `python -m monitor`."""

import sys

from monitor.daemon.signals import hold_back


def main() -> None:
    """Run the command; one that may be the daemon's must not be ended, or miss a signal, while it loads."""
    if "run" in sys.argv[1:]:
        hold_back()
    from monitor.cli.main import main as command  # noqa: PLC0415 - takes long, and signals may come meanwhile

    command()


if __name__ == "__main__":
    main()
