"""Telling people: which receiver hears what (`routing`), and bringing it there (`drain`).

A new receiver is one module here, with a class that is a `delivery.Receiver` (a pure function renders, a thin
`send` posts with what `http` offers), and one entry in the table of receiver types in `app.py`. Nothing else
knows the types. The drain, the order of messages and the retries are the same for all of them.
"""
