"""HTTP as every part of the program uses it.

`client` builds the one client, `errors` translates what it raises, `request` asks for short answers,
`retry_after` reads that header, `hosts` tells this machine from others, and `text` makes what the other
side said fit for a log.
"""
