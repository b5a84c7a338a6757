"""The commands: each parses, calls, renders.

To add a command `name`:

1. Write it in a module of its own here: a function whose parameters are its arguments and options, and whose
   docstring is its `--help`: what it does, then "Exit codes:", then "Examples:" (which tests parse). `shell`
   has what commands share: `--format`, the filters, the config, the store.
2. Add a line to `catalog`.
3. Name it in README's table of commands.

`main` builds the command line from the catalog, imports a command's module when it is run, and turns what it
raises into an exit code. Data goes to `shell.terminal.line`, `.table` and `.json`, all else to `.note`.
"""
