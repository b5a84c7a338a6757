"""Alertmanager is different: level-triggered, without an outbox.

It wants to be told again and again what is firing, and considers resolved what it no longer hears of. So each
URL has a `poster` that, every `resend_interval` and at once on a change, reads what is open (`level`),
settles under which labels each episode goes (`labels`), renders an alert for each (`render`), and posts all:

    open      startsAt = when the episode opened, always; endsAt = now + `expire_after`
    ended     endsAt = when it ended, until accepted by that URL and for 15 min of successful posts more

A restart of Alertmanager heals itself with the next post, a resolve waits until it can be told, and a monitor
that is away for less than `expire_after` resolves nothing. All of this depends on two rules. What was posted
must be known to end it, so it is written down before it is posted. And a post must never be overtaken by an
older one, so each URL has one poster at a time, which reads the state only after its last post returned.

API: https://github.com/prometheus/alertmanager/blob/v0.25.0/api/v2/openapi.yaml
"""

from monitor.notify.alertmanager.level import Level, PostTarget
from monitor.notify.alertmanager.poster import Posters
from monitor.notify.alertmanager.receiver import AlertmanagerReceiver, Login, PosterParts

__all__ = ["AlertmanagerReceiver", "Level", "Login", "PostTarget", "PosterParts", "Posters"]
