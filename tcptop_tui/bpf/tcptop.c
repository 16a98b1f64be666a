// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel side of tcptop-tui: raw tracepoints only, no kernel headers.
 *
 * "tcptop_kernel.h" is generated at start-up from the running kernel's BTF
 * (tcptop_tui/bpf/headers.py); it has just the structs and members used here.
 * MAX_CONNECTIONS, RING_PAGES, SESSION_RING_PAGES and RTT_UNIT_US come as -D flags,
 * CGROUP_PIN and MNTNS_PIN where maps of somebody else's are to be asked.
 *
 * Two ways out, chosen by rate: *events* (transitions, ended sessions) go
 * through ring buffers of fixed-size records that are read in batches without
 * wake-ups; *gauges* (bytes, srtt, RTT histogram, owner) stay in the `conns`
 * hash, one entry a socket, which user space reads whole once a refresh.
 *
 * The layouts of struct conn, transition and session are mirrored by the
 * dtypes in tcptop_tui/records.py; a test compares sizes and offsets.
 */
#include "tcptop_kernel.h"

#define TASK_COMM_LEN	16
#define AF_INET		2
#define AF_INET6	10
#define IPPROTO_TCP	6
#define RTT_SLOTS	27
#define SOCK_DONE_BIT	1	/* enum sock_flags, include/net/sock.h: FIN seen */
#define SOCK_LINGER_BIT	5
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

/* how a connection ended, as far as it has; records.py: End */
#define E_FIN_SENT	1
#define E_FIN_RECEIVED	2
#define E_PEER_FIRST	4	/* the peer's FIN came before ours */
#define E_RST_SENT	8
#define E_RST_RECEIVED	16

struct owner {
	u32 pid;
	u32 uid;
	u32 mntns;
	char comm[TASK_COMM_LEN];
};

struct conn {
	u64 born_ns;		/* first transition seen, 0: before our time */
	u64 state_ns;		/* when the present state began, 0: unknown */
	u64 cookie;		/* skc_cookie, 0 until sock_diag asked once */
	u64 tx_bytes;
	u64 rx_bytes;
	u64 rtt_sum_us;
	u64 established_ns;	/* 0: not yet, or not seen */
	u64 cgroup;		/* id of the socket's cgroup v2, 0: none */
	u64 laddr[2];		/* IPv6 form; IPv4 as ::ffff:a.b.c.d */
	u64 raddr[2];
	u32 netns;
	u32 pid;
	u32 uid;
	u32 srtt_us;		/* 0: no sample yet */
	u32 retrans;
	u32 mntns;		/* of the owner; only while a filter asks for it */
	u16 lport;
	u16 rport;
	u16 err;		/* sk_err when it closed */
	u8 ends;		/* E_* */
	u8 reset_in;		/* state in which the RST came or went, 0: none */
	u8 state;
	u8 flags;
	u16 seen;		/* transitions recorded by set_state ... */
	u16 guarded;		/* ... and seen by set_state_guard */
	u8 pending_old;
	u8 pending_new;
	u8 retrans_in[12];	/* retransmits by state, at most 255 each */
	u32 rtt_hist[RTT_SLOTS];
	char comm[TASK_COMM_LEN];
};

struct transition {
	u64 ts_ns;
	u64 skaddr;
	u64 born_ns;
	u64 spent_ns;		/* in the old state; ~0: unknown */
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
	u16 lport;
	u16 rport;
	u8 oldstate;
	u8 newstate;
	u8 flags;
	u8 ends;
	char comm[TASK_COMM_LEN];
	u16 err;
	u8 reset_in;
	u8 pad;
	u32 bystander;		/* tgid on the CPU, owner or not */
	u32 bystander_tid;
	char bystander_comm[TASK_COMM_LEN];	/* only while somebody asks */
};

struct session {
	u64 end_ns;
	u64 skaddr;
	struct conn conn;
};

struct listener_key {
	u32 netns;
	u32 lport;
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
	P_CONNECT,		/* connects.c */
	PROGRAMS,
};

