"""Watches phone numbers behind VoiceLink connections, read-only.

`sync` is the data path: for each connection of `watch` that is due it asks the provider (`voicelink`), lets
the pure rules of `drift` decide, and commits the outcome to `store`. `notify` delivers what was committed,
`web` and `metrics` show it. `daemon` builds and runs all of this from `config`; `cli` holds the commands,
`simulator` stands in for the provider. `http` is the one HTTP client, `lines` the one writer of the log, and
`shortage` knows what the process lacks itself.
"""

__version__ = "0.1.0"
