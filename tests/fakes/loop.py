"""An event loop whose clock tests move ahead, for what waits for seconds among real sockets."""

import asyncio


class AheadLoop(asyncio.SelectorEventLoop):
    """Goes by the machine's clock, and by what a test adds to it."""

    ahead_s = 0.0

    def time(self) -> float:
        """Return the seconds that its timers go by."""
        return super().time() + self.ahead_s


def pass_by(seconds: float) -> float:
    """Let time pass for the running loop, whose timers then are due; return its time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, AheadLoop)
    loop.ahead_s += seconds
    return loop.time()
