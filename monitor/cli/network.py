"""How commands reach the provider and the receivers."""

from monitor.cli.shell import Shell
from monitor.config import process_environment
from monitor.http.client import Network


def network_of(shell: Shell) -> Network:
    """Return it as the environment says, and write what is doubtful about that to standard error.

    Raises:
        StartError: A variable for proxies or certificates cannot be used.
    """
    network = Network(process_environment())
    for warning in network.authorities.warnings:
        shell.terminal.warning(warning)
    return network
