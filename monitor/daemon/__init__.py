"""The daemon: built from a config, started, reloaded, and closed in order."""
