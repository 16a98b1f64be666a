// SPDX-License-Identifier: Apache-2.0
/*
 * How a connection ended: close flags and errno.
 *
 * Where the kernel gives up (tcp_reset() in net/ipv4/tcp_input.c, tcp_write_err() in
 * net/ipv4/tcp_timer.c, tcp_abort() in net/ipv4/tcp.c) it sets sk_err before it announces
 * CLOSE. A reset that the kernel sends by itself is sent before CLOSE, too, and has a tracepoint
 * (reset_sent() in resets.c). The reset of close() and disconnect() is sent after CLOSE, when the
 * socket has no entry any more; reset_follows() repeats the conditions of __tcp_close() and
 * tcp_disconnect() (net/ipv4/tcp.c) instead. The answer to a segment that comes after close() is
 * sent after CLOSE as well, and only its tracepoint tells of it: log_late_reset() in resets.c.
 */
#define EPIPE		32
#define EADDRNOTAVAIL	99
#define ECONNABORTED	103
#define ECONNRESET	104
#define ETIMEDOUT	110
#define SHUTDOWN_MASK	3	/* include/net/sock.h: both directions */

static __always_inline int has_sock_flag(struct sock *sk, int bit)
{
	return read_field(&sk->skc_flags) >> bit & 1;
}

/*
 * Whether connect() failed because it found no local port. tcp_v4_connect()
 * (net/ipv4/tcp_ipv4.c) announces SYN_SENT, looks for a port (inet_hash_connect()), and only
 * then sets the first sequence number, the same in write_seq and snd_nxt. In a socket that was
 * connected before the two still differ (tcp_disconnect()); where TCP_FASTOPEN_CONNECT puts the
 * SYN off snd_nxt is still 0.
 */
static __always_inline int failed_to_find_port(struct tcp_sock *tp)
{
	u32 next = read_field(&tp->snd_nxt), last = read_field(&tp->write_seq);

	return !read_field(&tp->segs_out) && (!last || (next && next != last));
}

/* Whether all that this host had to send is acknowledged, its FIN included. */
static __always_inline int all_acknowledged(struct tcp_sock *tp)
{
	return read_field(&tp->snd_una) == read_field(&tp->write_seq);
}

/* Whether all that this host had to send was sent, its FIN included. */
static __always_inline int all_sent(struct tcp_sock *tp)
{
	return read_field(&tp->snd_nxt) == read_field(&tp->write_seq);
}

/* Whether both FINs were received and acknowledged; TIME_WAIT may follow. */
static __always_inline int both_fins_are_through(struct traced_socket traced, u8 oldstate)
{
	if (oldstate == TCP_FIN_WAIT2)
		return has_sock_flag(traced.sk, SOCK_DONE_BIT);
	return (oldstate == TCP_LAST_ACK || oldstate == TCP_CLOSING) && all_acknowledged(traced.tp);
}

/*
 * Whether close() announces CLOSE. It shuts both directions down first, and from these states
 * shutdown() leads to another state. An sk_err is from before then.
 */
static __always_inline int is_close_call(struct sock *sk, u8 oldstate)
{
	return (oldstate == TCP_ESTABLISHED || oldstate == TCP_CLOSE_WAIT) &&
	       read_field(&sk->sk_shutdown) == SHUTDOWN_MASK;
}

/*
 * sk_err if it is the reason of this CLOSE, else 0. Under IP_RECVERR an ICMP message sets sk_err
 * while the connection goes on (tcp_v4_err(), net/ipv4/tcp_ipv4.c); it ends a connection only
 * in the handshake. A timeout sets ETIMEDOUT, or the errno of such a message from sk_err_soft
 * (tcp_write_err()). The errnos of tcp_reset() and tcp_abort() come from no message.
 */
static __always_inline u32 close_errno(struct sock *sk, u8 oldstate)
{
	u32 err = read_field(&sk->sk_err);

	if (!err || oldstate == TCP_SYN_SENT || oldstate == TCP_SYN_RECV ||
	    err == ETIMEDOUT || err == ECONNRESET || err == EPIPE || err == ECONNABORTED)
		return err;
	return err == read_field(&sk->sk_err_soft) ? err : 0;
}

