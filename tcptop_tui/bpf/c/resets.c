// SPDX-License-Identifier: Apache-2.0
/* Resets that were sent or received: close flags of entries, and late resets of ended connections. */

/* A RST was sent or received in the entry's state; `how` is E_RST_SENT or E_RST_RECEIVED. */
static __always_inline void record_reset(struct conn *c, u8 how)
{
	c->close_flags = (c->close_flags & ~(E_RST_SENT | E_RST_RECEIVED)) | how;
	c->reset_in = c->state;
	mark_conn_dirty(c);
}

/* Endpoints of a closed socket or of a timewait socket, which has a sock_common and no inet_sport. */
static __always_inline void probe_endpoints(struct conn *c, struct sock *sk, u8 state)
{
	struct net *net = probe_field(&sk->skc_net);

	c->netns = probe_field(&net->ns_inum);
	c->dev = probe_field(&sk->skc_bound_dev_if);
	c->lport = probe_field(&sk->skc_num);
	if (state == TCP_CLOSE)		/* skc_num is 0 again */
		c->lport = swap_bytes(probe_field(&((struct inet_sock *)sk)->inet_sport));
	c->rport = swap_bytes(probe_field(&sk->skc_dport));
	if (probe_field(&sk->skc_family) == AF_INET6) {
		bpf_probe_read_kernel(c->laddr, sizeof(c->laddr), &sk->skc_v6_rcv_saddr);
		bpf_probe_read_kernel(c->raddr, sizeof(c->raddr), &sk->skc_v6_daddr);
	} else {
		set_ipv4_mapped(c->laddr, probe_field(&sk->skc_rcv_saddr));
		set_ipv4_mapped(c->raddr, probe_field(&sk->skc_daddr));
	}
}

/*
 * Log a late reset: the answer to a segment that came after close(). The ended connection is
 * logged already, without the reset; user space adds it (tcptop_tui/reconcile/late_resets.py).
 * The record in the ring is a transition to state 0.
 */
static __always_inline void log_late_reset(struct sock *sk, u64 skaddr)
{
	u8 state = probe_field(&sk->skc_state);
	struct capture_filter *filter = get_filter();
	struct conn *c;

	if (!filter || (state != TCP_CLOSE && state != TCP_TIME_WAIT))
		return;
	c = zeroed_scratch(P_RESET);
	if (!c)
		return;
	probe_endpoints(c, sk, state);
	c->close_flags = E_RST_SENT;
	if (includes_endpoints(filter, c))
		log_transition(filter, c, skaddr, bpf_get_current_pid_tgid(),
			       bpf_ktime_get_ns(), ~0ULL, state, 0, 0);
}

/*
 * tcp:tcp_send_reset. Fires when this host sends a RST. From tcp_send_active_reset()
 * (net/ipv4/tcp_output.c), in any context and without a segment: the kernel gives the connection
 * up. From tcp_v4_send_reset() (net/ipv4/tcp_ipv4.c), in softirq and with the segment that it
 * answers: there also a listener, a request or a connection that goes on may send it (RFC 9293,
 * 3.10.7.3: half-open recovery), and from 6.10 on a timewait socket or no socket at all.
 */
int reset_sent(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skaddr = ctx->args[0];
	struct conn *c;

	if (!skaddr)
		return 0;
	c = find_conn(skaddr);
	if (c && (!ctx->args[1] || c->state == TCP_CLOSE))
		record_reset(c, E_RST_SENT);
	else if (!c && ctx->args[1])
		log_late_reset((struct sock *)skaddr, skaddr);
	return 0;
}

/*
 * tcp:tcp_receive_reset, from tcp_reset() (net/ipv4/tcp_input.c). Fires before CLOSE, mostly in
 * softirq. Data for a closed socket fire it, too (tcp_rcv_state_process(), same file), although
 * no RST was received; the RST that answers them follows, see log_late_reset().
 */
int reset_received(struct bpf_raw_tracepoint_args *ctx)
{
	struct conn *c = find_conn(ctx->args[0]);

	if (c)
		record_reset(c, E_RST_RECEIVED);
	return 0;
}
