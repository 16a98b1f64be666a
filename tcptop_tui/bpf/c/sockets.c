// SPDX-License-Identifier: Apache-2.0
/* Reading sockets into entries, for all hooks; scratch entries; marks of excluded sockets. */

/* A member of one of the kernel's structs, read by a helper; 0 if the address is invalid. */
#define probe_field(member) ({						\
	__typeof__(*(member)) value = 0;			\
	bpf_probe_read_kernel(&value, sizeof(value), member);	\
	value;							\
})

/*
 * The same for structs that a tracepoint's argument leads to. If the kernel knows the type of
 * the argument this is a load, which gives 0 in the same case and costs a tenth. Most of that
 * is a check of the address, which the JIT puts before each load (BPF_PROBE_MEM); since 6.2
 * what the argument itself points at is trusted and needs none (PTR_TRUSTED,
 * kernel/bpf/verifier.c).
 */
#ifdef TYPED
#define read_field(member)	(*(member))
#else
#define read_field(member)	probe_field(member)
#endif

/* The socket that a tracepoint is about, its first argument; `tp` is the same address, or, if TYPED and not TCP, 0. */
struct traced_socket {
	struct sock *sk;
	struct tcp_sock *tp;
};

static __always_inline struct traced_socket traced_socket(struct bpf_raw_tracepoint_args *ctx)
{
	struct traced_socket traced;
#ifdef TYPED
	/* in assembly, or bcc would replace each load through a pointer that it can trace back to ctx */
	asm volatile("%0 = *(u64 *)(%1 + 0)" : "=r"(traced.sk) : "r"(ctx));
	traced.tp = bpf_skc_to_tcp_sock(traced.sk);
#else
	traced.sk = (struct sock *)ctx->args[0];
	traced.tp = (struct tcp_sock *)traced.sk;
#endif
	return traced;
}

static __always_inline int is_tcp(struct traced_socket traced)
{
#ifdef TYPED
	return !!traced.tp;
#else
	return read_field(&traced.sk->sk_protocol) == IPPROTO_TCP;
#endif
}

static __always_inline void set_ipv4_mapped(u64 *to, u32 addr)
{
	to[0] = 0;
	to[1] = (u64)addr << 32 | 0xffff0000;
}

static __always_inline u16 swap_bytes(u16 port)
{
	return port << 8 | port >> 8;
}

/*
 * Endpoints, device and cookie. The device belongs to a connection's identity: two sockets may
 * have the same addresses and ports on two devices (link-local addresses, SO_BINDTODEVICE,
 * VRF), see inet_match() in include/net/inet_hashtables.h. setsockopt() may change it at any
 * time. A listener's child has its listener's device at LISTEN -> SYN_RECV
 * (inet_csk_clone_lock()) and its own, ir_iif, from the next transition on
 * (tcp_v4_syn_recv_sock(), net/ipv4/tcp_ipv4.c).
 *
 * skc_num is 0 again when CLOSE is announced: tcp_set_state() (net/ipv4/tcp.c)
 * gives the port back first. inet_sport keeps it.
 */
static __always_inline void read_endpoints(struct conn *c, struct traced_socket traced)
{
	struct sock *sk = traced.sk;

	c->lport = swap_bytes(read_field(&((struct inet_sock *)traced.tp)->inet_sport));	/* both are big-endian */
	c->rport = swap_bytes(read_field(&sk->skc_dport));
	c->cookie = read_field(&sk->skc_cookie);
	c->dev = read_field(&sk->skc_bound_dev_if);
	if (read_field(&sk->skc_family) == AF_INET6) {
		c->laddr[0] = read_field(&sk->skc_v6_rcv_saddr[0]);
		c->laddr[1] = read_field(&sk->skc_v6_rcv_saddr[1]);
		c->raddr[0] = read_field(&sk->skc_v6_daddr[0]);
		c->raddr[1] = read_field(&sk->skc_v6_daddr[1]);
	} else {
		set_ipv4_mapped(c->laddr, read_field(&sk->skc_rcv_saddr));
		set_ipv4_mapped(c->raddr, read_field(&sk->skc_daddr));
	}
}

