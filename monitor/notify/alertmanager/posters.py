"""All receivers of the type `alertmanager`, run and exchanged together."""

import asyncio
from collections.abc import Iterable

from monitor.notify.alertmanager.receiver import AlertmanagerReceiver

REPLACE_GRACE_S = 10.0


class Posters:
    """Runs the receivers in force; `replace` exchanges them.

    The new ones start when the old ones' last posts have returned: a post must not overtake an older one.
    """

    def __init__(self) -> None:
        self._wanted: tuple[AlertmanagerReceiver, ...] = ()
        self._running: dict[AlertmanagerReceiver, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._closing = False

    async def run(self) -> None:
        """Post until cancelled or closed."""
        try:
            while not self._closing:
                self._changed.clear()
                await self._stop([old for old in self._running if old not in self._wanted], REPLACE_GRACE_S)
                for receiver in self._wanted:
                    if receiver not in self._running and not self._closing:
                        self._running[receiver] = asyncio.create_task(
                            receiver.run(), name=f"posters {receiver.name}"
                        )
                await self._changed.wait()
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def wake(self) -> None:
        """Say that episodes began, changed or ended."""
        for receiver in self._wanted:
            receiver.wake()

    def replace(self, receivers: Iterable[AlertmanagerReceiver]) -> None:
        """Take these receivers from now on."""
        self._wanted = tuple(receivers)
        self._changed.set()

    async def released(self, receiver: AlertmanagerReceiver) -> None:
        """Wait until a receiver that was replaced posts no more, to close its connections."""
        task = self._running.get(receiver)
        if task is not None:
            await asyncio.wait([task])

    async def close(self, grace_s: float) -> None:
        """Let the posts that are under way return, for so many seconds; then stop."""
        self._closing = True
        await self._stop(list(self._running), grace_s)
        self._changed.set()

    async def _stop(self, receivers: Iterable[AlertmanagerReceiver], grace_s: float) -> None:
        stopping = [receiver for receiver in receivers if receiver in self._running]
        await asyncio.gather(*(receiver.close(grace_s) for receiver in stopping))
        for receiver in stopping:
            task = self._running.pop(receiver, None)
            if task is not None:
                await asyncio.wait([task])
