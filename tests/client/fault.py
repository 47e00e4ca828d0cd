"""tests/crash/fault.c, compiled and laid under a server: a disk whose k-th call fails, or that is full while a file of some name exists."""

import collections
import os
import subprocess

from penstock_client import ROOT

Call = collections.namedtuple("Call", "ns number name path failed")


def compile_shim(folder, name="fault"):
    """Into a folder of the test's own: fault.c, or another of tests/crash."""
    shim = os.path.join(folder, f"{name}.so")
    flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror", "-O1", "-shared", "-fPIC"]
    source = str(ROOT / "tests" / "crash" / f"{name}.c")
    subprocess.run([os.environ.get("CC", "cc"), *flags, "-o", shim, source, "-ldl"], check=True)
    return shim


def environment(shim, data_dir, **settings):
    """For Server(env=...): at, error, trace, full, free, as the head of fault.c has them."""
    env = {f"PENSTOCK_FAULT_{name.upper()}": str(value) for name, value in settings.items()}
    return dict(env, LD_PRELOAD=shim, PENSTOCK_FAULT_DIR=os.path.realpath(data_dir))


def calls(trace):
    if not os.path.exists(trace):
        return []
    with open(trace) as lines:
        words = [line.split() for line in lines]
    return [Call(int(w[0]), int(w[1]), w[2], w[3], w[-1] == "FAILED") for w in words]