enum counter {
	C_TRANSITIONS,		/* records reserved in the transitions ring */
	C_RING_FULL,		/* transitions lost: no room in the ring */
	C_SESSION_RING_FULL,	/* ended sessions lost: no room in the ring */
	C_MAP_FULL,		/* sockets without an entry in conns */
	C_CAUGHT,		/* transitions that only the guard recorded */
	C_EXCLUDED,		/* transitions that the capture filter dropped */
	C_MAX,
};

BPF_TABLE("hash", u64, struct conn, conns, MAX_CONNECTIONS);
BPF_TABLE("lru_hash", struct listener_key, struct owner, listeners, 16384);
BPF_TABLE("percpu_array", u32, u64, counters, C_MAX);
BPF_TABLE("percpu_array", u32, u64, settled, 1);
BPF_TABLE("percpu_array", u32, struct conn, scratch, PROGRAMS);
BPF_TABLE("array", u32, struct capture, capture, 1);
BPF_TABLE("array", u32, u64, lports, 1024);	/* 65,536 bits */
BPF_TABLE("array", u32, u64, rports, 1024);
BPF_TABLE("hash", u32, u32, pids, 1024);
BPF_TABLE("hash", u64, u32, cgroups, 1024);
/* maps that somebody else pinned, as --cgroupmap and --mntnsmap of bcc's tools */
#ifdef CGROUP_PIN
BPF_TABLE_PINNED("hash", u64, u64, pinned_cgroups, 1024, CGROUP_PIN);
#endif
#ifdef MNTNS_PIN
BPF_TABLE_PINNED("hash", u64, u32, pinned_mntns, 1024, MNTNS_PIN);
#endif
BPF_RINGBUF_OUTPUT(transitions, RING_PAGES);
BPF_RINGBUF_OUTPUT(sessions, SESSION_RING_PAGES);

static __always_inline void count(u32 which)
{
	u64 *value = counters.lookup(&which);

	if (value)
		(*value)++;
}

static __always_inline int port_wanted(u64 *word, u32 port)
{
	return word && (*word >> (port & 63) & 1);
}

static __always_inline int lport_wanted(u32 port)
{
	u32 index = port >> 6;

	return port_wanted(lports.lookup(&index), port);
}

static __always_inline int rport_wanted(u32 port)
{
	u32 index = port >> 6;

	return port_wanted(rports.lookup(&index), port);
}

static __always_inline struct capture *wanted(void)
{
	u32 zero = 0;

	return capture.lookup(&zero);
}

static __always_inline int is_mapped(const struct conn *c)
{
	/* ::ffff:0:0/96 as two little-endian words */
	return c->laddr[0] == 0 && (u32)c->laddr[1] == 0xffff0000 &&
	       c->raddr[0] == 0 && (u32)c->raddr[1] == 0xffff0000;
}

/*
 * Does the capture filter want this connection at all? A local port of 0 is
 * one that connect() has not chosen yet: the answer is put off, see pending.
 */
static __always_inline int conn_wanted(const struct capture *want,
				       const struct conn *c)
{
	if (want->by_lport && c->lport && !lport_wanted(c->lport))
		return 0;
	if (want->by_rport && !rport_wanted(c->rport))
		return 0;
	if (want->family)
		return is_mapped(c) == (want->family == AF_INET);
	return 1;
}

/* an owner not known yet cannot be held against a connection */
static __always_inline int owner_wanted(const struct capture *want,
					const struct conn *c)
{
	u32 pid = c->pid;

#ifdef MNTNS_PIN
	u64 mntns = c->mntns;

	if (mntns && !pinned_mntns.lookup(&mntns))
		return 0;
#endif
	return !want->by_pid || !pid || pids.lookup(&pid);
}

/*
 * Is the socket's cgroup one of those asked for, or below one? The socket's,
 * not the current task's: in softirq that is a bystander's.
 */
