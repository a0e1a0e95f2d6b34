"""What is measured of both programs, by turns: each function one family of figures."""

import contextlib
import random
import threading
import time

import floor
from contenders import AGENT, KINDS, OURS, Work
from host import memory, processor, say, threads, wait_until
from server import FIELDS

REFRESHED = (1, 100, 1000)
# Of the window that is asked for: the fewer reads there are a second, the longer they need to say something.
WINDOWS = {1: 1.5, 100: 0.6, 1000: 1.0}
DELAYED = 20  # secrets in the measurement of delay


class Bench:
    def __init__(self, options, server, book, places):
        self.options, self.server, self.book, self.places = options, server, book, places
        # For what does not depend on it.
        self.place = "tmpfs" if "tmpfs" in places else "disk"
        self.runs = 0

    @contextlib.contextmanager
    def running(self, program, n, target=None, transport="tls", interval="1h"):
        """The program from its start on. What it has written stays: a file system may be slowed by what was
        deleted a moment ago, as ext4 without a journal is."""
        self.runs += 1
        name = f"{self.runs}-{program.replace(' ', '-')}"
        work = Work(self.server, self.places[target or self.place], n, transport, interval)
        with KINDS[program](self.options.programs[program], work, name) as contender:
            yield contender

    def programs(self, n, turn=0):
        """Each first in every second round; the largest sizes are for ours alone."""
        both = [OURS, AGENT] if n <= self.options.agent_most else [OURS]
        return both[:: 1 if turn % 2 == 0 else -1]

    def finish(self, contender):
        """Waits for all of its files; False where that takes too long."""
        return contender.all_files(self.options.patience) is not None

    def start_up(self, transport, target, rounds):
        """From the start of the program to the last file: time, processor, requests. And, by turns with them, the
        files alone."""
        title(f"start to all files, {transport}, {target}")
        for n in self.options.sizes:
            for turn in range(rounds if n < 1000 else max(1, (rounds + 1) // 2)):
                for program in self.programs(n, turn):
                    self.start_once(program, n, transport, target)
                if transport == "tls":
                    floor.files(self, target, n)
            for figure in ("time", "cpu", "requests"):
                self.tell(figure, n, transport, target)
            if transport == "tls":
                floor.tell_files(self, target, n)

    def start_once(self, program, n, transport, target):
        where = {"transport": transport, "target": target}
        before = self.server.counts()
        with self.running(program, n, target, transport) as contender:
            took = contender.all_files(self.options.patience)
            requests = self.server.counts_since(before)["all"]
            if took:
                contender.verify()
        seconds, cpu = took or (None, None)
        self.book.add("time", program, n, seconds, **where)
        self.book.add("cpu", program, n, cpu, **where)
        self.book.add("requests", program, n, requests, **where)

    def at_rest(self, rounds):
        """Memory and threads, of both at once: they share nothing. Then from SIGTERM to the end, one by one."""
        title(f"at rest, {self.options.settle:g} s after the last file; then SIGTERM")
        for n in self.options.sizes:
            for turn in range(rounds):
                with contextlib.ExitStack() as stack:
                    resting = []
                    for program in self.programs(n, turn):
                        contender = stack.enter_context(self.running(program, n))
                        if self.finish(contender):
                            resting.append(contender)
                    time.sleep(self.options.settle)
                    for contender in resting:
                        resident, proportional = memory(contender.pid)
                        self.add("rss", contender.name, n, resident * 1024)
                        self.add("pss", contender.name, n, proportional * 1024)
                        self.add("threads", contender.name, n, threads(contender.pid))
                    for contender in resting:
                        self.add("exit", contender.name, n, contender.stop())
            for figure in ("rss", "pss", "threads", "exit"):
                self.tell(figure, n)

    def add(self, figure, program, n, value):
        self.book.add(figure, program, n, value, target=self.place)

    def idle(self):
        """Of all sizes at once: none of them does anything."""
        title(f"idle for {self.options.idle:g} s, in percent of a core")
        with contextlib.ExitStack() as stack:
            idle = []
            for n in self.options.sizes:
                for program in self.programs(n):
                    contender = stack.enter_context(self.running(program, n))
                    if self.finish(contender):
                        idle.append((program, n, contender.pid))
            time.sleep(self.options.settle)
            before = [processor(pid) for _, _, pid in idle]
            begin = time.monotonic()
            time.sleep(self.options.idle)
            passed = time.monotonic() - begin
            for (program, n, pid), used in zip(idle, before):
                self.add("idle", program, n, 100 * (processor(pid) - used) / passed)
        for n in self.options.sizes:
            self.tell("idle", n)

    def refreshes(self, target, sizes):
        """Processor time for each read of an unchanged secret, and of one that has changed; with one secret beside
        the least that this can be."""
        title(f"processor time a refresh, {target}")
        for n in sorted(set(sizes) & set(self.options.sizes)):
            for turn in range(self.options.refreshes[n]):
                for program in self.programs(n, turn):
                    self.refresh_once(program, n, target)
                if n == 1 and target == self.place:
                    floor.wakes(self, self.options.wakes)
            for figure in ("refresh_same", "refresh_new", "refresh_reads"):
                self.tell(figure, n, target=target)
        self.server.fill(self.server.filled, afresh=True)

    def refresh_once(self, program, n, target):
        # A hundred reads a second at most, which both programs can do.
        interval = max(1, n // 100)
        window = max(interval, self.options.window * WINDOWS[n])
        with self.running(program, n, target, interval=f"{interval}s") as contender:
            if not self.finish(contender):
                return
            time.sleep(self.options.settle)
            self.window("refresh_same", contender, n, target, window)
            writer = Writer(self.server, n, 0.8 * interval)
            with writer:
                self.window("refresh_new", contender, n, target, window)
            if writer.late:
                say(f"  (secrets were not always new to {program}, n = {n}: {writer.late} rounds late)")

    def window(self, figure, contender, n, target, seconds):
        reads, used = self.server.counts()["reads"], processor(contender.pid)
        time.sleep(seconds)
        used = processor(contender.pid) - used
        reads = self.server.counts()["reads"] - reads
        self.book.add(figure, contender.name, n, used / reads if reads else None, target=target)
        self.book.add("refresh_reads", contender.name, n, reads / seconds, target=target)

    def delay(self):
        """From the server's answer to a write to both files of that secret, for both at once."""
        writes = self.options.writes
        title(f"write to files, {DELAYED} secrets read each second, {writes} writes at random moments")
        self.server.fill(DELAYED)
        written = []
        with contextlib.ExitStack() as stack:
            both = [stack.enter_context(self.running(program, DELAYED, interval="1s"))
                    for program in (OURS, AGENT)]
            for contender in both:
                self.finish(contender)
            time.sleep(self.options.settle)
            for write in range(writes + DELAYED):
                number = write % DELAYED
                if write >= DELAYED:
                    # Long since both have it: at least four intervals.
                    self.delays_of(both, number, *written[write - DELAYED])
                if write < writes:
                    self.server.put(number, write + 1)
                    written.append((time.time(), write + 1))
                    time.sleep(random.uniform(0.2, 0.6))
                elif write == writes:
                    time.sleep(3)
        self.server.fill(DELAYED, afresh=True)
        self.tell("delay", DELAYED)

    def delays_of(self, both, number, moment, generation):
        for contender in both:
            files = [contender.out / f"s{number}.{field}" for field in FIELDS]
            wait_until(lambda: all(f"-{generation}-" in file.read_text() for file in files),
                       f"{contender.name} to have the new value", contender.tell)
            # The change of the inode, which a rename makes, not that of its content.
            last = max(file.stat().st_ctime_ns for file in files) / 1e9
            self.add("delay", contender.name, DELAYED, last - moment)

    def tell(self, figure, n, transport="tls", target=None):
        ours, theirs = (self.book.median(figure, program, n, transport, target or self.place)
                        for program in (OURS, AGENT))
        ratio = f"  1/{theirs / ours:.1f}" if ours and theirs else ""
        say(f"  {figure:<14} n={n:<6} {shown(ours)} {shown(theirs)}{ratio}")


class Writer:
    """Writes all secrets once, then again and again, so that each read finds something new."""

    def __init__(self, server, n, period):
        self.server, self.n, self.period = server, n, period
        self.late = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.go_on, daemon=True)

    def __enter__(self):
        for number in range(self.n):
            self.server.put(number, 1)
        self.thread.start()

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def go_on(self):
        generation = 1
        while True:
            begin, generation = time.monotonic(), generation + 1
            for number in range(self.n):
                self.server.put(number, generation)
                # Spread over the period, as the reads are.
                due = begin + self.period * (number + 1) / self.n
                if self.ended.wait(max(0.0, due - time.monotonic())):
                    return
            self.late += time.monotonic() - begin > 1.2 * self.period


def shown(value):
    return f"{'–':>12}" if value is None else f"{value:12.6g}"


def title(text):
    say(f"\n{text}  [{time.strftime('%H:%M:%S')}]")