/* Cgroup and network namespace, which a socket keeps for life; it does not keep its user, see read_uid(). */
static __always_inline void read_identity(struct conn *c, struct sock *sk)
{
	struct net *net = read_field(&sk->skc_net);
#ifdef HAVE_SOCK_CGROUP
	struct cgroup *group = read_field(&sk->sk_cgroup);
	struct kernfs_node *node = read_field(&group->kn);

	c->cgroup = read_field(&node->id);
#endif
	c->netns = read_field(&net->ns_inum);
}

/* As read_identity(), for a socket that no argument of a tracepoint leads to; with user and device. */
static __always_inline void probe_identity(struct conn *c, struct sock *sk)
{
	struct net *net = probe_field(&sk->skc_net);
#ifdef HAVE_SOCK_CGROUP
	struct cgroup *group = probe_field(&sk->sk_cgroup);
	struct kernfs_node *node = probe_field(&group->kn);

	c->cgroup = probe_field(&node->id);
#endif
	c->netns = probe_field(&net->ns_inum);
	c->uid = probe_field(&sk->sk_uid);
	c->dev = probe_field(&sk->skc_bound_dev_if);
}

/*
 * What a socket that has not connected is bound to. If it is bound to no address, it would have
 * got one of the destination's version.
 */
static __always_inline void probe_local_endpoint(struct conn *c, struct sock *sk)
{
	c->lport = probe_field(&sk->skc_num);
	if (probe_field(&sk->skc_family) == AF_INET6)
		bpf_probe_read_kernel(c->laddr, sizeof(c->laddr), &sk->skc_v6_rcv_saddr);
	if (!(c->laddr[0] | c->laddr[1]) && is_ipv4_mapped(c->raddr))
		set_ipv4_mapped(c->laddr, probe_field(&sk->skc_rcv_saddr));
}

/*
 * The user changes: a listener's child has the listener's until accept() gives it that of its
 * new inode (sock_graft(), include/net/sock.h), and fchown() may change it (sockfs_setattr(),
 * net/socket.c).
 */
static __always_inline void read_uid(struct conn *c, struct sock *sk)
{
	c->uid = read_field(&sk->sk_uid);
}

/* states in which our FIN is queued: it takes the last sequence number before write_seq */
#define AFTER_FIN	(1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | \
			 1 << TCP_CLOSING | 1 << TCP_LAST_ACK)

/*
 * Payload bytes that TCP has sent at least once: those acknowledged and those in flight
 * (tcp_snd_una_update(), net/ipv4/tcp_input.c; tcp_event_new_data_sent(),
 * net/ipv4/tcp_output.c), less our SYN and our FIN. bytes_sent - bytes_retrans would be more:
 * __tcp_transmit_skb() (net/ipv4/tcp_output.c) adds to bytes_sent before it hands the segment
 * down, and a segment that is refused there is sent again without being a retransmit.
 *
 * The sequence numbers of a listener's child start after its SYN (tcp_create_openreq_child(),
 * net/ipv4/tcp_minisocks.c), and so do those of a socket under TCP_REPAIR. For sockets from
 * before the start bytes_sent, which never counts a SYN, shows which it is, as long as nothing
 * was refused.
 *
 * A transition is announced before sk_state changes, so a FIN that is only about to be queued
 * is not subtracted.
 */
static __always_inline u64 payload_sent(struct conn *c, struct tcp_sock *tp, u8 state)
{
	u32 next = read_field(&tp->snd_nxt);
	u64 sent = read_field(&tp->bytes_acked) + (u32)(next - read_field(&tp->snd_una));

	if (AFTER_FIN >> (state & 15) & 1 && sent && next == read_field(&tp->write_seq))
		sent--;
	if (state == TCP_SYN_SENT)
		c->syn_sent = sent ? SYN_OUT : SYN_NONE;
	else if (!c->syn_sent && sent && read_field(&tp->bytes_sent) - read_field(&tp->bytes_retrans) == sent - 1)
		c->syn_sent = SYN_OUT;
	return c->syn_sent == SYN_OUT && sent ? sent - 1 : sent;
}

