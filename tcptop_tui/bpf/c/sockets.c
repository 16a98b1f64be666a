// SPDX-License-Identifier: Apache-2.0
/* Reading a socket, whatever the hook: its endpoints, its counters, whose it is. */
/* A member of one of the kernel's structs, 0 where the pointer leads nowhere. */
#define ask(member) ({						\
	__typeof__(*(member)) found = 0;			\
	bpf_probe_read_kernel(&found, sizeof(found), member);	\
	found;							\
})

/*
 * The same of what a tracepoint's argument leads to: where the kernel knows its type it
 * is a load, with the same 0, at a tenth of the cost. Most of that is a check of the address,
 * which the JIT puts before each load (BPF_PROBE_MEM); since 6.2 what the argument itself
 * points at is trusted and needs none (PTR_TRUSTED, kernel/bpf/verifier.c).
 */
#ifdef TYPED
#define peek(member)	(*(member))
#else
#define peek(member)	ask(member)
#endif

/* The socket that a tracepoint is about, its first argument, and the same as TCP's; that is 0, if TYPED, for others. */
struct subject {
	struct sock *sk;
	struct tcp_sock *tp;
};

static __always_inline struct subject traced(struct bpf_raw_tracepoint_args *ctx)
{
	struct subject of;
#ifdef TYPED
	/* in assembly: bcc would replace every load by way of a pointer that it can follow */
	asm volatile("%0 = *(u64 *)(%1 + 0)" : "=r"(of.sk) : "r"(ctx));
	of.tp = bpf_skc_to_tcp_sock(of.sk);
#else
	of.sk = (struct sock *)ctx->args[0];
	of.tp = (struct tcp_sock *)of.sk;
#endif
	return of;
}

static __always_inline int is_tcp(struct subject of)
{
#ifdef TYPED
	return !!of.tp;
#else
	return peek(&of.sk->sk_protocol) == IPPROTO_TCP;
#endif
}

static __always_inline void map_address(u64 *to, u32 addr)
{
	to[0] = 0;
	to[1] = (u64)addr << 32 | 0xffff0000;
}

static __always_inline u16 swapped(u16 port)
{
	return port << 8 | port >> 8;
}

/*
 * The device is part of the ends: two sockets may have the same addresses and ports on two
 * devices (link-local addresses, SO_BINDTODEVICE, VRF), see inet_match() in
 * include/net/inet_hashtables.h. setsockopt() may change it at any time, and a listener's
 * child has its listener's at LISTEN -> SYN_RECV (inet_csk_clone_lock()) and its own, ir_iif,
 * from the next transition on (tcp_v4_syn_recv_sock(), net/ipv4/tcp_ipv4.c).
 *
 * skc_num is 0 again when CLOSE is announced: tcp_set_state() (net/ipv4/tcp.c)
 * gives the port back first. inet_sport keeps it.
 */
static __always_inline void read_endpoints(struct conn *c, struct subject of)
{
	struct sock *sk = of.sk;

	c->lport = swapped(peek(&((struct inet_sock *)of.tp)->inet_sport));	/* both are big-endian */
	c->rport = swapped(peek(&sk->skc_dport));
	c->cookie = peek(&sk->skc_cookie);
	c->dev = peek(&sk->skc_bound_dev_if);
	if (peek(&sk->skc_family) == AF_INET6) {
		c->laddr[0] = peek(&sk->skc_v6_rcv_saddr[0]);
		c->laddr[1] = peek(&sk->skc_v6_rcv_saddr[1]);
		c->raddr[0] = peek(&sk->skc_v6_daddr[0]);
		c->raddr[1] = peek(&sk->skc_v6_daddr[1]);
	} else {
		map_address(c->laddr, peek(&sk->skc_rcv_saddr));
		map_address(c->raddr, peek(&sk->skc_daddr));
	}
}

/* What stays for a socket's life; its user does not, see read_uid(). */
static __always_inline void read_identity(struct conn *c, struct sock *sk)
{
	struct net *net = peek(&sk->skc_net);
#ifdef HAVE_SOCK_CGROUP
	struct cgroup *group = peek(&sk->sk_cgroup);
	struct kernfs_node *node = peek(&group->kn);

	c->cgroup = peek(&node->id);
#endif
	c->netns = peek(&net->ns_inum);
}

/* read_identity() of a socket that no tracepoint's argument led to */
static __always_inline void ask_identity(struct conn *c, struct sock *sk)
{
	struct net *net = ask(&sk->skc_net);
#ifdef HAVE_SOCK_CGROUP
	struct cgroup *group = ask(&sk->sk_cgroup);
	struct kernfs_node *node = ask(&group->kn);

	c->cgroup = ask(&node->id);
#endif
	c->netns = ask(&net->ns_inum);
	c->uid = ask(&sk->sk_uid);
	c->dev = ask(&sk->skc_bound_dev_if);
}

/* What the socket was bound to. Without that it would have got an address of the target's version. */
static __always_inline void ask_local_end(struct conn *c, struct sock *sk)
{
	c->lport = ask(&sk->skc_num);
	if (ask(&sk->skc_family) == AF_INET6)
		bpf_probe_read_kernel(c->laddr, sizeof(c->laddr), &sk->skc_v6_rcv_saddr);
	if (!(c->laddr[0] | c->laddr[1]) && is_mapped(c->raddr))
		map_address(c->laddr, ask(&sk->skc_rcv_saddr));
}

