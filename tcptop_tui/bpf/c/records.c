// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel side of tcptop-tui: raw tracepoints, no kernel headers. An iterator (holders.c) and a
 * program at a function (accepted() in gauges.c) help where the kernel has a hook for them.
 *
 * "tcptop_kernel.h" is generated at start-up from the running kernel's BTF
 * (tcptop_tui/bpf/load/headers.py); it has just the structs and members used here.
 * BLOCK, RING_PAGES, SESSION_RING_PAGES and RTT_UNIT_US come as -D flags,
 * PINNED_CGROUPS and PINNED_MNTNS where maps of somebody else's are to be asked, TYPED where
 * the kernel knows the types of a tracepoint's arguments (tcptop_tui/bpf/load/compiler.py).
 *
 * Two ways out, chosen by rate: *events* (transitions, ended sessions) go
 * through ring buffers of fixed-size records that are read in batches without
 * wake-ups; *gauges* (bytes, srtt, RTT histogram, owner) stay in `slots`, an
 * entry a socket, which user space reads whole once a refresh.
 *
 * The layouts of struct conn, transition and session are mirrored by the
 * dtypes in tcptop_tui/records.py; a test compares sizes and offsets.
 */
#include <tcptop_kernel.h>

#define TASK_COMM_LEN	16
#define AF_INET		2
#define AF_INET6	10
#define IPPROTO_TCP	6
#define RTT_SLOTS	27
#define SETTLED_SLOTS	64
#define SOCK_DEAD_BIT	0	/* enum sock_flags, include/net/sock.h: closed by its process */
#define SOCK_DONE_BIT	1	/* FIN seen */
#define PF_KTHREAD	0x00200000	/* include/linux/sched.h */
#define TICK_NS		10000000	/* what /proc/PID/stat tells start times in (USER_HZ is 100) */
#define CGROUP_LEVELS	16	/* that are looked up for a parent, the rest is outside */

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1, TCP_SYN_SENT, TCP_SYN_RECV, TCP_FIN_WAIT1,
	TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_LAST_ACK,
	TCP_LISTEN, TCP_CLOSING, TCP_NEW_SYN_RECV,
};

/* flags of a connection; records.py: Flag */
#define F_OWNER_SURE	1	/* pid was seen in its own process context */
#define F_GAUGES	2	/* tx_bytes, rx_bytes and retrans were read */
#define F_PENDING	4	/* a transition waits for its local port */
#define F_DELAYED	8	/* transition caught by the guard program */
#define F_ACTIVE	32	/* opened by connect() */
#define F_PASSIVE	64	/* accepted, a listener's child */
#define F_LISTENER	128

/* how a connection ended, as far as it has; records.py: CloseFlag */
#define E_FIN_SENT	1
#define E_FIN_RECEIVED	2
#define E_PEER_FIRST	4	/* the peer's FIN came before ours */
#define E_RST_SENT	8
#define E_RST_RECEIVED	16

/* whether a socket's sequence numbers begin with a SYN of connect(); records.py: SynSent */
#define SYN_OUT		1	/* it has left; snd_una and bytes_acked count it */
#define SYN_NONE	2	/* a listener's child, TCP_REPAIR, or a connect() that has sent nothing yet */

/* host/socket_holders.py: OWNER */
struct owner {
	u32 pid;
	u32 start_ticks;
	u32 mntns;
	u32 holders;		/* processes that have it open; 0: not counted yet */
	char comm[TASK_COMM_LEN];
};

/* tcptop_tui/bpf/program.py: LISTENER */
struct listener {
	struct owner owner;
	u64 file;		/* its struct file, 0: not known */
};

struct conn {
	u64 born_ns;		/* first transition seen, 0: before our time */
	u64 state_ns;		/* when the present state began, 0: unknown */
	u64 cookie;		/* skc_cookie, 0 until sock_diag asked once; see read_bound() */
	u64 tx_bytes;
	u64 rx_bytes;
	u64 cgroup;		/* id of the socket's cgroup v2, 0: none */
	u64 laddr[2];		/* IPv6 form; IPv4 as ::ffff:a.b.c.d */
	u64 raddr[2];
	u32 netns;
	u32 pid;
	u32 uid;
	u32 srtt_us;		/* 0: no sample yet */
	u32 retrans;
	u32 mntns;		/* of the owner; only while a filter asks for it */
	u32 dev;		/* skc_bound_dev_if, 0: bound to no device */
	u32 start_ticks;		/* when the owner did, in ticks since boot; see TICK_NS */
	u8 syn_sent;			/* SYN_*, 0: unknown */
	u8 holder_lookup;		/* user space's, as holders */
	u16 holders;
	u32 pad;
	u16 lport;
	u16 rport;
	u16 err;		/* sk_err when it closed */
	u8 close_flags;		/* E_* */
	u8 reset_in;		/* state in which the RST came or went, 0: none */
	u8 state;
	u8 flags;
	u16 recorded_transitions;		/* transitions recorded by set_state ... */
	u16 guarded_transitions;		/* ... and seen by set_state_guard */
	u8 pending_old;
	u8 pending_new;
	char comm[TASK_COMM_LEN];
	/* from here on what sock_diag cannot know, see records.py: DUMP_ROW */
	u64 rtt_sum_us;
	u64 established_ns;	/* 0: not yet, or not seen */
	u8 retrans_in[12];	/* retransmits by state, at most 255 each */
	u32 rtt_hist[RTT_SLOTS];
};

