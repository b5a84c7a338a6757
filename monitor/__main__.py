"""Entry point of the command `voicelink-monitor` and of `python -m monitor`."""

from monitor.cli.main import main

if __name__ == "__main__":
    main()
