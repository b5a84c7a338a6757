"""HTTP as every part of the program uses it.

`client` builds the clients, through the `proxies` of the environment and trusting the `certificates` of the
system or of a file; `errors` translates what they raise, `request` asks for short answers,
`retry_after` reads that header, `hosts` tells this machine from others, and `text` makes what the other
side said fit for a log.
"""