static __always_inline int cgroup_wanted(const struct capture *want,
					 struct sock *sk)
{
#ifdef HAVE_SOCK_CGROUP
	void *group = 0, *node = 0;
	u64 id;

#ifdef CGROUP_PIN
	bpf_probe_read_kernel(&group, sizeof(group), &sk->sk_cgroup);
	bpf_probe_read_kernel(&node, sizeof(node), &((struct cgroup *)group)->kn);
	id = 0;
	bpf_probe_read_kernel(&id, sizeof(id), &((struct kernfs_node *)node)->id);
	if (!pinned_cgroups.lookup(&id))
		return 0;
#endif
	if (!want->by_cgroup)
		return 1;
	bpf_probe_read_kernel(&group, sizeof(group), &sk->sk_cgroup);
#pragma unroll
	for (int level = 0; level < CGROUP_LEVELS; level++) {
		id = 0;
		if (!group)
			return 0;
		bpf_probe_read_kernel(&node, sizeof(node),
				      &((struct cgroup *)group)->kn);
		bpf_probe_read_kernel(&id, sizeof(id),
				      &((struct kernfs_node *)node)->id);
		if (cgroups.lookup(&id))
			return 1;
		/* struct cgroup begins with its own css, whose parent is the parent's */
		bpf_probe_read_kernel(&group, sizeof(group),
				      &((struct cgroup *)group)->parent);
	}
	return 0;
#else
	return 1;
#endif
}

static __always_inline void read_mapped(u64 *to, const void *from)
{
	u32 addr = 0;

	bpf_probe_read_kernel(&addr, sizeof(addr), from);
	to[0] = 0;
	to[1] = (u64)addr << 32 | 0xffff0000;
}

static __always_inline u16 swapped(u16 port)
{
	return port << 8 | port >> 8;
}

/*
 * skc_num is 0 again when CLOSE is announced: tcp_set_state() (net/ipv4/tcp.c)
 * gives the port back first. inet_sport keeps it.
 */
static __always_inline void read_endpoints(struct conn *c, struct sock *sk)
{
	u16 family = 0, lport = 0, rport = 0;

	bpf_probe_read_kernel(&family, sizeof(family), &sk->skc_family);
	bpf_probe_read_kernel(&lport, sizeof(lport), &((struct inet_sock *)sk)->inet_sport);
	bpf_probe_read_kernel(&rport, sizeof(rport), &sk->skc_dport);
	c->lport = swapped(lport);		/* both are big-endian */
	c->rport = swapped(rport);
	bpf_probe_read_kernel(&c->cookie, sizeof(c->cookie), &sk->skc_cookie);
	if (family == AF_INET6) {
		bpf_probe_read_kernel(c->laddr, sizeof(c->laddr),
				      &sk->skc_v6_rcv_saddr);
		bpf_probe_read_kernel(c->raddr, sizeof(c->raddr),
				      &sk->skc_v6_daddr);
	} else {
		read_mapped(c->laddr, &sk->skc_rcv_saddr);
		read_mapped(c->raddr, &sk->skc_daddr);
	}
}

static __always_inline void read_identity(struct conn *c, struct sock *sk)
{
	void *net = 0;

	bpf_probe_read_kernel(&net, sizeof(net), &sk->skc_net);
	if (net)
		bpf_probe_read_kernel(&c->netns, sizeof(c->netns),
				      &((struct net *)net)->ns_inum);
	bpf_probe_read_kernel(&c->uid, sizeof(c->uid), &sk->sk_uid);
#ifdef HAVE_SOCK_CGROUP
	void *group = 0, *node = 0;

	bpf_probe_read_kernel(&group, sizeof(group), &sk->sk_cgroup);
	bpf_probe_read_kernel(&node, sizeof(node), &((struct cgroup *)group)->kn);
	bpf_probe_read_kernel(&c->cgroup, sizeof(c->cgroup),
			      &((struct kernfs_node *)node)->id);
#endif
}

/*
 * Payload bytes, as the applications count them: bytes_acked would count our
 * SYN and FIN, bytes_received counts the peer's FIN (tcp_rcv_nxt_update in
 * net/ipv4/tcp_input.c), which tcp_fin() marks with SOCK_DONE.
 */
