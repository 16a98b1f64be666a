// SPDX-License-Identifier: Apache-2.0
/* What moves between two states: segments, readers, senders, resets, retransmits. */
/* The entry of a socket from before our time, at its first segment. */
static __always_inline struct conn *adopt(struct subject of, u64 key)
{
	struct conn *c = blank(P_SEGMENT);
	struct capture *want = wanted();

	if (!c || !want)
		return 0;
	read_endpoints(c, of);
	if (!conn_wanted(want, c) || !cgroup_wanted(want, of.sk))
		return 0;
	read_identity(c, of.sk);
	read_uid(c, of.sk);
	c->state = TCP_ESTABLISHED;
	if (enter(P_SEGMENT, key, c))
		return 0;
	return conn_of(key);
}

/*
 * floor(log2(value)), 0 for 0: all bits below the highest are set, then counted.
 * Without branches: the verifier of 6.1 follows some that cannot be taken (its
 * is_branch_taken() wants the constant on the right, LLVM puts it on the left), the
 * result has bounds that contradict each other there, and a pointer that it is added
 * to is none any more. Debian 12's own kernel refused the program for that.
 */
static __always_inline u64 log2_of(u64 value)
{
	value |= 1;
	value |= value >> 1;
	value |= value >> 2;
	value |= value >> 4;
	value |= value >> 8;
	value |= value >> 16;
	value -= value >> 1 & 0x55555555;
	value = (value & 0x33333333) + (value >> 2 & 0x33333333);
	value = (value + (value >> 4)) & 0x0f0f0f0f;
	return ((value * 0x01010101 & 0xffffffff) >> 24) - 1;
}

static __always_inline void add_rtt(struct conn *c, u32 srtt_us)
{
	/* [0,1] [2,3] [4,7] ... as bcc prints them */
	u64 slot = log2_of(srtt_us / RTT_UNIT_US);

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
	u64 key = ctx->args[0];
	struct conn *c = conn_of(key);
	struct subject of = traced(ctx);

	if (!of.tp)
		return 0;
	if (!c)
		c = adopt(of, key);
	if (!c)
		return 0;
	add_rtt(c, peek(&of.tp->srtt_us) >> 3);
	read_gauges(c, of);
	mark_conn_dirty(c);
	return 0;
}

/*
 * tcp:tcp_rcv_space_adjust, from tcp_rcv_space_adjust() by way of tcp_recvmsg(): the process
 * that reads from a socket is on the CPU. By way of tcp_read_sock() (net/ipv4/tcp.c) it is
 * softirq, too, or a kernel thread: sockmap and TLS parse what comes in as it comes.
 */
int reader(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = ctx->args[0];
	struct conn *c = conn_of(key);
	struct subject of = traced(ctx);

	if (!c || !of.tp)
		return 0;
	read_uid(c, of.sk);
	if (!is_owner(c))
		own_in_process(c, of.sk, current_task());
	read_gauges(c, of);
	mark_conn_dirty(c);
	return 0;
}

/* The process on the CPU is at work on its own socket, and is not the owner that is known. */
static __always_inline void note_owner(struct conn *c, struct sock *sk)
{
	struct task_struct *task = current_task();

	if (is_kernel_thread(task))
		return;
	c->uid = ask(&sk->sk_uid);
	own_by_current(c, task);
	mark_conn_dirty(c);
}

/*
 * tcp:tcp_sendmsg_locked (6.16 on), from tcp_sendmsg_locked() (net/ipv4/tcp.c), with the socket
 * locked: the process that sends. Servers that speak first (SMTP, SSH) own their sockets
 * before they read. TLS in hardware sends in softirq, too (tls_device_write_space(),
 * net/tls/tls_device.c).
 */
int sender(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = ctx->args[0];
	struct sock *sk = (struct sock *)key;
	struct conn *c = conn_of(key);
	u32 owned;

	if (!c || is_owner(c))
		return 0;
	owned = ask(&sk->sk_lock_owned);
	if (owned)
		note_owner(c, sk);
	return 0;
}

/*
 * sock:sock_send_length (6.3 on), at the end of sock_sendmsg() (net/socket.c): the same where
 * there is no tcp_sendmsg_locked; of a process or of a kernel thread, the socket is not locked.
 */
int sent(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = ctx->args[0];
	struct conn *c = conn_of(key);

	if (c && !is_owner(c))
		note_owner(c, (struct sock *)key);
	return 0;
}

#ifdef TYPED
/*
 * fentry/security_sock_graft: accept() has taken a connection off the listener's queue and
 * gives it to its new struct socket (sock_graft(), include/net/sock.h, from inet_accept()),
 * in the context of whoever accepts: a process, one of its io_uring workers, or a kernel
 * thread. sk_uid, the listener's until then, has just become that of the new inode. Other
 * families, whose sockets have no entry, come by here as well.
 */
