"""The VoiceLink drift monitor: watches phone numbers behind VoiceLink connections, read-only."""

__version__ = "0.1.0"