static __always_inline void read_gauges(struct conn *c, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u64 sent = 0, again = 0, received = 0, skflags = 0;

	bpf_probe_read_kernel(&sent, sizeof(sent), &tp->bytes_sent);
	bpf_probe_read_kernel(&again, sizeof(again), &tp->bytes_retrans);
	bpf_probe_read_kernel(&received, sizeof(received), &tp->bytes_received);
	bpf_probe_read_kernel(&skflags, sizeof(skflags), &sk->skc_flags);
	bpf_probe_read_kernel(&c->retrans, sizeof(c->retrans), &tp->total_retrans);
	c->tx_bytes = sent - again;
	if (received && skflags >> SOCK_DONE_BIT & 1)
		received--;
	c->rx_bytes = received;
	c->flags |= F_GAUGES;
}

/* inode number of the current task's mount namespace, as `ls -L /proc/self/ns` has it */
static __always_inline u32 current_mntns(void)
{
	u32 inum = 0;
#ifdef MNTNS_PIN
	struct task_struct *task = (void *)bpf_get_current_task();
	void *proxy = 0, *mnt = 0;

	bpf_probe_read_kernel(&proxy, sizeof(proxy), &task->nsproxy);
	bpf_probe_read_kernel(&mnt, sizeof(mnt), &((struct nsproxy *)proxy)->mnt_ns);
	bpf_probe_read_kernel(&inum, sizeof(inum),
			      &((struct mnt_namespace *)mnt)->mnt_inum);
#endif
	return inum;
}

static __always_inline void own_by_current(struct conn *c)
{
	c->mntns = current_mntns();
	c->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(c->comm, sizeof(c->comm));
	c->flags |= F_OWNER_SURE;
}

/* until somebody reads from it, an accepted socket is its listener's */
static __always_inline void own_by_listener(struct conn *c)
{
	struct listener_key key = { .netns = c->netns, .lport = c->lport };
	struct owner *owner = listeners.lookup(&key);

	if (!owner)
		return;
	c->pid = owner->pid;
	c->mntns = owner->mntns;
	__builtin_memcpy(c->comm, owner->comm, sizeof(c->comm));
}

static __always_inline void remember_listener(const struct conn *c)
{
	struct listener_key key = { .netns = c->netns, .lport = c->lport };
	struct owner owner = { .pid = c->pid, .uid = c->uid, .mntns = c->mntns };

	__builtin_memcpy(owner.comm, c->comm, sizeof(owner.comm));
	listeners.update(&key, &owner);
}

/* connect() and listen() run in the process that owns the socket */
static __always_inline int is_own_context(u8 oldstate, u8 newstate)
{
	return oldstate == TCP_CLOSE &&
	       (newstate == TCP_SYN_SENT || newstate == TCP_LISTEN);
}

/* A zeroed struct conn; on the BPF stack of 512 bytes it would crowd the rest. */
static __always_inline struct conn *blank(u32 program)
{
	struct conn *c = scratch.lookup(&program);

	if (c)
		__builtin_memset(c, 0, sizeof(*c));
	return c;
}

/*
 * set_state dealt with this socket and left no entry: excluded by the capture
 * filter, or the map is full. The guard must not take that for a miss.
 */
static __always_inline void settle(u64 key)
{
	u32 zero = 0;
	u64 *last = settled.lookup(&zero);

	if (last)
		*last = key;
}

static __always_inline int is_settled(u64 key)
{
	u32 zero = 0;
	u64 *last = settled.lookup(&zero);

	return last && *last == key;
}

