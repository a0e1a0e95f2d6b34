"""What the machine itself allows, without any of the two programs.

Reads of one secret over kept TLS connections by `wrk`; and files made one after another: create, write,
fsync, rename. The latter is Python, whose own part is the difference to the same on tmpfs at most.
"""

import glob
import os
import re
import shutil
import subprocess
import time

from contenders import Work
from host import ENVIRONMENT, ROOT, say
from server import values

CONNECTIONS = (1, 4, 8)
SECONDS = 2


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


def files(bench, target, rounds):
    """Seconds for two files for each of n secrets."""
    for n in bench.options.sizes:
        for turn in range(rounds):
            directory = bench.places[target] / f"floor-{n}-{turn}"
            directory.mkdir()
            work = Work(bench.server, directory, n)
            pairs = [(os.fsencode(f"{file}.tmp"), os.fsencode(file), list(values(at // 2, 0).values())[at % 2].encode())
                     for at, file in enumerate(work.files(directory))]
            begin = time.monotonic()
            for temporary, final, content in pairs:
                file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                os.write(file, content)
                os.fsync(file)
                os.close(file)
                os.rename(temporary, final)
            bench.book.add("files", "floor", n, time.monotonic() - begin, target=target)
        say(f"  {2 * n} files on {target}: {1000 * bench.book.median('files', 'floor', n, target=target):.1f} ms")
