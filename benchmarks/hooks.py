"""``make bench-hooks``: what each kernel program costs, beside an empty one on the same tracepoints in the same run.

``--tree OTHER`` measures another working copy in turn with this one: before and after a change.
"""

from __future__ import annotations

import ctypes as ct
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import click
from measure import fields_of

_HERE = Path(__file__).parent
EMPTY = "#include <tcptop_kernel.h>\nint empty(struct bpf_raw_tracepoint_args *ctx) { return 0; }\n"
_PER_SEGMENT = ("segment", "reader", "sender")

Runs = dict[str, tuple[int, int]]
"""Run time in ns and runs, by program."""


def runs_of(programs: dict[str, int]) -> Runs:
    """So far; counted only while somebody holds ``bpf_enable_stats``."""
    found = {}
    for name, fd in programs.items():
        told = fields_of(Path(f"/proc/self/fdinfo/{fd}"))
        found[name] = (int(told["run_time_ns"]), int(told["run_cnt"]))
    return found


def counting_runs() -> int:
    """Descriptor that has the kernel count what programs cost, for as long as it is open.

    Raises:
        OSError: the kernel refuses.
    """
    from tcptop_tui.bpf.load.libbpf import last_error, load_libbpf_functions  # noqa: PLC0415  not before the tree is known
    from tcptop_tui.host.c_functions import Signature  # noqa: PLC0415

    lib = load_libbpf_functions({"bpf_enable_stats": Signature(ct.c_int, (ct.c_int,))})
    descriptor = int(lib.bpf_enable_stats(0))
    if descriptor < 0:
        raise last_error("bpf_enable_stats")
    return descriptor


def since(before: Runs, after: Runs) -> Runs:
    """The difference."""
    return {name: (after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in after}


def inside(tree: Path, connections: int, round_trips: int) -> None:
    """In a process of its own: load what is in ``tree``, and print what its programs cost."""
    sys.path.insert(0, str(tree))
    from scale import held  # noqa: PLC0415

    from tcptop_tui.bpf.load.compiler_client import CompileRequest, LoadedPrograms  # noqa: PLC0415
    from tcptop_tui.bpf.program import Program  # noqa: PLC0415
    from tcptop_tui.settings import Settings  # noqa: PLC0415
    from tcptop_tui.stream.batches import Capture  # noqa: PLC0415

    empty = [LoadedPrograms(CompileRequest(EMPTY, [], ["empty"])) for _ in range(2)]
    empty[0].attach("empty", "inet_sock_set_state")
    empty[1].attach("empty", "tcp_probe")
    tracer = Program(Settings())
    tracer.attach(Capture())
    programs = {
        **tracer._compiled.functions,  # noqa: SLF001
        "empty": empty[0].functions["empty"],
        "probe": empty[1].functions["empty"],
    }
    start = runs_of(programs)
    load = subprocess.Popen([sys.executable, str(_HERE / "churn.py"), str(connections)], stdout=subprocess.DEVNULL)
    while load.poll() is None:
        tracer.transitions.read()
        tracer.ended.read()
    churned = since(start, runs_of(programs))
    with held(2) as holder:
        start = runs_of(programs)
        holder.exchange(round_trips)
        exchanged = since(start, runs_of(programs))
    tracer.close()
    sys.stdout.write(json.dumps([churned, exchanged]))


def shown(title: str, unit: str, rounds: list[Runs], programs: tuple[str, ...] | None) -> None:
    """Medians: what a run costs, how many runs there are, and the sum; against an empty program's."""
    sums, ratios = [], []
    for one in rounds:
        chosen = programs or tuple(name for name in one if name not in {"empty", "probe"})
        nothing = one["probe" if programs else "empty"]
        # of segments each program has one run; a transition has the share that is seen
        sums.append(
            sum(one[name][0] / (one[name][1] or 1) if programs else one[name][0] / nothing[1] for name in chosen)
        )
        ratios.append(sums[-1] / (nothing[0] / nothing[1]))
    click.echo(
        f"{title}: {statistics.median(sums):.0f} ns/{unit} ({min(sums):.0f}–{max(sums):.0f}), "
        f"{statistics.median(ratios):.1f} × empty ({min(ratios):.1f}–{max(ratios):.1f})"
    )
    for name in rounds[0]:
        costs = [one[name][0] / one[name][1] for one in rounds if one[name][1]]
        if costs:
            click.echo(f"    {name:16s}{statistics.median(costs):6.0f} ns a run")


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--connections", default=10_000, show_default=True)
@click.option("--round-trips", default=20_000, show_default=True)
@click.option("--tree", type=click.Path(path_type=Path, exists=True), help="Another working copy, to compare with.")
@click.option("--inside", "within", type=click.Path(path_type=Path), hidden=True)
def main(rounds: int, connections: int, round_trips: int, tree: Path | None, within: Path | None) -> None:
    """Measure, ROUNDS times, in turn."""
    if within:
        inside(within, connections, round_trips)
        return
    counting = counting_runs()
    trees = [*([tree] if tree else []), _HERE.parent]
    found: dict[Path, list[list[Runs]]] = {each: [] for each in trees}
    options = ["--connections", str(connections), "--round-trips", str(round_trips)]
    for _ in range(rounds):
        for each in trees:
            command = [sys.executable, __file__, *options, "--inside", str(each)]
            told = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
            found[each].append(json.loads(told))
    os.close(counting)
    for each in trees:
        click.echo(f"{each}")
        shown("  churn", "transition", [one[0] for one in found[each]], None)
        shown("  exchange", "segment", [one[1] for one in found[each]], _PER_SEGMENT)


if __name__ == "__main__":
    main()