/* tcptop_tui/bpf/slots.py: SLOT */
struct slot {
	u64 skaddr;		/* whose it is, 0: nobody's */
	u32 generation;	/* one more when it changes hands begins, one more when that is done */
	u32 dirty;		/* not what it was when user space looked at it last */
	struct conn conn;
};

struct transition {
	u64 ts_ns;
	u64 skaddr;
	u64 born_ns;
	u64 time_in_state_ns;	/* in the old state; ~0: unknown */
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
	u32 bystander_pid;		/* tgid on the CPU, owner or not */
	u32 bystander_tid;
	char bystander_comm[TASK_COMM_LEN];	/* only while somebody asks */
	u32 start_ticks;
};

struct session {
	u64 end_ns;
	u64 skaddr;
	struct conn conn;
};

/* what the capture filter wants; written by user space, read at each event */
struct capture {
	u32 by_lport;
	u32 by_rport;
	u32 by_pid;
	u32 family;		/* 0, AF_INET or AF_INET6 */
	u32 by_cgroup;		/* the map `cgroups`, with all below each */
	u32 context;		/* keep the bystander's name too */
};

/* one scratch entry each: a program never interrupts itself, but others may */
enum program {
	P_SET_STATE,
	P_GUARD,
	P_SEGMENT,
	P_RESET,
	P_CONNECT,		/* connects.c */
	PROGRAMS,
	P_DESTROY,		/* needs none */
};

enum counter {
	C_RING_FULL,		/* transitions lost: no room in the ring */
	C_SESSION_RING_FULL,	/* ended sessions lost: no room in the ring */
	C_MAP_FULL,		/* sockets without an entry in conns */
	C_CAUGHT,		/* transitions that only the guard recorded */
	C_EXCLUDED,		/* transitions that the capture filter dropped */
	C_ESCAPED,		/* transitions of a followed socket that no program was run for */
	C_MAX,
};

/* slots.c */
#define CHUNK	64		/* slots that are opened at once */

/* what set_state and its guard hand to each other on one CPU; see slots.c */
struct handed {
	u32 latest;		/* slot of the entry that set_state has written to last */
	u32 spare;		/* number of a slot that the guard has given back, plus 1; 0: none */
};

/* sizes that are 1 here are said when the maps are made (_sizes() of tcptop_tui/bpf/program.py) */
BPF_TABLE("hash", u64, u32, conns, 1);
BPF_F_TABLE("array", u32, struct slot, block, BLOCK, BPF_F_MMAPABLE);
BPF_ARRAY_OF_MAPS(slots, "block", 1);
BPF_TABLE("array", u32, u64, extent, 1);	/* slots of all chunks that were opened */
BPF_QUEUE(chunks, u32, 1);
BPF_STACK(vacant, u32, 1);
BPF_TABLE("lru_hash", u64, struct listener, listeners, 16384);	/* by skaddr */
BPF_TABLE("percpu_array", u32, u64, counters, C_MAX);
BPF_TABLE("percpu_array", u32, u64, settled, SETTLED_SLOTS);
BPF_TABLE("percpu_array", u32, struct conn, scratch, PROGRAMS);
BPF_TABLE("percpu_array", u32, struct handed, handed, 1);
BPF_TABLE("array", u32, struct capture, capture, 1);
BPF_TABLE("array", u32, u64, lports, 1024);	/* 65,536 bits */
BPF_TABLE("array", u32, u64, rports, 1024);
BPF_TABLE("hash", u32, u32, pids, 1024);
BPF_TABLE("hash", u64, u32, cgroups, 1024);
/* maps that somebody else pinned, as --cgroupmap and --mntnsmap of bcc's tools */
#ifdef PINNED_CGROUPS
BPF_TABLE("hash", u64, u64, pinned_cgroups, 1);	/* stands for it until it is loaded, see pins.py */
#endif
#ifdef PINNED_MNTNS
BPF_TABLE("hash", u64, u32, pinned_mntns, 1);
#endif
BPF_RINGBUF_OUTPUT(transitions, RING_PAGES);
BPF_RINGBUF_OUTPUT(sessions, SESSION_RING_PAGES);
