"""A double of the VoiceLink API with scripted scenarios: for `simulate`, `demo` and tests."""

from monitor.simulator.answer import render
from monitor.simulator.api import BASE_PATH, CONNECTIONS_PATH, SYNC_PATH, Seen
from monitor.simulator.faults import FaultKind
from monitor.simulator.scenario import Scenario, load_scenario, parse_scenario, shipped_scenario
from monitor.simulator.server import Simulator
from monitor.simulator.shape import build_world
from monitor.simulator.steps import VOCABULARY
from monitor.simulator.world import ScenarioError, SimulatedAccount, SimulatedConnection, World

__all__ = [
    "BASE_PATH",
    "CONNECTIONS_PATH",
    "SYNC_PATH",
    "VOCABULARY",
    "FaultKind",
    "Scenario",
    "ScenarioError",
    "Seen",
    "SimulatedAccount",
    "SimulatedConnection",
    "Simulator",
    "World",
    "build_world",
    "load_scenario",
    "parse_scenario",
    "render",
    "shipped_scenario",
]
