"""What the machine itself allows, without any of the two programs.

Reads of one secret over kept TLS connections by `wrk`; and by a program that does nothing besides
(`make floor`, tests/micro/src/floor.rs): the files alone, reads one after another, and a process that wakes once
a second.
"""

import glob
import os
import re
import shutil
import subprocess
import time

from figures import seconds
from host import ENVIRONMENT, ROOT, say

CONNECTIONS = (1, 4, 8)
SECONDS = 2
CHECKED = 500  # secrets whose files tell how the disk is
SHAKEN = 1.5
SLOW = 40e-6  # of processor time for a new file, which otherwise takes 10 to 20 µs


def reads(bench, rounds):
    """Reads a second, by the number of connections (which stands in the place of n)."""
    wrk, libraries = find_wrk()
    if not wrk:
        say("  `wrk` is missing (Debian: apt install wrk): no floor of reads")
        return
    environment = {**ENVIRONMENT, **({"LD_LIBRARY_PATH": libraries} if libraries else {})}
    bench.server.fill(1)
    for _ in range(rounds):
        for count in CONNECTIONS:
            command = [wrk, f"-t{min(2, count)}", f"-c{count}", f"-d{SECONDS}s",
                       "-H", "X-Vault-Token: root",
                       f"{bench.server.addresses['tls']}/v1/secret/data/bench/s0"]
            said = subprocess.run(command, env=environment, capture_output=True, text=True,
                                  check=True).stdout
            if "Non-2xx" in said:
                raise SystemExit(f"bench: wrk was refused:\n{said}")
            rate = float(re.search(r"Requests/sec: +([\d.]+)", said)[1])
            bench.book.add("reads_per_second", "wrk", count, rate)
    for count in CONNECTIONS:
        say(f"  {count} connections: {bench.book.median('reads_per_second', 'wrk', count):.0f} reads a second")


def find_wrk():
    """The program, and where its library is if it is not installed."""
    if installed := shutil.which("wrk"):
        return installed, None
    own = ROOT / ".tools/wrk/usr/bin/wrk"
    libraries = glob.glob(str(ROOT / ".tools/wrk/usr/lib/*/libluajit*"))
    if os.access(own, os.X_OK) and libraries:
        return str(own), os.path.dirname(libraries[0])
    return None, None


def files(bench, target, n):
    """Two files for each of n secrets, by one thread: seconds, and of processor time."""
    if said := write(bench, target, f"floor-{n}-{len(bench.book.of('files', 'floor', n, target=target))}", n):
        bench.book.add("files", "floor", n, said["time"], target=target)
        bench.book.add("files_cpu", "floor", n, said["cpu"], target=target)


def tell_files(bench, target, n):
    took, used = (bench.book.median(figure, "floor", n, target=target) for figure in ("files", "files_cpu"))
    if took:
        say(f"  the files alone: {seconds(took)}, {seconds(used)} of processor time")


def write(bench, target, name, n):
    directory = bench.places[target] / name
    directory.mkdir()
    return dict(floor(bench, "files", directory, n))


def reads_one_by_one(bench, rounds):
    """Over one kept connection with TLS: processor time."""
    server = bench.server
    for n in bench.options.sizes:
        for _ in range(rounds):
            said = dict(floor(bench, "reads", server.tls_place, server.ca, "root", n))
            if not said:
                return
            bench.book.add("reads_cpu", "floor", n, said["cpu"])
        say(f"  {n} reads: {seconds(bench.book.median('reads_cpu', 'floor', n))} of processor time")


def wakes(bench, times):
    """Processor time a second of who wakes only, of who reads a secret as well and looks at two files, and of who
    reads it and writes them anew in each of the places."""
    server, seen, written = bench.server, [], {}
    for field in "ab":
        file = bench.places[bench.place] / f"seen.{field}"
        file.write_text("x" * 100)
        seen.append(file)
    for target, place in bench.places.items():
        directory = place / "floor-wakes"
        directory.mkdir(exist_ok=True)
        written[str(directory)] = target
    said = floor(bench, "wakes", server.plain_place, server.tls_place, server.ca, "root", times, *seen, *written)
    for kind in ("waking", "plain", "tls", *written):
        # Their mean, as it is the mean that is taken of the two programs.
        if used := [value for found, value in said if found == kind]:
            figure, target = (f"wake_{'write' if kind in written else kind}", written.get(kind, bench.place))
            bench.book.add(figure, "floor", 1, sum(used) / len(used), target=target)
            told = f"{figure} {target}" if kind in written else figure
            say(f"  floor, {told:<18} {seconds(bench.book.median(figure, 'floor', 1, target=target))} a second")


def wait_for_disk(bench, patience):
    """Some file systems are slower for minutes after much was deleted, as ext4 without a journal is."""
    limit = time.monotonic() + patience
    while (slow := create(bench)) and slow > SLOW and time.monotonic() < limit:
        say(f"  a new file on the disk takes {seconds(slow)} of processor time: was much deleted there in the last "
            "minutes? Waiting")
        time.sleep(20)


def check_disk(bench):
    """How much processor time files on the disk take at this moment: a run that was shaken says so."""
    said = write(bench, "disk", fresh(bench), CHECKED)
    if not said:
        return
    checks = bench.book.head.setdefault("disk_checks", [])
    checks.append({name: float(f"{value:.3g}") for name, value in (
        ("new_file", create(bench)), ("secret", said["cpu"] / CHECKED))})
    say(f"  the disk, in processor time: a new file {seconds(checks[-1]['new_file'])}, a secret "
        f"{seconds(checks[-1]['secret'])}")
    if is_shaken(checks):
        say("  SHAKEN: was much deleted there in the last minutes? The figures on disk do not hold")


def create(bench):
    """Processor time of one new file on the disk."""
    directory = bench.places["disk"] / fresh(bench)
    directory.mkdir()
    said = dict(floor(bench, "creates", directory, CHECKED))
    return said["cpu"] / CHECKED if said else None


def fresh(bench):
    """The name of another directory."""
    bench.runs += 1
    return f"{bench.runs}-check"


def is_shaken(checks):
    secrets = [check["secret"] for check in checks]
    return bool(checks) and (max(secrets) > SHAKEN * min(secrets) or max(check["new_file"] for check in checks) > SLOW)


def floor(bench, *words):
    """What the program prints: names with seconds. Nothing where there is none."""
    if not os.access(bench.options.floor, os.X_OK):
        say(f"  no program `{bench.options.floor}` (make floor): no floor of {words[0]}")
        return []
    said = subprocess.run([bench.options.floor, *map(str, words)], env=ENVIRONMENT, capture_output=True, text=True,
                          check=False)
    if said.returncode:
        raise SystemExit(f"bench: the floor of {words[0]} failed:\n{said.stderr}")
    return [(name, float(value)) for name, value in map(str.split, said.stdout.splitlines())]