/*
 * Bytes and retransmits. bytes_received counts the peer's FIN, too (tcp_rcv_nxt_update(),
 * net/ipv4/tcp_input.c); tcp_fin() sets SOCK_DONE when it is received.
 */
static __always_inline void read_gauges(struct conn *c, struct traced_socket traced)
{
	u64 received = read_field(&traced.tp->bytes_received);

	c->retrans = read_field(&traced.tp->total_retrans);
	c->tx_bytes = payload_sent(c, traced.tp, read_field(&traced.sk->skc_state));
	if (received && read_field(&traced.sk->skc_flags) >> SOCK_DONE_BIT & 1)
		received--;
	c->rx_bytes = received;
	c->flags |= F_GAUGES;
}

/*
 * At birth nothing has been sent, and the gauges are 0. The counters in the kernel's struct
 * are those of an earlier connection (tcp_disconnect(), net/ipv4/tcp.c) or of the listener
 * that it was copied from (sk_clone(), net/core/sock.c).
 */
static __always_inline void init_gauges(struct conn *c, u8 newstate)
{
	c->flags |= F_GAUGES;
	if (newstate == TCP_SYN_RECV)
		c->syn_sent = SYN_NONE;
}

/*
 * The inode of a socket, as SOCK_INODE() (include/net/sock.h) gives it. SOCK_INODE() reads
 * beyond the struct whose type the kernel knows; the socket's file leads to the same inode
 * by known types.
 */
static __always_inline u64 sock_inode(struct sock *sk)
{
	struct socket *socket = read_field(&sk->sk_socket);
#ifdef TYPED
	struct file *file = read_field(&socket->file);
	struct inode *inode = read_field(&file->f_inode);

	if (inode)
		return read_field(&inode->i_ino);
#endif
	return probe_field(&((struct socket_alloc *)socket)->i_ino);
}

/*
 * The local port at connect() and listen(), which choose one for a socket without a port only
 * after they have announced the state (tcp_v4_connect(), net/ipv4/tcp_ipv4.c;
 * inet_csk_listen_start(), net/ipv4/inet_connection_sock.c). inet_sport may be that of an
 * earlier attempt then, and only sock_diag knows the new one. User space finds such a socket by
 * its inode, which is stored as its cookie; listeners, too, which may share an address
 * (tcptop_tui/reconcile/inode_keys.py).
 */
static __always_inline void read_early_port(struct conn *c, struct sock *sk, u8 newstate)
{
	c->lport = read_field(&sk->skc_num);
	if (!c->lport || newstate == TCP_LISTEN)
		c->cookie = sock_inode(sk);
}

/* A zeroed scratch entry: the BPF stack of 512 bytes has no room for a struct conn. */
static __always_inline struct conn *zeroed_scratch(u32 program)
{
	struct conn *c = scratch.lookup(&program);

	if (c)
		__builtin_memset(c, 0, sizeof(*c));
	return c;
}

/*
 * Where an excluded socket is marked: set_state was run and left no entry, because the capture
 * filter excludes the socket or the map is full. Without the mark the guard would record the
 * transition as missed. A softirq between the two programs may mark other sockets; one time in
 * 64 it overwrites the mark, and then an excluded transition counts as caught, or one that the
 * map had no room for is logged twice.
 */
static __always_inline u64 *excluded_mark_of(u64 skaddr)
{
	u64 address = 0;
	u32 index;

	/* read by the helper, because the verifier permits no arithmetic with a pointer */
	bpf_probe_read_kernel(&address, sizeof(address), &skaddr);
	index = (address >> 6 ^ address >> 12) % EXCLUDED_MARKS;
	return excluded_marks.lookup(&index);
}

/* For the guard: this transition of the socket was not missed. */
static __always_inline void mark_excluded(u64 skaddr)
{
	u64 *mark = excluded_mark_of(skaddr);

	if (mark)
		*mark = skaddr;
}

/* Whether the socket is marked; the mark is removed. */
static __always_inline int take_excluded_mark(u64 skaddr)
{
	u64 *mark = excluded_mark_of(skaddr);

	if (!mark || *mark != skaddr)
		return 0;
	*mark = 0;	/* the mark is for one transition: set_state may not be run at the next one */
	return 1;
}
