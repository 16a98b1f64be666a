"""The header tree that bcc compiles against, made from BTF instead of kernel headers.

bcc stops with "Unable to find kernel headers" where ``linux-headers-*`` is not installed. It
wants very little from them when the program brings its own types: a few names that its built-in
helpers use, and files that it includes by force. This module writes those into a directory, with
``tcptop_kernel.h``: the members that the program in ``c/`` reads, at this kernel's offsets.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from tcptop_tui.bpf.load.btf import KernelTypes, Member
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host.kernel import kernel_version

# struct -> C name -> (path in BTF, C type). A struct of the kernel keeps its own name.
_MEMBERS: dict[str, dict[str, tuple[str, str]]] = {
    "sock": {
        "skc_family": ("__sk_common.skc_family", "u16"),
        "skc_state": ("__sk_common.skc_state", "u8"),
        "skc_dport": ("__sk_common.skc_dport", "u16"),
        "skc_num": ("__sk_common.skc_num", "u16"),
        "skc_bound_dev_if": ("__sk_common.skc_bound_dev_if", "u32"),
        "skc_daddr": ("__sk_common.skc_daddr", "u32"),
        "skc_rcv_saddr": ("__sk_common.skc_rcv_saddr", "u32"),
        "skc_v6_daddr": ("__sk_common.skc_v6_daddr", "u64[2]"),
        "skc_v6_rcv_saddr": ("__sk_common.skc_v6_rcv_saddr", "u64[2]"),
        "skc_net": ("__sk_common.skc_net.net", "void *"),
        "skc_cookie": ("__sk_common.skc_cookie", "u64"),
        "skc_flags": ("__sk_common.skc_flags", "u64"),
        "sk_protocol": ("sk_protocol", "u16"),
        "sk_uid": ("sk_uid", "u32"),
        "sk_lock_owned": ("sk_lock.owned", "u32"),
        "sk_err": ("sk_err", "u32"),
        "sk_err_soft": ("sk_err_soft", "u32"),
        "sk_shutdown": ("sk_shutdown", "u8"),
        "kern_byte": ("sk_kern_sock", "u8"),
        "sk_receive_qlen": ("sk_receive_queue.qlen", "u32"),
        "sk_cgroup": ("sk_cgrp_data.cgroup", "void *"),
        "sk_socket": ("sk_socket", "void *"),
    },
    "inet_sock": {"inet_sport": ("inet_sport", "u16")},
    "inet_connection_sock": {"icsk_ulp_data": ("icsk_ulp_data", "void *")},
    "mptcp_subflow_context": {"conn": ("conn", "void *")},
    "mptcp_sock": {"first": ("first", "void *")},
    "tcp_sock": {
        "srtt_us": ("srtt_us", "u32"),
        "bytes_sent": ("bytes_sent", "u64"),
        "bytes_retrans": ("bytes_retrans", "u64"),
        "bytes_received": ("bytes_received", "u64"),
        "bytes_acked": ("bytes_acked", "u64"),
        "snd_nxt": ("snd_nxt", "u32"),
        "snd_una": ("snd_una", "u32"),
        "write_seq": ("write_seq", "u32"),
        "total_retrans": ("total_retrans", "u32"),
        "tsq_next": ("tsq_node.next", "void *"),
        "segs_out": ("segs_out", "u32"),
        "rcv_nxt": ("rcv_nxt", "u32"),
        "copied_seq": ("copied_seq", "u32"),
        "linger2": ("linger2", "u32"),
        "repair_byte": ("repair", "u8"),
        "is_mptcp": ("is_mptcp", "u8"),
    },
    "sk_buff": {
        "data": ("data", "void *"),
        "head": ("head", "void *"),
        "network_header": ("network_header", "u16"),
        "sk": ("sk", "void *"),
        "dev": ("dev", "void *"),
        "len": ("len", "u32"),
        "data_len": ("data_len", "u32"),
        "pkt_type_byte": ("__pkt_type_offset", "u8"),
    },
    "net_device": {"nd_net": ("nd_net.net", "void *")},
    "net": {"ns_inum": ("ns.inum", "u32")},
    "cgroup": {"kn": ("kn", "void *"), "parent": ("self.parent", "void *")},
    "kernfs_node": {"id": ("id", "u64")},
    "task_struct": {
        "nsproxy": ("nsproxy", "void *"),
        "files": ("files", "void *"),
        "flags": ("flags", "u32"),
        "group_leader": ("group_leader", "void *"),
        "start_boottime": ("start_boottime", "u64"),
        "tgid": ("tgid", "u32"),
        "pid": ("pid", "u32"),
        "comm": ("comm", "char[16]"),
        "comm_words": ("comm", "u64[2]"),
    },
    "files_struct": {"fdt": ("fdt", "void *")},
    "fdtable": {"fd": ("fd", "void *")},
    "file": {
        "private_data": ("private_data", "void *"),
        "f_inode": ("f_inode", "void *"),
        "f_count": ("f_count.counter", "u64"),
        "f_ref": ("f_ref.refcnt.counter", "u64"),
    },
    "inode": {"i_mode": ("i_mode", "u16"), "i_ino": ("i_ino", "u64")},
    "socket": {"sk": ("sk", "void *"), "file": ("file", "void *")},
    "socket_alloc": {"i_ino": ("vfs_inode.i_ino", "u64")},
    "nsproxy": {"mnt_ns": ("mnt_ns", "void *")},
    "mnt_namespace": {"mnt_inum": ("ns.inum", "u32")},
}

# What a kernel may lack, and the macro that says it has it: a socket points at its cgroup since
# 5.15 (struct sock_cgroup_data, include/linux/cgroup-defs.h), with CONFIG_SOCK_CGROUP_DATA;
# a file counts who refers to it in f_ref since 6.13, in f_count before (include/linux/fs.h);
# MPTCP is there since 5.6, with CONFIG_MPTCP.
_OPTIONAL_MEMBERS = {
    ("sock", "sk_cgroup"): "HAVE_SOCK_CGROUP",
    ("tcp_sock", "is_mptcp"): "HAVE_IS_MPTCP",
    ("mptcp_subflow_context", "conn"): "HAVE_MPTCP_SUBFLOW",
    ("mptcp_sock", "first"): "HAVE_MPTCP_SOCK",
    ("file", "f_count"): "HAVE_FILE_COUNT",
    ("file", "f_ref"): "HAVE_FILE_REF",
}

# Helpers that a kernel may lack, and the macro that says it has it.
_HELPERS = {"bpf_get_current_task_btf": "HAVE_TYPED_TASK"}

# Numbers of connect(), sendto(), sendmsg(), sendmmsg(); where struct pt_regs keeps number and arguments at their end.
_SYSCALLS = {"x86_64": ((42, 44, 46, 307), ("orig_ax", "di", "si", "dx", "r10", "r8"))}

# What a request of io_uring was to connect to, and what came of it; ``cmd`` is there since 6.0.
_URING_MEMBERS: dict[str, dict[str, tuple[str, str]]] = {
    "io_kiocb": {"file": ("file", "void *"), "cmd": ("cmd", "u64"), "opcode": ("opcode", "u8")},
    "io_connect": {"addr": ("addr", "void *")},
    "io_uring_cqe": {"res": ("res", "s32")},
}
_URING_SUBMITS = ("io_uring_submit_req", "io_uring_submit_sqe")
_URING_COMPLETE = "io_uring_complete"
_URING_ARGUMENTS = 3
"""Of io_uring_complete where it has the completion; before it had seven, the result among them."""
# Members of less than a byte: the C source gets the number of the first bit as a macro.
_BITS = {"TCP_SOCK_REPAIR_BIT": ("tcp_sock", "repair"), "SOCK_KERN_BIT": ("sock", "sk_kern_sock")}

_KERNEL_TYPES = """
typedef signed char __s8; typedef unsigned char __u8; typedef __s8 s8; typedef __u8 u8;
typedef short __s16; typedef unsigned short __u16; typedef __s16 s16; typedef __u16 u16;
typedef int __s32; typedef unsigned int __u32; typedef __s32 s32; typedef __u32 u32;
typedef long long __s64; typedef unsigned long long __u64; typedef __s64 s64; typedef __u64 u64;
typedef __u16 __le16; typedef __u16 __be16; typedef __u32 __le32; typedef __u32 __be32;
typedef __u64 __le64; typedef __u64 __be64; typedef __u16 __sum16; typedef __u32 __wsum;
typedef __u64 __attribute__((aligned(8))) __aligned_u64;
typedef __s64 __attribute__((aligned(8))) __aligned_s64;
typedef unsigned long size_t; typedef long ssize_t; typedef unsigned long uintptr_t;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)
#define __user
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
"""

_STATIC = {
    "include/linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n",
    "include/linux/types.h": f"#pragma once\n{_KERNEL_TYPES}",
    "include/linux/version.h": "#define KERNEL_VERSION(a,b,c) (((a) << 16) + ((b) << 8) + (c))\n"
    "#define LINUX_VERSION_CODE {version}\n",
    "include/asm/page.h": "#pragma once\n#define PAGE_SIZE {page_size}\n",
    "include/uapi/linux/ptrace.h": "#pragma once\nstruct pt_regs {{ unsigned long unused[32]; }};\n",
    "include/uapi/asm/ptrace.h": "",
    "include/asm/ptrace.h": "",
    "include/linux/log2.h": "",
    # bcc's own copy is there already, included by force
    "include/uapi/linux/bpf.h": "",
    "include/uapi/linux/types.h": "#include <linux/types.h>\n",
    "include/asm/types.h": "#include <linux/types.h>\n",
    "include/linux/bpf_common.h": "",
    "include/uapi/linux/if_packet.h": "",
    "include/uapi/linux/if_ether.h": "",
}


def _version_code() -> int:
    """``LINUX_VERSION_CODE`` of the running kernel, from ``uname -r``."""
    major, minor = kernel_version()
    return (major << 16) + (minor << 8)


def _declaration(name: str, ctype: str) -> str:
    base, bracket, rest = ctype.partition("[")
    return f"{base} {name}{bracket}{rest};"


def _find_member(types: KernelTypes, struct: str, name: str, path: str) -> Member | None:
    """Where the member is; None for one that the program can do without.

    Raises:
        BackendUnavailable: it cannot.
    """
    try:
        return types.member(struct, path)
    except BackendUnavailable:
        if (struct, name) in _OPTIONAL_MEMBERS:
            return None
        raise


def _struct(types: KernelTypes, struct: str) -> str:
    """A union of padded structs: each member at its own offset, whatever overlaps it.

    Not packed: the kernel has aligned them, and LLVM loads what may be unaligned byte by byte.
    """
    lines = [f"struct {struct} {{ union {{"]
    for name, (path, ctype) in (_MEMBERS | _URING_MEMBERS)[struct].items():
        member = _find_member(types, struct, name, path)
        if member is None:
            continue
        if (struct, name) in _OPTIONAL_MEMBERS:
            lines.insert(0, f"#define {_OPTIONAL_MEMBERS[struct, name]} 1")
        declared = _declaration(name, ctype)
        padding = f"u8 pad_{name}[{member.offset_bytes}]; " if member.offset_bytes else ""
        lines.append(f"\tstruct {{ {padding}{declared} }};")
    return "\n".join([*lines, "}; };", ""])


def kernel_header(types: KernelTypes) -> str:
    """The C text of ``tcptop_kernel.h``.

    Raises:
        BackendUnavailable: a member is missing; its name is in the message.
    """
    bits = [f"#define {name} {types.member(struct, path).bit}\n" for name, (struct, path) in _BITS.items()]
    helpers = [f"#define {macro} 1\n" for name, macro in _HELPERS.items() if types.has_function(name)]
    return "#pragma once\n" + "".join(bits + helpers) + "\n".join(_struct(types, struct) for struct in _MEMBERS)


def has_syscall_layout() -> bool:
    """Whether the end of a connect() can be recognised on this machine."""
    return platform.machine() in _SYSCALLS


@lru_cache(maxsize=1)
def uring_tracepoints() -> tuple[str, ...]:
    """Those of a request that io_uring takes, and that it completes; empty: this kernel's io_uring is unknown.

    Raises:
        BackendUnavailable: no libbpf, or a kernel without BTF.
    """
    types = KernelTypes()
    try:
        return _uring_tracepoints(types)
    finally:
        types.close()


def _uring_tracepoints(types: KernelTypes) -> tuple[str, ...]:
    for name in _URING_SUBMITS:
        with suppress(BackendUnavailable):
            for struct, members in _URING_MEMBERS.items():
                for path, _ in members.values():
                    types.member(struct, path)
            types.tracepoint(_URING_COMPLETE)
            types.tracepoint(name)
            return name, _URING_COMPLETE
    return ()


def _uring_header(types: KernelTypes) -> str:
    if not _uring_tracepoints(types):
        return ""
    in_cqe = types.arguments(_URING_COMPLETE) == _URING_ARGUMENTS
    macros = ["#define HAVE_URING 1\n", "#define URING_RESULT_IN_CQE 1\n" if in_cqe else ""]
    return "".join(macros) + "\n".join(_struct(types, struct) for struct in _URING_MEMBERS)


def _syscall_macros(types: KernelTypes) -> str:
    if not has_syscall_layout():
        return ""
    numbers, registers = _SYSCALLS[platform.machine()]
    offsets = [types.member("pt_regs", name).offset_bytes for name in registers]
    names = ("CONNECT_NR", "SENDTO_NR", "SENDMSG_NR", "SENDMMSG_NR", "REGS_NR", *(f"REGS_{one}" for one in range(1, 6)))
    return "".join(f"#define {name} {value}\n" for name, value in zip(names, (*numbers, *offsets), strict=True))


def write_tree(root: Path) -> None:
    """Write the header tree below ``root`` (an empty directory of ours).

    Raises:
        BackendUnavailable: no BTF, or a member that the program in ``c/`` reads is missing.
        OSError: the directory cannot be written.
    """
    values = {"version": _version_code(), "page_size": os.sysconf("SC_PAGE_SIZE")}
    for name, text in _STATIC.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**values) if "{" in text else text)
    types = KernelTypes()
    try:
        text = kernel_header(types) + _syscall_macros(types) + _uring_header(types)
        (root / "include/tcptop_kernel.h").write_text(text)
    finally:
        types.close()
