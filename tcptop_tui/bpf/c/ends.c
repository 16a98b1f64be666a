// SPDX-License-Identifier: Apache-2.0
/*
 * How a connection ended.
 *
 * sk_err says it where the kernel gives up (tcp_reset() in net/ipv4/tcp_input.c, tcp_write_err()
 * in net/ipv4/tcp_timer.c, tcp_abort() in net/ipv4/tcp.c): it is set before CLOSE is announced.
 * A reset that the kernel sends by itself leaves before CLOSE, too, and has its tracepoint
 * (gauges.c). What close() and disconnect() send leaves after CLOSE, when nobody follows the
 * socket any more: the conditions for it are those of __tcp_close() and tcp_disconnect()
 * (net/ipv4/tcp.c). An answer to a segment that came after close() leaves after CLOSE as well,
 * and only the tracepoint tells of it: late_reset() in gauges.c.
 */
#define EPIPE		32
#define EADDRNOTAVAIL	99
#define ECONNABORTED	103
#define ECONNRESET	104
#define ETIMEDOUT	110
#define SHUTDOWN_MASK	3	/* include/net/sock.h: both directions */

static __always_inline int has_flag(struct sock *sk, int bit)
{
	return peek(&sk->skc_flags) >> bit & 1;
}

/*
 * Did connect() fail before a port was found? tcp_v4_connect() (net/ipv4/tcp_ipv4.c) announces
 * SYN_SENT, looks for a port (inet_hash_connect()), and only then chooses the first sequence
 * number and makes snd_nxt the same. A socket that was connected before has others in both
 * (tcp_disconnect()); a SYN that TCP_FASTOPEN_CONNECT puts off has left snd_nxt at 0.
 */
static __always_inline int had_no_port(struct tcp_sock *tp)
{
	u32 next = peek(&tp->snd_nxt), last = peek(&tp->write_seq);

	return !peek(&tp->segs_out) && (!last || (next && next != last));
}

/* Everything that we had to send was acknowledged, our FIN as the last of it. */
static __always_inline int all_acknowledged(struct tcp_sock *tp)
{
	return peek(&tp->snd_una) == peek(&tp->write_seq);
}

static __always_inline int all_sent(struct tcp_sock *tp)
{
	return peek(&tp->snd_nxt) == peek(&tp->write_seq);
}

/* Both FINs are through: nothing but TIME_WAIT, or nothing, is left of it. */
static __always_inline int is_complete(struct subject of, u8 oldstate)
{
	if (oldstate == TCP_FIN_WAIT2)
		return has_flag(of.sk, SOCK_DONE_BIT);
	return (oldstate == TCP_LAST_ACK || oldstate == TCP_CLOSING) && all_acknowledged(of.tp);
}

/*
 * Is it close() that announces CLOSE? It shuts both directions before; from these states
 * shutdown() would have led on to another one. Whatever sk_err says is older then.
 */
static __always_inline int closes(struct sock *sk, u8 oldstate)
{
	return (oldstate == TCP_ESTABLISHED || oldstate == TCP_CLOSE_WAIT) &&
	       peek(&sk->sk_shutdown) == SHUTDOWN_MASK;
}

/*
 * sk_err, if it is about this end. Under IP_RECVERR an ICMP message leaves its errno in sk_err
 * while the connection goes on (tcp_v4_err(), net/ipv4/tcp_ipv4.c); it ends nothing but a
 * handshake. A timeout has ETIMEDOUT, or what sk_err_soft has of such a message
 * (tcp_write_err()). What the others have, tcp_reset() and tcp_abort(), comes from no message.
 */
static __always_inline u32 error_of_end(struct sock *sk, u8 oldstate)
{
	u32 err = peek(&sk->sk_err);

	if (!err || oldstate == TCP_SYN_SENT || oldstate == TCP_SYN_RECV ||
	    err == ETIMEDOUT || err == ECONNRESET || err == EPIPE || err == ECONNABORTED)
		return err;
	return err == peek(&sk->sk_err_soft) ? err : 0;
}

