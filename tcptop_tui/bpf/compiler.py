"""Compile C with bcc against a generated header tree, load it, attach it to raw tracepoints."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from tcptop_tui.bpf import headers, library
from tcptop_tui.bpf.btf import VMLINUX_BTF
from tcptop_tui.errors import BackendUnavailable


def parts_text(names: Iterable[str]) -> str:
    """The parts in ``c/`` as one text: bcc rewrites only what stands in one file. Complaints name the part."""
    folder = resources.files("tcptop_tui.bpf") / "c"
    return "".join(f'#line 1 "{name}"\n{folder.joinpath(name).read_text()}' for name in names)


def missing_capabilities() -> list[str]:
    """What this process lacks of CAP_BPF and CAP_PERFMON; CAP_SYS_ADMIN stands for both.

    The numbers are those of include/uapi/linux/capability.h.
    """
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split(maxsplit=1)[0], 16)
    if effective >> 21 & 1:
        return []
    return [name for name, number in (("CAP_BPF", 39), ("CAP_PERFMON", 38)) if not effective >> number & 1]


def _require_kernel() -> None:
    if not VMLINUX_BTF.exists():
        raise BackendUnavailable(
            f"the kernel has no type information ({VMLINUX_BTF} is missing)",
            mend="use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        )
    missing = missing_capabilities()
    if missing:
        raise BackendUnavailable(f"BPF needs more privileges ({' and '.join(missing)})", mend="run with sudo")


def _why(lines: list[str], error: Exception) -> str:
    """The one line of a compiler's or verifier's output that says the most."""
    telling = [line.strip() for line in lines if "error:" in line or "Failed" in line]
    return telling[0] if telling else str(error)


class Compiled:
    """Loaded programs and their maps, as long as this object is open.

    Args:
        text: the C source.
        flags: for the compiler.
        functions: the programs in it, all for raw tracepoints.

    Raises:
        BackendUnavailable: this host cannot run them; the message says why.
    """

    def __init__(self, text: str, flags: Sequence[str], functions: Iterable[str]) -> None:
        _require_kernel()
        self._links: list[int] = []
        self._bcc = library.load_bcc()
        self.lib = self._bcc.lib
        failed: Exception | None = None
        with library.stderr_captured() as lines:
            try:
                self._bpf = self._compile(text, flags)
                self.functions = {name: self._load(name) for name in functions}
            except BackendUnavailable:
                raise
            except Exception as error:  # noqa: BLE001  bcc raises bare Exception
                failed = error
        if failed is not None:
            raise BackendUnavailable(
                f"the kernel program does not load: {_why(lines, failed)}",
                mend="tcptop-tui doctor tells more",
            ) from failed
        self._bpf.free_bcc_memory()

    def _compile(self, text: str, flags: Sequence[str]) -> Any:
        with tempfile.TemporaryDirectory(prefix="tcptop-") as tree:
            headers.write_tree(Path(tree))
            before = os.environ.get("BCC_KERNEL_SOURCE")
            os.environ["BCC_KERNEL_SOURCE"] = tree
            try:
                return self._bcc.BPF(text=text.encode(), cflags=[f"-I{tree}/include", *flags])  # bcc wants bytes
            finally:
                if before is None:
                    del os.environ["BCC_KERNEL_SOURCE"]
                else:
                    os.environ["BCC_KERNEL_SOURCE"] = before

    def _load(self, name: str) -> int:
        return int(self._bpf.load_func(name.encode(), self._bcc.BPF.RAW_TRACEPOINT).fd)

    def map_fd(self, name: str) -> int:
        """Descriptor of a map; stays bcc's."""
        return int(self.lib.bpf_table_fd(self._bpf.module, name.encode()))

    def attach(self, function: str, tracepoint: str) -> None:
        """Run ``function`` at each ``tracepoint`` from now on.

        Raises:
            BackendUnavailable: this kernel has no such raw tracepoint.
        """
        if not self.attach_first(function, [tracepoint]):
            raise BackendUnavailable(
                f"raw tracepoint {tracepoint} cannot be attached",
                mend="it needs Linux 5.8 or newer with CONFIG_BPF_EVENTS=y",
            )

    def attach_first(self, function: str, tracepoints: Iterable[str]) -> bool:
        """Run ``function`` at the first of ``tracepoints`` that this kernel has; False when it has none."""
        for tracepoint in tracepoints:
            # not bpf.attach_raw_tracepoint: that refuses a second program on one tracepoint
            with library.stderr_captured():
                link = self.lib.bpf_attach_raw_tracepoint(self.functions[function], tracepoint.encode())
            if link >= 0:
                self._links.append(link)
                return True
        return False

    def close(self) -> None:
        """Detach; the kernel frees programs and maps with their last descriptor."""
        for link in self._links:
            os.close(link)
        self._links.clear()
        self._bpf.cleanup()