static __always_inline void log_transition(const struct capture *want,
					   const struct conn *c, u64 key,
					   u64 ts_ns, u64 spent_ns,
					   u8 oldstate, u8 newstate, u8 flags)
{
	u64 current = bpf_get_current_pid_tgid();
	struct transition *t;

	t = transitions.ringbuf_reserve(sizeof(*t));
	if (!t) {
		count(C_RING_FULL);
		return;
	}
	t->ts_ns = ts_ns;
	t->skaddr = key;
	t->born_ns = c->born_ns;
	t->spent_ns = spent_ns;
	t->tx_bytes = c->tx_bytes;
	t->rx_bytes = c->rx_bytes;
	t->cgroup = c->cgroup;
	t->laddr[0] = c->laddr[0];
	t->laddr[1] = c->laddr[1];
	t->raddr[0] = c->raddr[0];
	t->raddr[1] = c->raddr[1];
	t->netns = c->netns;
	t->pid = c->pid;
	t->uid = c->uid;
	t->srtt_us = c->srtt_us;
	t->retrans = c->retrans;
	t->lport = c->lport;
	t->rport = c->rport;
	t->oldstate = oldstate;
	t->newstate = newstate;
	t->flags = flags | (c->flags & ~(F_PENDING | F_DELAYED));
	t->ends = c->ends;
	__builtin_memcpy(t->comm, c->comm, sizeof(t->comm));
	t->err = c->err;
	t->reset_in = c->reset_in;
	t->pad = 0;
	t->bystander = current >> 32;
	t->bystander_tid = current;
	__builtin_memset(t->bystander_comm, 0, sizeof(t->bystander_comm));
	if (want->context)
		bpf_get_current_comm(t->bystander_comm, sizeof(t->bystander_comm));
	transitions.ringbuf_submit(t, BPF_RB_NO_WAKEUP);
	count(C_TRANSITIONS);
}

static __always_inline u64 time_spent(const struct conn *c, u64 now_ns)
{
	return c->state_ns ? now_ns - c->state_ns : ~0ULL;
}

/* Start of a life: CLOSE -> SYN_SENT or LISTEN, and a listener's child. */
static __always_inline int is_birth(u8 oldstate, u8 newstate)
{
	return is_own_context(oldstate, newstate) ||
	       (oldstate == TCP_LISTEN && newstate == TCP_SYN_RECV);
}

static __always_inline void begin_life(struct conn *c, struct sock *sk,
				       u8 oldstate, u8 newstate, u64 now_ns)
{
	read_endpoints(c, sk);
	read_identity(c, sk);
	if (is_birth(oldstate, newstate))
		c->born_ns = now_ns;
	if (is_own_context(oldstate, newstate))
		own_by_current(c);
	else if (newstate == TCP_SYN_RECV)
		own_by_listener(c);
	if (newstate == TCP_LISTEN) {
		c->flags |= F_LISTENER;
		remember_listener(c);
	} else if (newstate == TCP_SYN_SENT) {
		c->flags |= F_ACTIVE;
	} else if (newstate == TCP_SYN_RECV) {
		c->flags |= F_PASSIVE;
	}
}

/* close() with SO_LINGER and a time of 0: RST instead of FIN (__tcp_close, net/ipv4/tcp.c) */
static __always_inline int lingers_not(struct sock *sk)
{
	u64 skflags = 0, linger_jiffies = 1;

	bpf_probe_read_kernel(&skflags, sizeof(skflags), &sk->skc_flags);
	if (!(skflags >> SOCK_LINGER_BIT & 1) || skflags >> SOCK_DONE_BIT & 1)
		return 0;
	bpf_probe_read_kernel(&linger_jiffies, sizeof(linger_jiffies),
			      &sk->sk_lingertime);
	return !linger_jiffies;
}

/*
 * How it ends. sk_err is set before CLOSE is announced (tcp_done_with_error,
 * tcp_reset in net/ipv4/tcp_input.c, tcp_write_err in net/ipv4/tcp_timer.c).
 * Our own RST leaves only after CLOSE (__tcp_close, tcp_disconnect: state first,
 * then tcp_send_active_reset), when nobody follows the socket any more: but
 * CLOSE without an error out of a state that FIN has not finished is nothing else.
 */