/* close() has thrown away what nobody had read; the FIN, which nobody reads either, has a number too. */
static __always_inline int threw_away(struct subject of)
{
	u32 behind = peek(&of.tp->copied_seq) + has_flag(of.sk, SOCK_DONE_BIT);

	return (s32)(peek(&of.tp->rcv_nxt) - behind) > 0 && !peek(&of.sk->sk_receive_qlen);
}

/*
 * Does a RST follow this CLOSE, which has no error? A socket that is nobody's any more (SOCK_DEAD)
 * gets here from FIN_WAIT2 on its way to TIME_WAIT, or when there is no memory for it. From
 * SYN_RECV it is a child that nobody can have: TCP lets it go without a word
 * (inet_csk_prepare_forced_close(), net/ipv4/inet_connection_sock.c); MPTCP, whose subflows are
 * sockets of the kernel's own, has the listener answer with a RST (dispose_child in
 * subflow_syn_recv_sock(), net/mptcp/subflow.c).
 */
static __always_inline int reset_follows(struct subject of, u8 oldstate)
{
	int dead = has_flag(of.sk, SOCK_DEAD_BIT);

	if (peek(&of.tp->repair_byte) >> TCP_SOCK_REPAIR_BIT & 1)
		return 0;
	if (oldstate == TCP_FIN_WAIT2)
		return !dead || (s32)peek(&of.tp->linger2) < 0;
	if (oldstate == TCP_LAST_ACK || oldstate == TCP_CLOSING)
		return dead || !all_sent(of.tp) || threw_away(of);
	if (oldstate == TCP_SYN_RECV)
		return !dead || peek(&of.sk->kern_byte) >> SOCK_KERN_BIT & 1;
	return oldstate == TCP_ESTABLISHED || oldstate == TCP_CLOSE_WAIT ||
	       oldstate == TCP_FIN_WAIT1;
}

static __always_inline void note_fin(struct conn *c, struct tcp_sock *tp, u8 newstate)
{
	c->close_flags &= ~(E_RST_SENT | E_RST_RECEIVED);	/* it has survived that one */
	c->reset_in = 0;
	if (newstate == TCP_FIN_WAIT1 || newstate == TCP_LAST_ACK)
		c->close_flags |= E_FIN_SENT;
	if (newstate == TCP_CLOSE_WAIT)
		c->close_flags |= E_FIN_RECEIVED | E_PEER_FIRST;
	if (newstate == TCP_CLOSING)	/* our FIN may still wait behind data */
		c->close_flags |= all_sent(tp) ? E_FIN_RECEIVED : E_FIN_RECEIVED | E_PEER_FIRST;
}

static __always_inline void note_end(struct conn *c, struct subject of,
				     u8 oldstate, u8 newstate)
{
	if (newstate != TCP_CLOSE) {
		note_fin(c, of.tp, newstate);
		return;
	}
	if (oldstate == TCP_SYN_SENT && had_no_port(of.tp)) {
		c->err = EADDRNOTAVAIL;
		c->lport = peek(&of.sk->skc_num);	/* inet_sport may be that of an earlier life */
		return;
	}
	if (!(c->close_flags & (E_RST_SENT | E_RST_RECEIVED)) && is_complete(of, oldstate)) {
		c->close_flags |= E_FIN_RECEIVED;
		return;
	}
	if (!closes(of.sk, oldstate))
		c->err = error_of_end(of.sk, oldstate);
	if (c->err || c->close_flags & (E_RST_SENT | E_RST_RECEIVED))
		return;
	if (reset_follows(of, oldstate)) {
		c->close_flags |= E_RST_SENT;
		c->reset_in = oldstate;
	} else if (!all_sent(of.tp)) {
		c->close_flags &= ~E_FIN_SENT;	/* it waited behind data, and has gone with them */
	}
}
