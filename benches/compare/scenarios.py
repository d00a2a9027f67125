"""What is measured: the scenarios, and the rounds of each, interleaved over the proxies."""

import contextlib
import dataclasses

import load
import programs
import servers

WARM_UP_S = 1


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One kind of load. `goal` bounds ringway: a ratio to the better of the others, or bytes where `idle`."""

    name: str
    title: str
    path: str = "/small"
    connections: int = 64
    headers: tuple = ()
    goal: float | None = None
    idle: bool = False


# To add a scenario: an entry here, and what it asks for in configs/origin.conf.
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("small", "Small body, 64 keep-alive connections", goal=0.95),
        Scenario("large", "1 MiB bodies, 16 keep-alive connections", path="/1m", connections=16, goal=0.8),
        Scenario("close", "A new connection per request, 64 at a time", headers=("Connection: close",)),
        Scenario("idle", "4,000 idle connections, one request done on each", connections=4000, goal=4096, idle=True),
    )
}


@dataclasses.dataclass(frozen=True)
class Setup:
    """How to measure: which proxies, how often and how long, on which cores, with which files."""

    proxies: list
    rounds: int
    seconds: int
    proxy_core: int
    load_core: int
    dir: object


def measure(scenario, setup, progress):
    """All rounds of a scenario: proxy name to the list of what its rounds measured, in order."""
    with origin(setup) as source:
        return (measure_idle if scenario.idle else measure_load)(scenario, setup, source, progress)


def measure_load(scenario, setup, source, progress):
    """One after the other, again and again, so that a noisy minute falls on all of them."""
    results = {name: [] for name in setup.proxies}
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(start(name, setup, source)) for name in setup.proxies]
        how = (setup.load_core, scenario.path, scenario.connections, scenario.headers)
        for proxy in proxies:
            progress(f"{scenario.name}: warming up {proxy.name}")
            load.drive(proxy, *how, WARM_UP_S)
        for number in range(setup.rounds):
            for proxy in proxies:
                progress(f"{scenario.name}: round {number + 1} of {setup.rounds}, {proxy.name}")
                results[proxy.name].append(load.drive(proxy, *how, setup.seconds))
    return results


def measure_idle(scenario, setup, source, progress):
    """A fresh process each time: one that has held so many connections before would hide their cost."""
    results = {name: [] for name in setup.proxies}
    for number in range(setup.rounds):
        for name in setup.proxies:
            progress(f"{scenario.name}: round {number + 1} of {setup.rounds}, {name}")
            with start(name, setup, source) as proxy:
                results[name].append(load.idle_bytes(proxy, scenario.connections))
    return results


def origin(setup):
    """The origin, beside wrk, with its 1 MiB file."""
    files = setup.dir / "files"
    files.mkdir(parents=True, exist_ok=True)
    (files / "1m").write_bytes(b"ringway\n" * (1024 * 1024 // 8))
    return servers.Server(programs.ORIGIN, setup.load_core, setup.dir, FILES_DIR=files)


def start(name, setup, source):
    return servers.Server(programs.PROXIES[name], setup.proxy_core, setup.dir, ORIGIN_PORT=source.port)
