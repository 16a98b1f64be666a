// SPDX-License-Identifier: Apache-2.0
/* How a connection ended. */
/* close() with SO_LINGER and a time of 0: RST instead of FIN (__tcp_close, net/ipv4/tcp.c) */
static __always_inline int lingers_not(struct sock *sk)
{
	u64 skflags = peek(&sk->skc_flags);

	if (!(skflags >> SOCK_LINGER_BIT & 1) || skflags >> SOCK_DONE_BIT & 1)
		return 0;
	return !peek(&sk->sk_lingertime);
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
	u32 err;

	if (newstate == TCP_FIN_WAIT1 || newstate == TCP_LAST_ACK)
		c->ends |= E_FIN_SENT;
	if (newstate == TCP_CLOSE_WAIT)
		c->ends |= E_FIN_RECEIVED | E_PEER_FIRST;
	if (newstate == TCP_CLOSING)
		c->ends |= E_FIN_RECEIVED;
	if (newstate != TCP_CLOSE)
		return;
	err = peek(&sk->sk_err);
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
