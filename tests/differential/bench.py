"""Time and memory of a load, side by side with the distribution's kexec (``make bench``).

Both tools load the same files on the same recorded machine, their calls captured, no data
copied by the capture. The clock runs from the start of the program to its end; runs
alternate, so that what else the machine does hits both. Memory is measured in runs of its
own: anonymous memory, polled every millisecond and once more exactly at the call.
"""

from __future__ import annotations

import compileall
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pykexec import launchers
from pykexec.machine.description import KcoreLoad
from pykexec.values.facts import CrashFacts
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from tests.builders.machines import MachineDirectory, build_machine
from tests.differential.machines import RECORDED
from tests.differential.sandbox import (
    PROJECT,
    Sandbox,
    Tool,
    c_kexec,
    enter,
    read_records,
)
from tests.vm.debian import cache_dir, kernel

MACHINE = "x86_64-6.12-bios-8G"
CRASH_MACHINE = "x86_64-6.12-bios-crashkernel"
KERNEL = "6.1"
SIZES = (10, 100, 500)
"""Of the initrds, in MB of 1,000,000 bytes."""
TIME_AIMS = {10: 0.4, 100: 0.27, 500: 0.16}
"""At most so much of the C tool's time."""
CRASH_AIM = 0.5
RANGES_AIMS = {1_000: 0.8, 8_000: 1.0, 32_000: 2.0}
MIB = 1 << 20
MEMORY_AIM = 16 * MIB
RUNS = 7
START_RUNS = 21
START_AIMS = {"-v": 10, "-S": 10, "-S -l": 10, "-u": 20}
"""Milliseconds above a bare Python, at most."""
_CHUNK = 1_000_000
_POLL_SECONDS = 0.001


