"""Notifications: who gets which messages (`routing`), and their delivery (`drain`).

Adding a receiver touches three files:

1. Its module here: a class that is a `delivery.Receiver`. A pure `render` makes the message (`wording` has an
   alert in words), a thin `send` posts it (`http` says what an answer means).
2. Its table in `monitor/config/receivers.py`: a model with a `type` of its own, in the `Receiver` union.
3. Its case in `monitor/daemon/receivers.py`, which builds the one from the other.

Order, retries, leases and metrics are the drain's, and the same for all receivers. Alertmanager alone is
different: it gets no messages but is kept level with what is open; see `alertmanager`.
"""
