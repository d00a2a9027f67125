"""Running servers: how they start, what they have used, how they end."""

import os
import pathlib
import pwd
import random
import resource
import shutil
import signal
import socket
import subprocess
import time

import programs

START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 5


def free_port():
    """A port nobody listens on, below the range from which the kernel picks ports for outgoing connections."""
    while True:
        port = random.randrange(10240, 32768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Server:
    """A running program, pinned to a core, alone in its session: what it forks is found and ended with it.

    `folder` is where in `configs/` its template is; `values` are what the template names.
    """

    def __init__(self, program, folder, core, directory, **values):
        self.name = program.name
        self.port = free_port()
        self.dir = directory / program.name
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        values |= {"DIR": self.dir, "PORT": self.port, "USER": pwd.getpwuid(os.geteuid()).pw_name, "FILES": files}
        values["CONFIG"] = self.dir / program.config
        values["CONFIG"].write_text(fill((programs.CONFIGS / folder / program.config).read_text(), values))
        command = [fill(word, values) for word in program.command]
        self.command = ["taskset", "-c", str(core), programs.find(command[0]), *command[1:]]
        self.log = self.dir / "output.log"
        self.process = None

    def __enter__(self):
        try:
            with open(self.log, "wb") as log:
                self.process = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            self.wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_until_it_answers(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if get(self.port, "/small").startswith(b"HTTP/1.1 200"):
                    return
            except OSError:
                pass
            time.sleep(0.02)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        raise programs.Failure(f"{self.name} does not answer 200 on /small; the end of {self.log}:\n{tail}")

    def stop(self):
        """Asks, waits, then insists, for the leader and whatever is left of its session."""
        for ask in (signal.SIGTERM, signal.SIGKILL) if self.process else ():
            for pid in self.pids():
                try:
                    os.kill(pid, ask)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while time.monotonic() < deadline:
                self.process.poll()  # reaps the leader, which would else be found for ever
                if not self.pids():
                    return
                time.sleep(0.02)

    def pids(self):
        """All processes of the session that `start_new_session` made."""
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                stat = read_stat(entry.name)
                if stat and int(stat[3]) == self.process.pid:
                    found.append(int(entry.name))
        return found

    def cpu_s(self):
        """User and system time of all its processes and their threads (io_uring's workers too), in seconds."""
        ticks = 0
        for pid in self.pids():
            stat = read_stat(pid)
            ticks += int(stat[11]) + int(stat[12]) if stat else 0
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self):
        """Proportional set size of all its processes. What the kernel holds for its sockets is not in it."""
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total


def read_stat(pid):
    """The fields of /proc/PID/stat that follow the name (the name may hold spaces); None once it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def fill(text, values):
    """A template with every `@NAME@` replaced."""
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def get(port, path):
    """The first bytes of the answer to one request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        return connection.recv(4096)
