"""Load: a round of wrk against a proxy, and connections that do one request each and then idle."""

import contextlib
import dataclasses
import pathlib
import socket
import subprocess
import time

import programs

SETTLE_S = 1
IDLE_REQUEST = b"GET /small HTTP/1.1\r\nHost: bench\r\n\r\n"


@dataclasses.dataclass(frozen=True)
class Round:
    """What one round of wrk measured."""

    requests_per_s: float
    cpu_us: float  # CPU time of the proxy per request
    p50_us: float
    p99_us: float
    memory_bytes: int  # of the proxy, in the middle of the round
    errors: int  # requests that failed, timed out or were not answered 2xx or 3xx


def drive(proxy, core, path, connections, headers, duration_s):
    """One round: wrk on its core, the proxy's CPU clock read before and after, its memory in between."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{duration_s}s", "--timeout", "5s"]
    command += ["-s", str(pathlib.Path(__file__).parent / "wrk.lua")]
    for header in headers:
        command += ["-H", header]
    before_s = proxy.cpu_s()
    with subprocess.Popen(command + [f"http://127.0.0.1:{proxy.port}{path}"],
                          stdout=subprocess.PIPE, text=True, start_new_session=True) as wrk:
        try:
            time.sleep(duration_s / 2)
            memory = proxy.memory_bytes()
            output, _ = wrk.communicate(timeout=duration_s + 30)
        except BaseException:
            wrk.kill()
            raise
    cpu_s = proxy.cpu_s() - before_s
    totals = [line for line in output.splitlines() if line.startswith("TOTALS ")]
    if wrk.returncode or not totals:
        raise programs.Failure(f"wrk failed against {proxy.name}:\n{output}")
    n = {key: int(value) for key, value in (pair.split("=") for pair in totals[0].split()[1:])}
    if not n["requests"]:
        raise programs.Failure(f"{proxy.name} answered no request on {path}:\n{output}")
    errors = sum(n[kind] for kind in ("connect", "read", "write", "timeout", "status"))
    return Round(n["requests"] / n["duration_us"] * 1e6, cpu_s / n["requests"] * 1e6,
                 n["p50_us"], n["p99_us"], memory, errors)


def idle_bytes(proxy, connections):
    """Memory of the proxy for each of so many connections that did one request and now idle."""
    one_request(open_connection(proxy)).close()  # what it sets up once is not the connections' cost
    time.sleep(SETTLE_S)
    before = proxy.memory_bytes()
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(open_connection(proxy)) for _ in range(connections)]
        for connection in idle:
            one_request(connection)
        time.sleep(SETTLE_S)
        after = proxy.memory_bytes()
        lost = sum(not is_open(connection) for connection in idle)
    if lost:
        raise programs.Failure(f"{proxy.name} closed {lost} of {connections} idle connections")
    return (after - before) / connections


def open_connection(proxy):
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def one_request(connection):
    """Sends a request and reads its whole answer, whose body is the origin's `hello`."""
    connection.sendall(IDLE_REQUEST)
    answer = b""
    while not answer.endswith(b"\r\n\r\nhello\n"):
        more = connection.recv(4096)
        if not more:
            raise programs.Failure(f"a connection was closed after {answer!r}")
        answer += more
    return connection


def is_open(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
