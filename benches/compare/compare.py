#!/usr/bin/env python3
"""`make compare`: ringway and others as one-core proxies under the same load, as tables with ratios."""

import dataclasses
import datetime
import os
import platform
import resource
import shutil
import signal
import sys

sys.dont_write_bytecode = True  # this suite writes to target/compare only

import envoy
import programs
import report
import scenarios

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SPARE_FILES = 200
FILES = 20000  # HAProxy sizes its tables by the limit, so it is the same on every machine that allows it


def main():
    for kind in STOP_SIGNALS:
        signal.signal(kind, stop)
    try:
        setup, chosen = read_environment()
        ok = run(setup, chosen)
    except programs.Failure as failure:
        sys.exit(f"compare: {failure}")
    sys.exit(0 if ok else 1)


def stop(*_):
    """Unwinds, so that every server started is ended; a second Ctrl-C must not cut that short."""
    for kind in STOP_SIGNALS:
        signal.signal(kind, signal.SIG_IGN)
    sys.exit("\ncompare: stopped")


def run(setup, chosen):
    """Measures and prints; the report is written anew after each scenario, so an interrupted run leaves one."""
    shutil.rmtree(setup.dir, ignore_errors=True)
    setup.dir.mkdir(parents=True)
    results_file = setup.dir.parent / "results.md"
    lines = preamble(setup)
    print("\n".join(lines))
    failed = 0
    for scenario in chosen:
        results = scenarios.measure(scenario, setup, progress)
        progress("")
        make_table = report.idle_table if scenario.idle else report.load_table
        section = ["", f"### {scenario.title}", "", *make_table(scenario, results)]
        print("\n".join(section), flush=True)
        lines += section
        results_file.write_text("\n".join(lines) + "\n")
        if not scenario.idle:
            failed += sum(one.errors for rounds in results.values() for one in rounds)
    print(f"\nwritten to {results_file}")
    return not failed


def read_environment():
    """The setup and the scenarios that the environment asks for, each name checked."""
    setup = scenarios.Setup(
        proxies=names("PROXIES", programs.PROXIES),
        rounds=number("ROUNDS", 5),
        seconds=number("SECONDS_PER_ROUND", 5),
        proxy_core=number("PROXY_CORE", 0, least=0),
        load_core=number("LOAD_CORE", 1, least=0),
        dir=programs.TARGET / "compare" / "run",
    )
    listed = [scenarios.SCENARIOS[name] for name in names("SCENARIOS", scenarios.SCENARIOS)]
    chosen = [scenario for scenario in listed if scenario.rows(setup.proxies)]
    if not chosen:
        raise programs.Failure("none of PROXIES takes part in any of SCENARIOS")
    taking_part = {row.proxy for scenario in chosen for row in scenario.rows(setup.proxies)}
    setup = dataclasses.replace(setup, proxies=[name for name in setup.proxies if name in taking_part])
    missing = {setup.proxy_core, setup.load_core} - os.sched_getaffinity(0)
    if missing or setup.proxy_core == setup.load_core:
        raise programs.Failure("two cores are needed, one for the proxy and one for the load\n"
                               "PROXY_CORE and LOAD_CORE name them; this process may use "
                               f"{sorted(os.sched_getaffinity(0))}")
    if "envoy" in setup.proxies:
        envoy.install()
    for program in ("wrk", "taskset", "nginx", *(programs.PROXIES[name].command[0] for name in setup.proxies)):
        programs.find(program)
    os.sched_setaffinity(0, {setup.load_core})  # this program stays off the proxy's core
    raise_file_limit(max(scenario.connections for scenario in chosen))
    return setup, chosen


def names(variable, known):
    """The known names that a variable lists, separated by blanks or commas; all if it is not set."""
    listed = os.environ.get(variable, "").replace(",", " ").split() or list(known)
    unknown = [name for name in listed if name not in known]
    if unknown:
        raise programs.Failure(f"{variable}: no {', '.join(unknown)}; there are {', '.join(known)}")
    return list(dict.fromkeys(listed))


def number(variable, default, least=1):
    """A whole number, at least `least`."""
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or int(text) < least:
        raise programs.Failure(f"{variable} is {text!r}; it must be a whole number, {least} or more")
    return int(text)


def raise_file_limit(connections):
    """For this process and all it starts. A proxy may hold two sockets for each connection."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needed = 2 * connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise programs.Failure(f"{needed} open files are needed, the hard limit is {hard}\n"
                               f"raise it (`ulimit -n {needed}` as root), or leave `idle` out of SCENARIOS")
    soft = max(needed, FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def preamble(setup):
    """What a reader needs to judge the numbers: machine, versions, rounds."""
    how = (f"Measured {datetime.date.today()} on {processor()}, Linux {platform.release()}; "
           f"proxy on core {setup.proxy_core}, origin and wrk on core {setup.load_core}; "
           f"medians of {setup.rounds} interleaved rounds of {setup.seconds} s.")
    return [
        how,
        "",
        *(f"- {name}: {programs.version_of(programs.PROXIES[name])}" for name in setup.proxies),
        f"- origin: {programs.version_of(programs.ORIGIN)}",
    ]


def processor():
    with open("/proc/cpuinfo") as lines:
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"


def progress(text):
    """One line that is written over, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
