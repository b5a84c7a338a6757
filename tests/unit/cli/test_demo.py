"""The demo's story."""

import msgspec

from monitor.cli.demo import Narrator
from monitor.drift.alert import Notice
from monitor.log import build_logger
from monitor.notify.log import LogReceiver
from tests.fakes.alerts import BODY, delivery_of, resolved
from tests.fakes.clock import FakeClock


class Teller:
    """A narrator on a clock moved by hand, the daemon's log that it hears, and what it said."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.said: list[str] = []
        self.narrator = Narrator(lambda text, _style: self.said.append(text), self.clock)
        self.log = build_logger("json", "info", self.narrator, clock=self.clock)


async def test_narrator_tells_alerts_from_the_daemons_log() -> None:
    """An alert, what to do, and its end, each with its second; the rest is passed over."""
    teller = Teller()
    teller.narrator.begin()
    receiver = LogReceiver(teller.log)
    teller.log.info("sync.completed", connection="acme-sales")
    await teller.clock.advance(8)
    teller.narrator.happened("A bot goes away.")
    await receiver.send(delivery_of())
    await teller.clock.advance(4)
    await receiver.send(delivery_of(msgspec.structs.replace(BODY, change=Notice.ACKNOWLEDGED)))
    await receiver.send(delivery_of(resolved()))
    assert teller.said == [
        "  8.0s  provider  A bot goes away.",
        "  8.0s  monitor   alert opened, critical: acme-sales: 1 number NO_BOT",
        "  8.0s            to do: Assign a bot.",
        " 12.0s  monitor   alert acknowledged, critical: acme-sales: 1 number NO_BOT",
        " 12.0s  monitor   alert over: acme-sales: 1 number NO_BOT",
    ]
    assert (teller.narrator.alerts, teller.narrator.open) == (1, 0)


def test_narrator_waits_until_it_may_begin() -> None:
    """What happens before the greeting is told after it, in its order."""
    teller = Teller()
    teller.narrator.happened("first")
    teller.log.error("internal.error", error="broken")
    assert teller.said == []
    teller.narrator.begin()
    assert teller.said == ["  0.0s  provider  first", "  0.0s  monitor   internal.error: broken"]


def test_narrator_puts_pieces_together() -> None:
    """A line may come in pieces; what is no log line is nothing to tell."""
    teller = Teller()
    teller.narrator.begin()
    for piece in ('{"event": "sync.he', 'ld", "connection": "acme"}', "\nnoise\n[]\n", ""):
        teller.narrator.write(piece)
    assert teller.said == ["  0.0s  monitor   held back an answer about acme"]