/*
 * A listener's child has the listener's user until accept() gives it that of its inode
 * (sock_graft(), include/net/sock.h); fchown() changes it, too (sockfs_setattr(),
 * net/socket.c).
 */
static __always_inline void read_uid(struct conn *c, struct sock *sk)
{
	c->uid = peek(&sk->sk_uid);
}

/* states in which our FIN is queued: it takes the last sequence number before write_seq */
#define AFTER_FIN	(1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | \
			 1 << TCP_CLOSING | 1 << TCP_LAST_ACK)

/*
 * Payload bytes that have left TCP at least once: what is acknowledged and what is in
 * flight (tcp_snd_una_update(), net/ipv4/tcp_input.c; tcp_event_new_data_sent(),
 * net/ipv4/tcp_output.c), less our SYN and our FIN. bytes_sent - bytes_retrans is more:
 * __tcp_transmit_skb() (net/ipv4/tcp_output.c) adds to bytes_sent before it hands the
 * segment down, and what was refused there is sent again without being a retransmission.
 *
 * A listener's child starts behind its SYN (tcp_create_openreq_child(),
 * net/ipv4/tcp_minisocks.c), and so does a socket under TCP_REPAIR. Of sockets from before
 * our time bytes_sent tells, as long as nothing was refused: it never counts a SYN.
 *
 * The tracepoint of a transition comes before sk_state changes, so a FIN that is only
 * about to be queued is not taken off.
 */
static __always_inline u64 payload_sent(struct conn *c, struct tcp_sock *tp, u8 state)
{
	u32 next = peek(&tp->snd_nxt);
	u64 sent = peek(&tp->bytes_acked) + (u32)(next - peek(&tp->snd_una));

	if (AFTER_FIN >> (state & 15) & 1 && sent && next == peek(&tp->write_seq))
		sent--;
	if (state == TCP_SYN_SENT)
		c->syn_sent = sent ? SYN_OUT : SYN_NONE;
	else if (!c->syn_sent && sent && peek(&tp->bytes_sent) - peek(&tp->bytes_retrans) == sent - 1)
		c->syn_sent = SYN_OUT;
	return c->syn_sent == SYN_OUT && sent ? sent - 1 : sent;
}

/*
 * bytes_received counts the peer's FIN (tcp_rcv_nxt_update() in net/ipv4/tcp_input.c),
 * which tcp_fin() marks with SOCK_DONE.
 */
static __always_inline void read_gauges(struct conn *c, struct subject of)
{
	u64 received = peek(&of.tp->bytes_received);

	c->retrans = peek(&of.tp->total_retrans);
	c->tx_bytes = payload_sent(c, of.tp, peek(&of.sk->skc_state));
	if (received && peek(&of.sk->skc_flags) >> SOCK_DONE_BIT & 1)
		received--;
	c->rx_bytes = received;
	c->flags |= F_GAUGES;
}

/*
 * Nothing has been sent yet. What the struct still has is of an earlier connection
 * (tcp_disconnect(), net/ipv4/tcp.c) or of the listener that it was copied from
 * (sk_clone(), net/core/sock.c).
 */
static __always_inline void begin_gauges(struct conn *c, u8 newstate)
{
	c->flags |= F_GAUGES;
	if (newstate == TCP_SYN_RECV)
		c->syn_sent = SYN_NONE;
}

/* as SOCK_INODE(), include/net/sock.h, has it, which lies behind what the kernel knows the type of; so has the file */
static __always_inline u64 inode_of(struct sock *sk)
{
	struct socket *socket = peek(&sk->sk_socket);
#ifdef TYPED
	struct file *file = peek(&socket->file);
	struct inode *inode = peek(&file->f_inode);

	if (inode)
		return peek(&inode->i_ino);
#endif
	return ask(&((struct socket_alloc *)socket)->i_ino);
}

/*
 * connect() and listen() choose the port of a socket without one after they have announced
 * the state (tcp_v4_connect(), net/ipv4/tcp_ipv4.c; inet_csk_listen_start(),
 * net/ipv4/inet_connection_sock.c). inet_sport is still that of an earlier try then, and
 * sock_diag alone tells the new one. It is found by its inode, which stands in for the
 * cookie; so are listeners, which may share an address (inodes.py).
 */
static __always_inline void read_bound(struct conn *c, struct sock *sk, u8 newstate)
{
	c->lport = peek(&sk->skc_num);
	if (!c->lport || newstate == TCP_LISTEN)
		c->cookie = inode_of(sk);
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
 * filter, or the map is full. The guard must not take that for a miss. A
 * softirq between the two programs settles other sockets: in other slots, but
 * for one time in 64, when an excluded transition counts as caught and one that
 * the map had no room for is logged twice.
 */
static __always_inline u64 *settled_slot(u64 key)
{
	u64 number = 0;
	u32 slot;

	/* by way of the helper: the verifier lets nobody calculate with a pointer */
	bpf_probe_read_kernel(&number, sizeof(number), &key);
	slot = (number >> 6 ^ number >> 12) % SETTLED_SLOTS;
	return settled.lookup(&slot);
}

static __always_inline void settle(u64 key)
{
	u64 *last = settled_slot(key);

	if (last)
		*last = key;
}

static __always_inline int is_settled(u64 key)
{
	u64 *last = settled_slot(key);

	if (!last || *last != key)
		return 0;
	*last = 0;	/* said of one transition: the next one may be skipped */
	return 1;
}
