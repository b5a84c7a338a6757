"""Real servers on loopback for the tests: one module each, every process killed when its test ends."""
