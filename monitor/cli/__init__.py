"""The commands: each parses, calls, renders. `main` turns what they raise into exit codes."""
