// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel side of tcptop-tui: layouts and maps. It uses raw tracepoints and no kernel
 * headers, and where the kernel has hooks for them an iterator (holders.c) and a program at a
 * function (accept() in gauges.c).
 *
 * "tcptop_kernel.h" is generated at start-up from the running kernel's BTF
 * (tcptop_tui/bpf/load/headers.py); it has only the structs and members that are used here.
 * BLOCK, RING_PAGES, ENDED_RING_PAGES and RTT_UNIT_US come as -D flags, PINNED_CGROUPS and
 * PINNED_MNTNS where the capture filter looks into pinned maps, TYPED where the kernel knows
 * the types of a tracepoint's arguments (tcptop_tui/bpf/load/compiler.py).
 *
 * Data leave the kernel in two ways. *Events* (transitions, ended connections) go through ring
 * buffers of fixed-size records, which user space reads in batches without wake-ups. *Gauges*
 * (bytes, smoothed RTT, RTT histogram, owner) are overwritten in the socket's entry, which lies
 * in a slot; user space copies the slots that have changed at each refresh (slots.c).
 *
 * The dtypes in tcptop_tui/records.py mirror struct conn, transition and ended_connection; a
 * test compares sizes and offsets.
 */
#include <tcptop_kernel.h>

#define TASK_COMM_LEN	16
#define AF_INET		2
#define AF_INET6	10
#define IPPROTO_TCP	6
#define RTT_SLOTS	27
#define EXCLUDED_MARKS	64
#define SOCK_DEAD_BIT	0	/* enum sock_flags, include/net/sock.h: no process has it any more */
#define SOCK_DONE_BIT	1	/* the peer's FIN was received */
#define PF_KTHREAD	0x00200000	/* include/linux/sched.h */
#define TICK_NS		10000000	/* unit of start times in /proc/PID/stat (USER_HZ is 100) */
#define CGROUP_LEVELS	16	/* a cgroup whose ancestor is further up counts as outside */

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1, TCP_SYN_SENT, TCP_SYN_RECV, TCP_FIN_WAIT1,
	TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_LAST_ACK,
	TCP_LISTEN, TCP_CLOSING, TCP_NEW_SYN_RECV,
};

/* flags of an entry and of a transition; records.py: Flag */
#define F_OWNER_SURE	1	/* pid was seen in its own process context */
#define F_GAUGES	2	/* tx_bytes, rx_bytes and retrans were read */
#define F_PENDING	4	/* a transition waits for its local port or remote endpoint */
#define F_DELAYED	8	/* recorded by the guard: set_state was not run */
#define F_ACTIVE	32	/* opened by connect() */
#define F_PASSIVE	64	/* accepted, a listener's child */
#define F_LISTENER	128

/* close flags: what has ended a connection so far; records.py: CloseFlag */
#define E_FIN_SENT	1
#define E_FIN_RECEIVED	2
#define E_PEER_FIRST	4	/* the peer's FIN came before ours */
#define E_RST_SENT	8
#define E_RST_RECEIVED	16

/* whether a socket's sequence numbers begin with a SYN of connect(), 0: unknown; records.py: SynSent */
#define SYN_OUT		1	/* the SYN has left; snd_una and bytes_acked count it */
#define SYN_NONE	2	/* a listener's child, TCP_REPAIR, or a connect() that has sent nothing yet */

/* host/socket_holders.py: OWNER */
struct owner {
	u32 pid;
	u32 start_ticks;
	u32 mntns;
	u32 holders;		/* processes that have the socket open; 0: not counted yet */
	char comm[TASK_COMM_LEN];
};

/* tcptop_tui/bpf/program.py: LISTENER */
struct listener {
	struct owner owner;
	u64 file;		/* address of its struct file, 0: unknown */
};

/* A socket entry: what is stored of one socket from its first event to CLOSE. */
struct conn {
	u64 born_ns;		/* birth: time of the first transition, 0: the socket is from before the start */
	u64 state_ns;		/* start of the present state, 0: unknown */
	u64 cookie;		/* skc_cookie, 0 until sock_diag has dumped it; or the inode, see read_early_port() */
	u64 tx_bytes;
	u64 rx_bytes;
	u64 cgroup;		/* id of the socket's cgroup (v2), 0: none */
	u64 laddr[2];		/* IPv6 form; IPv4 as ::ffff:a.b.c.d */
	u64 raddr[2];
	u32 netns;
	u32 pid;
	u32 uid;
	u32 srtt_us;		/* 0: no sample yet */
	u32 retrans;
	u32 mntns;		/* of the owner; 0 unless PINNED_MNTNS */
	u32 dev;		/* skc_bound_dev_if, 0: bound to no device */
	u32 start_ticks;	/* of the owner, since boot; see TICK_NS */
	u8 syn_sent;		/* SYN_* */
	u8 holder_lookup;	/* written by user space only, as holders is */
	u16 holders;
	u32 pad;
	u16 lport;
	u16 rport;
	u16 err;		/* sk_err when it closed */
	u8 close_flags;		/* E_* */
	u8 reset_in;		/* state in which the RST was received or sent, 0: none was */
	u8 state;
	u8 flags;
	u16 recorded_transitions;	/* written into this entry; wraps, as the next one does */
	u16 guarded_transitions;	/* at which the guard was run */
	u8 pending_old;		/* states of the pending transition, if F_PENDING */
	u8 pending_new;
	char comm[TASK_COMM_LEN];
	/* sock_diag knows nothing of what follows, see records.py: DUMP_ROW */
	u64 rtt_sum_us;
	u64 established_ns;	/* 0: not yet, or unknown */
	u8 retrans_in[12];	/* retransmits by state, at most 255 each */
	u32 rtt_hist[RTT_SLOTS];
};