static __always_inline void note_end(struct conn *c, struct sock *sk,
				     u8 oldstate, u8 newstate)
{
	u32 err = 0;

	if (newstate == TCP_FIN_WAIT1 || newstate == TCP_LAST_ACK)
		c->ends |= E_FIN_SENT;
	if (newstate == TCP_CLOSE_WAIT)
		c->ends |= E_FIN_RECEIVED | E_PEER_FIRST;
	if (newstate == TCP_CLOSING)
		c->ends |= E_FIN_RECEIVED;
	if (newstate != TCP_CLOSE)
		return;
	bpf_probe_read_kernel(&err, sizeof(err), &sk->sk_err);
	c->err = err;
	if (err || c->ends & (E_RST_SENT | E_RST_RECEIVED))
		return;
	if (oldstate == TCP_ESTABLISHED || oldstate == TCP_CLOSE_WAIT ||
	    oldstate == TCP_FIN_WAIT1 ||
	    (oldstate == TCP_FIN_WAIT2 && lingers_not(sk))) {
		c->ends |= E_RST_SENT;
		c->reset_in = oldstate;
	} else if (oldstate == TCP_FIN_WAIT2) {
		c->ends |= E_FIN_RECEIVED;
	}
}

/* connect() chooses the local port only after SYN_SENT was announced */
static __always_inline int must_wait(const struct capture *want,
				     const struct conn *c, u8 newstate)
{
	return want->by_lport && !c->lport && newstate == TCP_SYN_SENT;
}

static __always_inline void log_pending(const struct capture *want,
					struct conn *c, u64 key)
{
	if (!(c->flags & F_PENDING))
		return;
	c->flags &= ~F_PENDING;
	log_transition(want, c, key, c->state_ns, ~0ULL, c->pending_old,
		       c->pending_new, 0);
}

/* Write one transition into the socket's entry and into the ring. */
static __always_inline void record(const struct capture *want, struct conn *c,
				   u64 key, u64 now_ns, u8 oldstate,
				   u8 newstate, u8 flags)
{
	u64 spent_ns = time_spent(c, now_ns);

	if (must_wait(want, c, newstate)) {
		c->pending_old = oldstate;
		c->pending_new = newstate;
		c->flags |= F_PENDING;
	} else if (owner_wanted(want, c)) {
		log_pending(want, c, key);
		log_transition(want, c, key, now_ns, spent_ns, oldstate, newstate, flags);
	} else {
		c->flags &= ~F_PENDING;
		count(C_EXCLUDED);
	}
	c->state = newstate;
	c->state_ns = now_ns;
	if (newstate == TCP_ESTABLISHED)
		c->established_ns = now_ns;
}

/* Kernel address, old and new state of raw tracepoint inet_sock_set_state. */
struct change {
	struct sock *sk;
	u8 oldstate;
	u8 newstate;
};

static __always_inline int is_tcp(struct sock *sk)
{
	u16 protocol = 0;

	bpf_probe_read_kernel(&protocol, sizeof(protocol), &sk->sk_protocol);
	return protocol == IPPROTO_TCP;
}

/* Find or make the entry, bring it up to date, and record the transition. */
static __always_inline void take(struct change *ch, u32 program, u8 flags)
{
	u64 key = (u64)ch->sk, now_ns = bpf_ktime_get_ns();
	int birth = is_birth(ch->oldstate, ch->newstate);
	struct conn *c = conns.lookup(&key);
	struct capture *want = wanted();

	if (!want)
		return;
	if (!c || birth) {
		c = blank(program);
		if (!c)
			return;
		begin_life(c, ch->sk, ch->oldstate, ch->newstate, now_ns);
	}
	if (c->seen)
		read_endpoints(c, ch->sk);
	read_gauges(c, ch->sk);
	note_end(c, ch->sk, ch->oldstate, ch->newstate);
	if (!conn_wanted(want, c) || (!c->seen && !cgroup_wanted(want, ch->sk))) {
		conns.delete(&key);
		settle(key);
		count(C_EXCLUDED);
		return;
	}
	c->seen++;
	record(want, c, key, now_ns, ch->oldstate, ch->newstate, flags);
	if (c->seen != 1)
		return;
	/* first transition of this entry: it is still in scratch */
	if (conns.update(&key, c)) {
		settle(key);
		if (birth)
			count(C_MAP_FULL);
	}
}

