"""HTTP as every part of the program uses it.

`client` builds the one client, `errors` translates what it raises, `request` asks for short answers,
`retry_after` reads that header, and `text` makes what the other side said fit for a log.
"""
