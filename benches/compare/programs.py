"""The programs: their configuration templates, the commands that run them in the foreground, where they are found."""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess

CONFIGS = pathlib.Path(__file__).parent / "configs"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")).absolute()
ENVOY_DIR = TARGET / "compare/envoy"
# The services' programs sit in /usr/sbin, which is not on everybody's PATH.
SEARCH_PATH = os.environ.get("PATH", os.defpath) + f":/usr/sbin:/usr/local/sbin:{ENVOY_DIR}/bin"


class Failure(Exception):
    """Something the user must act on; its text is what they read."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A server: its template's name and the command that runs it in the foreground, `@NAMES@` filled in."""

    name: str
    config: str
    command: tuple
    version: tuple = ("--version",)


ENVOY = ("envoy", "-c", "@CONFIG@", "--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
NGINX = ("nginx", "-p", "@DIR@", "-e", "@DIR@/error.log", "-c", "@CONFIG@")
ORIGIN = Program("origin", "origin.conf", NGINX, ("-v",))
RINGWAY = ("run", "--config", "@CONFIG@")
# Another build of ringway, to see what a change costs: the path of its binary.
BASELINE = os.environ.get("BASELINE")
# To add a proxy: its template in each folder of configs/ whose scenarios it takes part in, a line here.
PROXIES = {
    proxy.name: proxy
    for proxy in (
        Program("nginx", "nginx.conf", NGINX, ("-v",)),
        Program("haproxy", "haproxy.cfg", ("haproxy", "-db", "-f", "@CONFIG@"), ("-v",)),
        Program("envoy", "envoy.yaml", ENVOY),
        Program("ringway", "ringway.toml", (str(TARGET / "release/ringway"), *RINGWAY)),
        *([Program("baseline", "ringway.toml", (BASELINE, *RINGWAY))] if BASELINE else []),
    )
}


def find(program):
    """The path of an executable, or a Failure that says how to get it."""
    path = shutil.which(program, path=SEARCH_PATH)
    if path:
        return path
    if program.endswith("/ringway"):
        raise Failure(f"{program} is not there\nrun `cargo build --release` first, or `make compare`, which does")
    raise Failure(f"{program} is not installed\nrun `make compare`, which installs it, or `apt-get install {program}`")


def nginx_modules():
    """The folder of the modules that nginx can load, as its build says; Debian's if it does not."""
    out = subprocess.run([find("nginx"), "-V"], capture_output=True, text=True)
    found = re.search(r"--modules-path=(\S+)", out.stderr)
    return found[1] if found else "/usr/lib/nginx/modules"


def version_of(program):
    """The first line in which a program says its version, without the path that it may have been called by."""
    out = subprocess.run([find(program.command[0]), *program.version], capture_output=True, text=True)
    lines = (out.stdout + out.stderr).strip().splitlines()
    return re.sub(r"^/\S*/", "", lines[0]) if lines and out.returncode == 0 else "version unknown"
