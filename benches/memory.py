#!/usr/bin/env python3
"""Memory of Ringway for each connection that is in the midst of something: idle, open as a tunnel or an event stream,
or stalled in its upload.

    cargo build --release
    python3 benches/memory.py                      # 2,000 connections of each kind
    python3 benches/memory.py target/debug/ringway tunnel events

CONNECTIONS: how many. One shard; origin and clients live in this script's process. For each kind a fresh gateway does
one of it, is weighed (Pss), does CONNECTIONS of them one after the other, all of which stay open, is weighed again.
What the kernel holds for the sockets is not in it.
"""

import asyncio
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile

CONNECTIONS = int(os.environ.get("CONNECTIONS", "2000"))
SETTLE_S = 3
TIMEOUT_S = 20
UPLOAD_BYTES = 200_000  # enough that the gateway takes a large buffer for it
FIELDS = "Host: bench\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\nCookie: session=0123456789abcdef\r\n"
REQUESTS = {
    "idle": f"GET /idle HTTP/1.1\r\n{FIELDS}\r\n",
    "tunnel": f"GET /tunnel HTTP/1.1\r\n{FIELDS}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "events": f"GET /events HTTP/1.1\r\n{FIELDS}\r\n",
    "upload": f"PUT /upload HTTP/1.1\r\n{FIELDS}Transfer-Encoding: chunked\r\n\r\n"
              f"ffffff\r\n{'x' * UPLOAD_BYTES}",
}
ANSWERS = {
    "/idle": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "/tunnel": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nok",
    "/events": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
}
CONFIG = """
[server]
listen = "127.0.0.1:0"
shards = 1
[log]
access = "off"
[upstream.origin]
targets = ["http://127.0.0.1:{port}"]
idle_timeout = "1h"
response_timeout = "1h"
[[route]]
name = "all"
path = "/*"
upstream = "origin"
"""


class Origin:
    """Answers by path; of an upload it says nothing, but counts the bytes."""

    def __init__(self):
        self.received = 0

    async def start(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ", 2)[1].decode()
                if path in ANSWERS:
                    writer.write(ANSWERS[path])
                while path != "/idle" and (more := await reader.read(65536)):
                    self.received += len(more)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


def start(binary, port, directory):
    config = pathlib.Path(directory) / "gateway.toml"
    config.write_text(CONFIG.format(port=port))
    process = subprocess.Popen([binary, "run", "--config", config], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    return process, int(re.search(r"http://[\d.]+:(\d+)", line).group(1))


def pss_bytes(pid):
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+)", rollup, re.M).group(1)) * 1024


async def begin(kind, port, origin):
    """A connection that has come as far as this kind goes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = origin.received
    writer.write(REQUESTS[kind].encode())
    await writer.drain()
    if kind == "upload":
        while origin.received < received + UPLOAD_BYTES:
            await asyncio.sleep(0.001)
    else:
        await reader.readuntil(b"ok")
    return writer


async def weigh(kind, binary):
    origin = await Origin().start()
    with tempfile.TemporaryDirectory() as directory:
        process, port = start(binary, origin.port, directory)
        try:
            (await asyncio.wait_for(begin(kind, port, origin), TIMEOUT_S)).close()
            await asyncio.sleep(SETTLE_S)
            before = pss_bytes(process.pid)
            opened = [await asyncio.wait_for(begin(kind, port, origin), TIMEOUT_S) for _ in range(CONNECTIONS)]
            await asyncio.sleep(SETTLE_S)
            after = pss_bytes(process.pid)
            lost = sum(writer.transport.is_closing() for writer in opened)
            for writer in opened:
                writer.transport.abort()
            if lost:
                sys.exit(f"{lost} of {CONNECTIONS} connections were closed")
            return (after - before) / CONNECTIONS
        finally:
            process.kill()
            process.wait()


def main():
    arguments = sys.argv[1:]
    binary = arguments.pop(0) if arguments and arguments[0] not in REQUESTS else "target/release/ringway"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for kind in arguments or REQUESTS:
        print(f"{kind:8} {asyncio.run(weigh(kind, binary)) / 1024:8.2f} KiB a connection", flush=True)


if __name__ == "__main__":
    main()
