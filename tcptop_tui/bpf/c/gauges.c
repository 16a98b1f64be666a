// SPDX-License-Identifier: Apache-2.0
/* What happens between two transitions: segments, reads, sends, accepts, retransmits; and when a socket is freed. */

/* Make an entry for a connection from before the start, at its first segment. */
static __always_inline struct conn *adopt(struct traced_socket traced, u64 skaddr)
{
	struct conn *c = zeroed_scratch(P_SEGMENT);
	struct capture_filter *filter = get_filter();

	if (!c || !filter)
		return 0;
	read_endpoints(c, traced);
	if (!includes_endpoints(filter, c) || !includes_cgroup(filter, traced.sk))
		return 0;
	read_identity(c, traced.sk);
	read_uid(c, traced.sk);
	c->state = TCP_ESTABLISHED;
	if (insert_conn(P_SEGMENT, skaddr, c))
		return 0;
	return find_conn(skaddr);
}

/*
 * floor(log2(value)), 0 for 0: all bits below the highest one are set, then counted.
 * There are no branches, because the verifier of 6.1 follows branches that cannot be taken
 * (its is_branch_taken() wants the constant on the right, LLVM puts it on the left). There the
 * result has bounds that contradict each other, and a pointer plus the result is no pointer
 * any more. Debian 12's own kernel refused the program for that.
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

/* Add an RTT sample to the connection's histogram, with buckets [0,1] [2,3] [4,7] ... as bcc prints them. */
static __always_inline void add_rtt(struct conn *c, u32 srtt_us)
{
	u64 bucket = log2_of(srtt_us / RTT_UNIT_US);

	if (bucket >= RTT_SLOTS)
		bucket = RTT_SLOTS - 1;
	asm volatile("" : "+r"(bucket));	/* or LLVM moves the test to where the verifier does not see it */
	if (bucket >= RTT_SLOTS)
		return;
	if (c->rtt_hist[bucket] != ~0U) {	/* a full bucket stays full and never wraps */
		c->rtt_hist[bucket]++;
		c->rtt_sum_us += srtt_us;
	}
	c->srtt_us = srtt_us;
}

/*
 * tcp:tcp_probe, from tcp_rcv_established() (net/ipv4/tcp_input.c). Fires at every segment that
 * an established socket receives, before it is processed; mostly in softirq, in process context
 * if the segment waited in the backlog. The kernel stores srtt_us times eight
 * (tcp_rtt_estimator(), same file); bcc's tcprtt samples it at the same place.
 */
int segment(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skaddr = ctx->args[0];
	struct conn *c = find_conn(skaddr);
	struct traced_socket traced = traced_socket(ctx);

	if (!traced.tp)
		return 0;
	if (!c)
		c = adopt(traced, skaddr);
	if (!c)
		return 0;
	add_rtt(c, read_field(&traced.tp->srtt_us) >> 3);
	read_gauges(c, traced);
	mark_conn_dirty(c);
	return 0;
}

/*
 * tcp:tcp_rcv_space_adjust, from tcp_rcv_space_adjust() (net/ipv4/tcp_input.c). Fires when data
 * were read from a socket: in tcp_recvmsg(), in the context of the process that reads; in
 * tcp_read_sock() (net/ipv4/tcp.c) also in softirq or a kernel thread, because sockmap and TLS
 * parse data as they come in.
 */
int reader(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skaddr = ctx->args[0];
	struct conn *c = find_conn(skaddr);
	struct traced_socket traced = traced_socket(ctx);

	if (!c || !traced.tp)
		return 0;
	read_uid(c, traced.sk);
	if (!current_is_owner(c))
		set_owner_if_locked(c, traced.sk, current_task());
	read_gauges(c, traced);
	mark_conn_dirty(c);
	return 0;
}

/* Make the current process the owner and read the user anew; kernel threads own nothing. */
static __always_inline void update_owner(struct conn *c, struct sock *sk)
{
	struct task_struct *task = current_task();

	if (is_kernel_thread(task))
		return;
	c->uid = probe_field(&sk->sk_uid);
	set_owner(c, task);
	mark_conn_dirty(c);
}

/*
 * tcp:tcp_sendmsg_locked (6.16 on), from tcp_sendmsg_locked() (net/ipv4/tcp.c). Fires when a
 * process sends, in its context, with the socket locked: the owner of servers that speak first
 * (SMTP, SSH) is known before they read. TLS in hardware sends in softirq, too
 * (tls_device_write_space(), net/tls/tls_device.c).
 */
int sender(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skaddr = ctx->args[0];
	struct sock *sk = (struct sock *)skaddr;
	struct conn *c = find_conn(skaddr);
	u32 owned;

	if (!c || current_is_owner(c))
		return 0;
	owned = probe_field(&sk->sk_lock_owned);
	if (owned)
		update_owner(c, sk);
	return 0;
}

/*
 * sock:sock_send_length (6.3 on), from sock_sendmsg() (net/socket.c). Fires at the end of a send,
 * in the context of a process or a kernel thread; the socket is not locked. It does what sender()
 * does, on kernels without tcp_sendmsg_locked.
 */
int sendmsg_done(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skaddr = ctx->args[0];
	struct conn *c = find_conn(skaddr);

	if (c && !current_is_owner(c))
		update_owner(c, (struct sock *)skaddr);
	return 0;
}

#ifdef TYPED
/*
 * fentry/security_sock_graft, called by sock_graft() (include/net/sock.h), from inet_accept().
 * Fires when accept() has taken a connection off the listener's queue and gives it to its new
 * struct socket, in the context of whoever accepts: a process, one of its io_uring workers, or
 * a kernel thread. sk_uid, the listener's until then, has just become that of the new inode.
 * Sockets of other families fire it, too; they have no entry.
 */
int accept(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skaddr = ctx->args[0];
	struct conn *c = find_conn(skaddr);

	if (c)
		update_owner(c, (struct sock *)skaddr);
	return 0;
}
#endif

/*
 * tcp:tcp_retransmit_skb, from __tcp_retransmit_skb() (net/ipv4/tcp_output.c). Fires at each
 * retransmit, in a timer or softirq. For an unanswered SYN this is the first event after the
 * local port was chosen.
 */
int retransmit(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skaddr = ctx->args[0], state;
	struct conn *c = find_conn(skaddr);
	struct traced_socket traced = traced_socket(ctx);

	if (!c || !traced.tp)
		return 0;
	read_endpoints(c, traced);
	read_gauges(c, traced);
	state = c->state;
	asm volatile("" : "+r"(state));	/* as in add_rtt() */
	if (state < sizeof(c->retrans_in) && c->retrans_in[state] != 255)
		c->retrans_in[state]++;
	mark_conn_dirty(c);
	return 0;
}

/*
 * tcp:tcp_destroy_sock, from tcp_v4_destroy_sock() (net/ipv4/tcp_ipv4.c). Fires when a socket is
 * freed, in process context, softirq or a timer: the address may be reused from here on. Only
 * sockets whose CLOSE neither program saw still have an entry.
 */
int destroy(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skaddr = ctx->args[0];
	u32 number = 0;
	struct slot *slot = find_slot(skaddr, &number);
	struct capture_filter *filter = get_filter();

	if (!slot || !filter)
		return 0;
	count_unseen(filter, &slot->conn, TCP_CLOSE);
	log_ended(&slot->conn, skaddr);
	delete_conn(P_DESTROY, skaddr, slot, number);
	return 0;
}