/* Whether close() has discarded unread bytes; the peer's FIN, which is never read, has a sequence number, too. */
static __always_inline int has_discarded_unread(struct traced_socket traced)
{
	u32 read_until = read_field(&traced.tp->copied_seq) + has_sock_flag(traced.sk, SOCK_DONE_BIT);

	return (s32)(read_field(&traced.tp->rcv_nxt) - read_until) > 0 && !read_field(&traced.sk->sk_receive_qlen);
}

/*
 * Whether this host sends a RST after this CLOSE, which has no error. A socket that no process
 * has any more (SOCK_DEAD) comes here from FIN_WAIT2 on its way to TIME_WAIT, or when there is
 * no memory for it. From SYN_RECV it is a child that cannot be accepted: TCP drops it silently
 * (inet_csk_prepare_forced_close(), net/ipv4/inet_connection_sock.c); for MPTCP, whose subflows
 * are sockets of the kernel's own, the listener answers with a RST (dispose_child in
 * subflow_syn_recv_sock(), net/mptcp/subflow.c).
 */
static __always_inline int reset_follows(struct traced_socket traced, u8 oldstate)
{
	int dead = has_sock_flag(traced.sk, SOCK_DEAD_BIT);

	if (read_field(&traced.tp->repair_byte) >> TCP_SOCK_REPAIR_BIT & 1)
		return 0;
	if (oldstate == TCP_FIN_WAIT2)
		return !dead || (s32)read_field(&traced.tp->linger2) < 0;
	if (oldstate == TCP_LAST_ACK || oldstate == TCP_CLOSING)
		return dead || !all_sent(traced.tp) || has_discarded_unread(traced);
	if (oldstate == TCP_SYN_RECV)
		return !dead || read_field(&traced.sk->kern_byte) >> SOCK_KERN_BIT & 1;
	return oldstate == TCP_ESTABLISHED || oldstate == TCP_CLOSE_WAIT ||
	       oldstate == TCP_FIN_WAIT1;
}

/* Close flags at a transition to another state than CLOSE. */
static __always_inline void record_fin(struct conn *c, struct tcp_sock *tp, u8 newstate)
{
	c->close_flags &= ~(E_RST_SENT | E_RST_RECEIVED);	/* the connection has survived that RST */
	c->reset_in = 0;
	if (newstate == TCP_FIN_WAIT1 || newstate == TCP_LAST_ACK)
		c->close_flags |= E_FIN_SENT;
	if (newstate == TCP_CLOSE_WAIT)
		c->close_flags |= E_FIN_RECEIVED | E_PEER_FIRST;
	if (newstate == TCP_CLOSING)	/* our FIN may wait behind unsent data */
		c->close_flags |= all_sent(tp) ? E_FIN_RECEIVED : E_FIN_RECEIVED | E_PEER_FIRST;
}

/* Close flags, errno and `reset_in` at a transition. */
static __always_inline void record_end(struct conn *c, struct traced_socket traced,
				       u8 oldstate, u8 newstate)
{
	if (newstate != TCP_CLOSE) {
		record_fin(c, traced.tp, newstate);
		return;
	}
	if (oldstate == TCP_SYN_SENT && failed_to_find_port(traced.tp)) {
		c->err = EADDRNOTAVAIL;
		c->lport = read_field(&traced.sk->skc_num);	/* inet_sport may be that of an earlier connection */
		return;
	}
	if (!(c->close_flags & (E_RST_SENT | E_RST_RECEIVED)) && both_fins_are_through(traced, oldstate)) {
		c->close_flags |= E_FIN_RECEIVED;
		return;
	}
	if (!is_close_call(traced.sk, oldstate))
		c->err = close_errno(traced.sk, oldstate);
	if (c->err || c->close_flags & (E_RST_SENT | E_RST_RECEIVED))
		return;
	if (reset_follows(traced, oldstate)) {
		c->close_flags |= E_RST_SENT;
		c->reset_in = oldstate;
	} else if (!all_sent(traced.tp)) {
		c->close_flags &= ~E_FIN_SENT;	/* it waited behind data and was dropped with them */
	}
}