static __always_inline void read_change(struct change *ch,
					struct bpf_raw_tracepoint_args *ctx)
{
	ch->sk = (struct sock *)ctx->args[0];
	ch->oldstate = ctx->args[1];
	ch->newstate = ctx->args[2];
}

/*
 * sock:inet_sock_set_state, from inet_sk_set_state() and inet_sk_state_store()
 * (net/ipv4/af_inet.c). Fires before sk_state changes, with the socket locked:
 * in process context for connect, listen and close, else in softirq, where the
 * current task is a bystander. TCP only: SCTP, DCCP and MPTCP use it too.
 */
int set_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct change ch;

	read_change(&ch, ctx);
	if (is_tcp(ch.sk))
		take(&ch, P_SET_STATE, 0);
	return 0;
}

/* The last word on a socket: its gauges and its histogram leave the map. */
static __always_inline void end_session(const struct conn *c, u64 key)
{
	struct capture *want = wanted();
	struct session *s;

	if (!want || !owner_wanted(want, c))
		return;
	s = sessions.ringbuf_reserve(sizeof(*s));
	if (!s) {
		count(C_SESSION_RING_FULL);
		return;
	}
	s->end_ns = c->state_ns;
	s->skaddr = key;
	bpf_probe_read_kernel(&s->conn, sizeof(s->conn), c);
	sessions.ringbuf_submit(s, BPF_RB_NO_WAKEUP);
}

/* Did set_state run for this very transition? */
static __always_inline int was_skipped(struct conn *c, struct change *ch)
{
	c->guarded++;
	if (c->guarded == (u16)(c->seen + 1))
		return 1;
	c->guarded = c->seen;	/* this program was the one that was skipped */
	return c->state != ch->newstate;
}

/*
 * Same tracepoint, attached after set_state and so run after it. The kernel
 * skips a program that would interrupt itself on one CPU (a softirq inside a
 * system call: bpf_prog->active, kernel/trace/bpf_trace.c __bpf_trace_run) and
 * tells nobody; this one records what set_state had to miss. It also ends the
 * session at CLOSE, when set_state has read the last gauges.
 */
int set_state_guard(struct bpf_raw_tracepoint_args *ctx)
{
	struct change ch;
	struct conn *c;
	u64 key;

	read_change(&ch, ctx);
	if (!is_tcp(ch.sk))
		return 0;
	key = (u64)ch.sk;
	c = conns.lookup(&key);
	if (!c ? !is_settled(key) : was_skipped(c, &ch)) {
		take(&ch, P_GUARD, F_DELAYED);
		count(C_CAUGHT);
		c = conns.lookup(&key);
		if (c)
			c->guarded = c->seen;
	}
	if (!c)
		return 0;
	if (ch.newstate == TCP_CLOSE) {
		end_session(c, key);
		conns.delete(&key);
	}
	return 0;
}

/* The entry of a socket from before our time, at its first segment. */
static __always_inline struct conn *adopt(struct sock *sk, u64 key)
{
	struct conn *c = blank(P_SEGMENT);
	struct capture *want = wanted();

	if (!c || !want)
		return 0;
	read_endpoints(c, sk);
	if (!conn_wanted(want, c) || !cgroup_wanted(want, sk))
		return 0;
	read_identity(c, sk);
	c->state = TCP_ESTABLISHED;
	if (conns.update(&key, c))
		return 0;
	return conns.lookup(&key);
}

static __always_inline void add_rtt(struct conn *c, u32 srtt_us)
{
	u64 slot = 0, rest = srtt_us / RTT_UNIT_US;

	/* floor(log2): [0,1] [2,3] [4,7] ... as bcc prints them */
	if (rest >> 16) { slot += 16; rest >>= 16; }
	if (rest >> 8) { slot += 8; rest >>= 8; }
	if (rest >> 4) { slot += 4; rest >>= 4; }
	if (rest >> 2) { slot += 2; rest >>= 2; }
	slot += rest >> 1;
	if (slot >= RTT_SLOTS)
		slot = RTT_SLOTS - 1;
	asm volatile("" : "+r"(slot));	/* or LLVM moves the check out of sight */
	if (slot >= RTT_SLOTS)
		return;
	if (c->rtt_hist[slot] != ~0U) {		/* stays full, never wraps */
		c->rtt_hist[slot]++;
		c->rtt_sum_us += srtt_us;
	}
	c->srtt_us = srtt_us;
}

