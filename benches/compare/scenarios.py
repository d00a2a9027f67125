"""What is measured: the scenarios, and the rounds of each, interleaved over the proxies."""

import contextlib
import dataclasses

import checks
import jwt
import load
import programs
import servers

WARM_UP_S = 1


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a scenario's table: a proxy, driven on one path."""

    name: str
    proxy: str
    path: str


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
    # The folder of configs/ with the templates; the proxies that have one there take part.
    configs: str = "plain"
    # Ringway's further rows, each on the path /NAME/small: the µs it may take beyond the row `plain`, or None.
    parts: dict = dataclasses.field(default_factory=dict)

    def rows(self, proxies):
        """The rows of the table: each proxy of these that takes part, then ringway's parts."""
        folder = programs.CONFIGS / self.configs
        part_takers = [name for name in proxies if (folder / programs.PROXIES[name].config).exists()]
        rows = [Row(name, name, self.path) for name in part_takers]
        if "ringway" in part_takers:
            rows += [Row(f"ringway {part}", "ringway", f"/{part}/small") for part in self.parts]
        return rows


# To add a scenario: an entry here, and what it asks for in configs/origin.conf.
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("small", "Small body, 64 keep-alive connections", goal=0.95),
        Scenario("large", "1 MiB bodies, 16 keep-alive connections", path="/1m", connections=16, goal=0.8),
        Scenario("close", "A new connection per request, 64 at a time", headers=("Connection: close",)),
        Scenario("idle", "4,000 idle connections, one request done on each", connections=4000, goal=4096, idle=True),
        Scenario("script", "A header policy in a script, small body, 64 keep-alive connections", goal=0.8,
                 configs="script", path="/script/small", headers=checks.SCRIPT_HEADERS, parts={"plain": None}),
        Scenario("policies", "A JWT, a rate limit and the header policy together, 64 keep-alive connections", goal=0.25,
                 configs="policies", path="/all/small", headers=checks.POLICY_HEADERS,
                 parts={"plain": None, "jwt": 1, "limit": 0.5, "script": None}),
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
    """All rounds of a scenario: the name of a row to the list of what its rounds measured, in order."""
    with origin(setup) as source:
        return (measure_idle if scenario.idle else measure_load)(scenario, setup, source, progress)


def measure_load(scenario, setup, source, progress):
    """One after the other, again and again, so that a noisy minute falls on all of them."""
    rows = scenario.rows(setup.proxies)
    results = {row.name: [] for row in rows}
    with contextlib.ExitStack() as stack:
        proxies = {name: stack.enter_context(start(name, scenario, setup, source))
                   for name in dict.fromkeys(row.proxy for row in rows)}

        def drive(row, seconds):
            return load.drive(proxies[row.proxy], setup.load_core, row.path, scenario.connections, scenario.headers,
                              seconds)

        for row in rows:
            progress(f"{scenario.name}: warming up {row.name}")
            checks.check(proxies[row.proxy], row.path, scenario.headers)
            drive(row, WARM_UP_S)
        for number in range(setup.rounds):
            for row in rows:
                progress(f"{scenario.name}: round {number + 1} of {setup.rounds}, {row.name}")
                results[row.name].append(drive(row, setup.seconds))
    return results


def measure_idle(scenario, setup, source, progress):
    """A fresh process each time: one that has held so many connections before would hide their cost."""
    rows = scenario.rows(setup.proxies)
    results = {row.name: [] for row in rows}
    for number in range(setup.rounds):
        for row in rows:
            progress(f"{scenario.name}: round {number + 1} of {setup.rounds}, {row.name}")
            with start(row.proxy, scenario, setup, source) as proxy:
                results[row.name].append(load.idle_bytes(proxy, scenario.connections))
    return results


def origin(setup):
    """The origin, beside wrk, with its 1 MiB file."""
    files = setup.dir / "files"
    files.mkdir(parents=True, exist_ok=True)
    (files / "1m").write_bytes(b"ringway\n" * (1024 * 1024 // 8))
    return servers.Server(programs.ORIGIN, ".", setup.load_core, setup.dir, FILES_DIR=files)


def start(name, scenario, setup, source):
    return servers.Server(programs.PROXIES[name], scenario.configs, setup.proxy_core, setup.dir,
                          ORIGIN_PORT=source.port, NGINX_MODULES=programs.nginx_modules(),
                          SCRIPTS=programs.CONFIGS / "script", **jwt.VALUES)