def initrd(megabytes: int) -> Path:
    """Return a file of random bytes, made once."""
    file = cache_dir() / "bench" / f"initrd-{megabytes}"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".new")
        with partial.open("wb") as out:
            for _ in range(megabytes * 1_000_000 // _CHUNK):
                out.write(os.urandom(_CHUNK))
        partial.rename(file)
    return file


def installed_kexec(directory: Path) -> Tool:
    """Return ``kexec`` as packages install it: the script that the launcher executes.

    The launcher itself is left out. It finds its script by /proc/self/exe, which no recorded
    machine has, and costs one execve more.
    """
    program = directory / "kexec"
    program.write_text(launchers.script(python=sys.executable, path=str(PROJECT)))
    program.chmod(0o755)
    return Tool("pykexec", (str(program),), {})


def spawn(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Start a program with its output thrown away; returns its process number."""
    null = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_CLOSE, null)]
    pid = os.posix_spawn(command[0], list(command), dict(environment), file_actions=actions)
    os.close(null)
    return pid


def time_once(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Run a program to its end; returns seconds. Raises when it fails."""
    start = time.perf_counter()
    pid = spawn(command, environment)
    _, status = os.waitpid(pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return seconds


def poll_anonymous(command: Sequence[str], environment: Mapping[str, str], proc: Path) -> int:
    """Run a program to its end; returns the most anonymous memory seen, in bytes."""
    pid = spawn(command, environment)
    most = 0
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        for line in (proc / str(pid) / "status").read_text().splitlines():
            if line.startswith("RssAnon"):  # missing when the program has just ended
                most = max(most, int(line.split()[1]) << 10)
        time.sleep(_POLL_SECONDS)
    return most


def worker() -> None:
    """Inside the machine: read a job from stdin, run it, write its figures to stdout."""
    job = json.load(sys.stdin)
    commands = [(item["command"], item["environment"]) for item in job["commands"]]
    if job["proc"]:
        json.dump([poll_anonymous(*command, Path(job["proc"])) for command in commands], sys.stdout)
        return
    rounds = [[time_once(*command) for command in commands] for _ in range(1 + job["runs"])]
    counted = list(zip(*rounds[1:], strict=True))  # the first warms up
    json.dump([statistics.median(seconds) for seconds in counted], sys.stdout)


class Bench:
    """Tools on one machine."""

    def __init__(self, scratch: Path, machine: Path) -> None:
        """Prepare the sandbox in ``scratch``; raises what that raises."""
        self._scratch = scratch
        self._sandbox = Sandbox()
        self._sandbox.verify()
        self._machine = machine

    def seconds(self, tools: Sequence[Tool], arguments: Sequence[str], runs: int) -> list[float]:
        """Return each tool's median time; the tools take turns."""
        figures, _ = self._work(tools, arguments, runs, memory=False)
        return [float(figure) for figure in figures]

    def memory(self, tools: Sequence[Tool], arguments: Sequence[str]) -> list[tuple[int, int]]:
        """Return each tool's most (anonymous, resident) memory up to the call, in bytes."""
        polled, records = self._work(tools, arguments, 1, memory=True)
        found = []
        for most, directory in zip(polled, records, strict=True):
            load = next(call for call in read_records(directory) if call.call == "kexec_load")
            assert load.anonymous is not None
            assert load.peak_resident is not None
            found.append((max(int(most), load.anonymous), load.peak_resident))
        return found

    def _work(
        self, tools: Sequence[Tool], arguments: Sequence[str], runs: int, *, memory: bool
    ) -> tuple[list[float], list[Path]]:
        scratch = Path(tempfile.mkdtemp(dir=self._scratch))
        commands, records = [], []
        for tool in tools:
            directory = Path(tempfile.mkdtemp(dir=self._scratch))
            environment = self._sandbox.environment(tool, directory)
            environment |= {"PATH": os.environ["PATH"], "PYKEXEC_CAPTURE_SIZES": "1"}
            if memory:
                environment["PYKEXEC_CAPTURE_PROC"] = str(scratch / "real-proc")
            command = [*tool.command, *arguments]
            commands.append({"command": command, "environment": environment})
            records.append(directory)
        proc = str(scratch / "real-proc") if memory else None
        inside = [sys.executable, "-m", "tests.differential.bench", "--worker"]
        done = subprocess.run(
            [*enter(self._machine, scratch), *inside],
            input=json.dumps({"commands": commands, "runs": runs, "proc": proc}),
            stdout=subprocess.PIPE,
            cwd=PROJECT,
            text=True,
            check=True,
        )
        return json.loads(done.stdout), records


def machine_line() -> str:
    """Say what the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "?")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{model}, {os.cpu_count()} CPUs, {total:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d', time.gmtime())}"
    )


def load_rows(bench: Bench, tools: Sequence[Tool]) -> Iterator[str]:
    """Yield the lines of the table of loads; the tools are the C one and ours."""
    image = kernel(KERNEL).image
    yield (
        "| initrd, MB | kexec-tools, s | pykexec, s | ratio | aim "
        "| kexec-tools, MiB | pykexec, MiB | aim | resident, MiB |"
    )
    yield "|---" * 9 + "|"
    for size in SIZES:
        arguments = ["-c", "-l", str(image), f"--initrd={initrd(size)}", "--append=root=/dev/vda1"]
        seconds, anonymous, resident = compare(bench, tools, arguments)
        aims = (f"{TIME_AIMS[size]:.2f}", f"{MEMORY_AIM / MIB:.0f}")
        cells = [str(size), *seconds, aims[0], *anonymous, aims[1], resident]
        yield "| " + " | ".join(cells) + " |"


def compare(
    bench: Bench, tools: Sequence[Tool], arguments: Sequence[str]
) -> tuple[list[str], list[str], str]:
    """Return cells: both times in seconds and their ratio, anonymous MiB, resident MiB."""
    theirs, ours = bench.seconds(tools, arguments, RUNS)
    memory = bench.memory(tools, arguments)
    return (
        [f"{theirs:.3f}", f"{ours:.3f}", f"{ours / theirs:.2f}"],
        [f"{anonymous / MIB:.1f}" for anonymous, _ in memory],
        " / ".join(f"{resident / MIB:.0f}" for _, resident in memory),
    )


def machine_with_ranges(path: Path, count: int) -> Path:
    """Build a machine with a crash region and ``count`` more ranges of RAM, 1 MiB apart."""
    ram = [
        Range(0x1000, 0x9FC00),
        Range(MIB, 1024 * MIB),
        *(Range.sized((1025 + number) * MIB, MIB // 2) for number in range(count)),
    ]
    MachineDirectory(path).write("proc/kallsyms", "ffffffff81000000 T _stext\n")
    return build_machine(
        path,
        ram=ram,
        children=[IomemEntry(Range(512 * MIB, 768 * MIB), "Crash kernel")],
        crash=CrashFacts(((0, Range.sized(0x1F000000, 368)),), Range.sized(0x1F100000, 0x1000)),
        kcore=[
            KcoreLoad(0xFFFFFFFF81000000, 32 * MIB),
            KcoreLoad(0xFFFF888000000000 + MIB, 1 << 40),
        ],
        cpus=1,
    )


def crash_rows(scratch: Path, tools: Sequence[Tool]) -> Iterator[str]:
    """Yield the lines of the table of crash loads: a real machine, and ones with many ranges."""
    yield (
        "| crash load | kexec-tools, s | pykexec, s | ratio | aim | kexec-tools, MiB "
        "| pykexec, MiB | resident, MiB |"
    )
    yield "|---" * 8 + "|"
    real = RECORDED / CRASH_MACHINE
    machines = {"2 GiB machine, initrd of 10 MB": (real, [initrd(10)], CRASH_AIM)}
    for count, aim in RANGES_AIMS.items():
        built = machine_with_ranges(scratch / f"ranges-{count}", count)
        machines[f"{count:,} ranges of RAM"] = (built, [], aim)
    for name, (machine, initrds, aim) in machines.items():
        arguments = ["-c", "-p", str(kernel(KERNEL).image), "--append=irqpoll"]
        arguments += [f"--initrd={file}" for file in initrds]
        seconds, anonymous, resident = compare(Bench(scratch, machine), tools, arguments)
        yield "| " + " | ".join([name, *seconds, str(aim), *anonymous, resident]) + " |"


def start_rows(bench: Bench, tools: Sequence[Tool]) -> Iterator[str]:
    """Yield the lines of the table of start-up times: what needs no plan, beside bare Python."""
    yield "| start | kexec-tools, ms | pykexec, ms | above bare Python, ms | aim, at most |"
    yield "|---" * 5 + "|"
    bare = Tool("bare", (sys.executable, "-I", "-c", "pass"), {})
    (nothing,) = bench.seconds([bare], [], START_RUNS)
    for words, aim in START_AIMS.items():
        theirs, ours = (item * 1000 for item in bench.seconds(tools, words.split(), START_RUNS))
        above = ours - nothing * 1000
        yield f"| `kexec {words}` | {theirs:.1f} | {ours:.1f} | {above:.1f} | {aim} |"
    yield f"| `python3 -I -c pass` | | {nothing * 1000:.1f} | | |"


def main() -> None:
    """Measure and print."""
    if not compileall.compile_dir(PROJECT / "pykexec", quiet=1):
        raise SystemExit("pykexec does not compile")
    with tempfile.TemporaryDirectory(prefix="pykexec-bench-") as scratch:
        tools = (c_kexec(), installed_kexec(Path(scratch)))
        bench = Bench(Path(scratch), RECORDED / MACHINE)
        print(machine_line() + "\n")
        tables = (
            load_rows(bench, tools),
            crash_rows(Path(scratch), tools),
            start_rows(bench, tools),
        )
        for rows in tables:
            for line in rows:
                print(line, flush=True)
            print()


if __name__ == "__main__":
    worker() if sys.argv[1:] == ["--worker"] else main()
