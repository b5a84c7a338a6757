"""The world in a test: the real daemon, on virtual time, in a world driven by one seed."""