int accepted(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = ctx->args[0];
	struct conn *c = conn_of(key);

	if (c)
		note_owner(c, (struct sock *)key);
	return 0;
}
#endif

static __always_inline void note_reset(struct conn *c, u8 how)
{
	c->close_flags = (c->close_flags & ~(E_RST_SENT | E_RST_RECEIVED)) | how;
	c->reset_in = c->state;
	mark_conn_dirty(c);
}

/* Ends of a closed socket, or of what TIME_WAIT has left of one: that has a sock_common and no inet_sport. */
static __always_inline void ask_ends(struct conn *c, struct sock *sk, u8 state)
{
	struct net *net = ask(&sk->skc_net);

	c->netns = ask(&net->ns_inum);
	c->dev = ask(&sk->skc_bound_dev_if);
	c->lport = ask(&sk->skc_num);
	if (state == TCP_CLOSE)		/* which has given skc_num back */
		c->lport = swapped(ask(&((struct inet_sock *)sk)->inet_sport));
	c->rport = swapped(ask(&sk->skc_dport));
	if (ask(&sk->skc_family) == AF_INET6) {
		bpf_probe_read_kernel(c->laddr, sizeof(c->laddr), &sk->skc_v6_rcv_saddr);
		bpf_probe_read_kernel(c->raddr, sizeof(c->raddr), &sk->skc_v6_daddr);
	} else {
		map_address(c->laddr, ask(&sk->skc_rcv_saddr));
		map_address(c->raddr, ask(&sk->skc_daddr));
	}
}

/*
 * An answer to a segment that came after close(): the connection has ended already, as far as
 * its entry told, and user space puts that right. Logged as a transition to no state.
 */
static __always_inline void log_late_reset(struct sock *sk, u64 key)
{
	u8 state = ask(&sk->skc_state);
	struct capture *want = wanted();
	struct conn *c;

	if (!want || (state != TCP_CLOSE && state != TCP_TIME_WAIT))
		return;
	c = blank(P_RESET);
	if (!c)
		return;
	ask_ends(c, sk, state);
	c->close_flags = E_RST_SENT;
	if (conn_wanted(want, c))
		log_transition(want, c, key, bpf_get_current_pid_tgid(),
			       bpf_ktime_get_ns(), ~0ULL, state, 0, 0);
}

/*
 * tcp:tcp_send_reset. From tcp_send_active_reset() (net/ipv4/tcp_output.c), without a segment:
 * the kernel gives the connection up, in whatever context. From tcp_v4_send_reset()
 * (net/ipv4/tcp_ipv4.c), with the segment that it answers, softirq: a listener, a request or
 * a connection that goes on may do so, too (RFC 9293, 3.10.7.3: half-open recovery), and
 * from 6.10 on TIME_WAIT and nobody.
 */
int reset_sent(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = ctx->args[0];
	struct conn *c;

	if (!key)
		return 0;
	c = conn_of(key);
	if (c && (!ctx->args[1] || c->state == TCP_CLOSE))
		note_reset(c, E_RST_SENT);
	else if (!c && ctx->args[1])
		log_late_reset((struct sock *)key, key);
	return 0;
}

/*
 * tcp:tcp_receive_reset, from tcp_reset() (net/ipv4/tcp_input.c), before CLOSE; softirq. Data
 * for a socket that is closed come by here, too (tcp_rcv_state_process(), same file), although
 * there was no RST: the one that answers them follows, see log_late_reset().
 */
int reset_received(struct bpf_raw_tracepoint_args *ctx)
{
	struct conn *c = conn_of(ctx->args[0]);

	if (c)
		note_reset(c, E_RST_RECEIVED);
	return 0;
}

/*
 * tcp:tcp_retransmit_skb, from __tcp_retransmit_skb() (net/ipv4/tcp_output.c),
 * timer or softirq. For an unanswered SYN this is the first event after the
 * local port was chosen.
 */
int retransmit(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = ctx->args[0], state;
	struct conn *c = conn_of(key);
	struct subject of = traced(ctx);

	if (!c || !of.tp)
		return 0;
	read_endpoints(c, of);
	read_gauges(c, of);
	state = c->state;
	asm volatile("" : "+r"(state));	/* or LLVM moves the check out of sight */
	if (state < sizeof(c->retrans_in) && c->retrans_in[state] != 255)
		c->retrans_in[state]++;
	mark_conn_dirty(c);
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
	u32 at = 0;
	struct slot *slot = slot_of(key, &at);
	struct capture *want = wanted();

	if (!slot || !want)
		return 0;
	count_escaped(want, &slot->conn, TCP_CLOSE);
	end_session(&slot->conn, key);
	leave(P_DESTROY, key, slot, at);
	return 0;
}