/*
 * tcp:tcp_probe, from tcp_rcv_established() (net/ipv4/tcp_input.c): every
 * segment that an established socket receives, before it is processed; mostly
 * softirq. srtt_us is kept times eight (tcp_rtt_estimator, same file); bcc's
 * tcprtt samples it at the same place.
 */
int segment(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u64 key = (u64)sk;
	struct conn *c = conns.lookup(&key);
	u32 srtt_us = 0;

	if (!c)
		c = adopt(sk, key);
	if (!c)
		return 0;
	bpf_probe_read_kernel(&srtt_us, sizeof(srtt_us), &tp->srtt_us);
	add_rtt(c, srtt_us >> 3);
	read_gauges(c, sk);
	return 0;
}

/*
 * tcp:tcp_rcv_space_adjust, from tcp_rcv_space_adjust() by way of tcp_recvmsg():
 * the process that reads from a socket is on the CPU. For an accepted socket
 * this is the first time its true owner is seen.
 */
int reader(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	u64 key = (u64)sk;
	struct conn *c = conns.lookup(&key);

	if (!c)
		return 0;
	if (!(c->flags & F_OWNER_SURE))
		own_by_current(c);
	read_gauges(c, sk);
	return 0;
}

/*
 * tcp:tcp_sendmsg_locked (6.16 on) or sock:sock_send_length (6.3 on), whichever
 * there is: the process that sends. Servers that speak first (SMTP, SSH) own
 * their sockets before they read.
 */
int sender(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = ctx->args[0];
	struct conn *c = conns.lookup(&key);

	if (c && !(c->flags & F_OWNER_SURE))
		own_by_current(c);
	return 0;
}

static __always_inline void note_reset(u64 key, u8 how)
{
	struct conn *c = conns.lookup(&key);

	if (!c)
		return;
	c->ends |= how;
	c->reset_in = c->state;
}

/*
 * tcp:tcp_send_reset, from tcp_v4_send_reset() (net/ipv4/tcp_ipv4.c: an answer to
 * a segment, softirq) and tcp_send_active_reset() (net/ipv4/tcp_output.c).
 */
int reset_sent(struct bpf_raw_tracepoint_args *ctx)
{
	note_reset(ctx->args[0], E_RST_SENT);
	return 0;
}

/* tcp:tcp_receive_reset, from tcp_reset() (net/ipv4/tcp_input.c), before CLOSE; softirq. */
int reset_received(struct bpf_raw_tracepoint_args *ctx)
{
	note_reset(ctx->args[0], E_RST_RECEIVED);
	return 0;
}

/*
 * tcp:tcp_retransmit_skb, from __tcp_retransmit_skb() (net/ipv4/tcp_output.c),
 * timer or softirq. For an unanswered SYN this is the first event after the
 * local port was chosen.
 */
int retransmit(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	u64 key = (u64)sk, state;
	struct conn *c = conns.lookup(&key);

	if (!c)
		return 0;
	read_endpoints(c, sk);
	read_gauges(c, sk);
	state = c->state;
	asm volatile("" : "+r"(state));	/* or LLVM moves the check out of sight */
	if (state < sizeof(c->retrans_in) && c->retrans_in[state] != 255)
		c->retrans_in[state]++;
	return 0;
}

/*
 * tcp:tcp_destroy_sock, from tcp_v4_destroy_sock() (net/ipv4/tcp_ipv4.c): the
 * address may be reused from here on. Only sockets whose CLOSE was missed still
 * have an entry.
 */
int destroy(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = ctx->args[0];
	struct conn *c = conns.lookup(&key);

	if (!c)
		return 0;
	end_session(c, key);
	conns.delete(&key);
	return 0;
}
