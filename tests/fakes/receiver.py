"""A receiver that is told what to answer."""

import asyncio
from collections.abc import Callable

from monitor.errors import DeliveryError
from monitor.notify.delivery import Delivery

Answer = str | BaseException | asyncio.Event | None


class FakeReceiver:
    """Records every try in `tried`, and what it took in `taken`, as delivery ids.

    Args:
        name: Its name.
        answer: Asked at each try: a text or None takes the message, an exception is raised, an event is
            waited for before the message is taken.
        timeout_s: As the drain sees it; runs in real time.
    """

    def __init__(
        self, name: str, answer: Callable[[Delivery], Answer] = lambda _: "ok", *, timeout_s: float = 10.0
    ) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self.answer = answer
        self.tried: list[str] = []
        self.taken: list[str] = []

    async def send(self, delivery: Delivery) -> str | None:
        """Answer as told."""
        self.tried.append(delivery.id)
        answer = self.answer(delivery)
        await asyncio.sleep(0)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            answer = "late"
        self.taken.append(delivery.id)
        return answer


def refuse_first(times: int, error: DeliveryError) -> Callable[[Delivery], Answer]:
    """Return an answer that refuses the first tries and takes the message then."""
    return lambda delivery: error if delivery.attempts < times else "ok"