/* tcptop_tui/bpf/slots.py: SLOT */
struct slot {
	u64 skaddr;		/* of its socket, 0: the slot is free */
	u32 generation;		/* odd while the slot changes hands */
	u32 dirty;		/* written to since user space last looked */
	struct conn conn;
};

struct transition {
	u64 ts_ns;
	u64 skaddr;
	u64 born_ns;
	u64 time_in_state_ns;	/* how long it was in the old state, ~0: unknown */
	u64 tx_bytes;
	u64 rx_bytes;
	u64 cgroup;
	u64 laddr[2];
	u64 raddr[2];
	u32 netns;
	u32 pid;
	u32 uid;
	u32 srtt_us;
	u32 retrans;
	u32 dev;
	u16 lport;
	u16 rport;
	u8 oldstate;
	u8 newstate;
	u8 flags;
	u8 close_flags;
	char comm[TASK_COMM_LEN];
	u16 err;
	u8 reset_in;
	u8 syn_sent;
	u32 bystander_pid;	/* process on the CPU, which may be the owner */
	u32 bystander_tid;	/* its thread */
	char bystander_comm[TASK_COMM_LEN];	/* empty unless capture_filter.context */
	u32 start_ticks;
};

struct ended_connection {
	u64 end_ns;
	u64 skaddr;
	struct conn conn;
};

/* The capture filter but for its sets (lports to cgroups below): written by user space, read at each event. */
struct capture_filter {
	u32 by_lport;		/* whether only ports in `lports` are included */
	u32 by_rport;		/* the same with `rports` */
	u32 by_pid;		/* the same with `pids` */
	u32 family;		/* AF_INET or AF_INET6, 0: both */
	u32 by_cgroup;		/* whether only the cgroups in `cgroups` and below are included */
	u32 context;		/* whether transitions have the bystander's name */
};

/* Numbers of scratch entries: a program never interrupts itself, but others may interrupt it. */
enum program {
	P_SET_STATE,
	P_GUARD,
	P_SEGMENT,
	P_RESET,
	P_CONNECT,		/* connects.c */
	PROGRAMS,
	P_DESTROY,		/* has no scratch entry */
};

enum counter {
	C_RING_FULL,		/* transitions lost: no room in the ring */
	C_ENDED_RING_FULL,	/* ended connections lost: no room in the ring */
	C_MAP_FULL,		/* sockets without an entry: no room for one */
	C_CAUGHT,		/* transitions that only the guard recorded */
	C_EXCLUDED,		/* transitions that the capture filter excludes */
	C_UNSEEN,		/* unseen transitions of sockets with an entry, see count_unseen() */
	C_MAX,
};

#define CHUNK	64		/* slots that user space gives to the kernel side at once */

/* What set_state and its guard hand to each other on one CPU (slots.c). */
struct handover {
	u32 latest_slot;	/* number of the slot that set_state has written to last */
	u32 spare_slot;		/* number of a slot that the guard has put aside, plus 1; 0: none */
};

/* Maps of size 1 get their real size when they are made (_map_sizes() in tcptop_tui/bpf/program.py). */
BPF_TABLE("hash", u64, u32, slot_numbers, 1);
BPF_F_TABLE("array", u32, struct slot, first_block, BLOCK, BPF_F_MMAPABLE);
BPF_ARRAY_OF_MAPS(blocks, "first_block", 1);
BPF_TABLE("array", u32, u64, opened_slots, 1);	/* number of slots in all opened chunks */
BPF_QUEUE(free_chunks, u32, 1);
BPF_STACK(free_slots, u32, 1);
BPF_TABLE("lru_hash", u64, struct listener, listeners, 16384);	/* by skaddr */
BPF_TABLE("percpu_array", u32, u64, counters, C_MAX);
BPF_TABLE("percpu_array", u32, u64, excluded_marks, EXCLUDED_MARKS);
BPF_TABLE("percpu_array", u32, struct conn, scratch, PROGRAMS);
BPF_TABLE("percpu_array", u32, struct handover, handover, 1);
BPF_TABLE("array", u32, struct capture_filter, capture_filter, 1);
BPF_TABLE("array", u32, u64, lports, 1024);	/* 65,536 bits */
BPF_TABLE("array", u32, u64, rports, 1024);
BPF_TABLE("hash", u32, u32, pids, 1024);
BPF_TABLE("hash", u64, u32, cgroups, 1024);
/* Stand-ins for pinned maps (bcc's --cgroupmap, --mntnsmap), which replace them when the programs are loaded. */
#ifdef PINNED_CGROUPS
BPF_TABLE("hash", u64, u64, pinned_cgroups, 1);
#endif
#ifdef PINNED_MNTNS
BPF_TABLE("hash", u64, u32, pinned_mntns, 1);
#endif
BPF_RINGBUF_OUTPUT(transitions, RING_PAGES);
BPF_RINGBUF_OUTPUT(ended_connections, ENDED_RING_PAGES);
