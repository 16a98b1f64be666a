// SPDX-License-Identifier: Apache-2.0
/* Records for the two rings: transitions and ended connections. */

/*
 * Write a transition into its ring. `current` is the process and thread on the CPU as
 * task_pid_tgid() gives them; time_in_state_ns is ~0 if unknown.
 */
static __always_inline void log_transition(const struct capture_filter *filter,
					   const struct conn *c, u64 skaddr,
					   u64 current, u64 ts_ns, u64 time_in_state_ns,
					   u8 oldstate, u8 newstate, u8 flags)
{
	struct transition *t;

	t = transitions.ringbuf_reserve(sizeof(*t));
	if (!t) {
		count_event(C_RING_FULL);
		return;
	}
	t->ts_ns = ts_ns;
	t->skaddr = skaddr;
	t->born_ns = c->born_ns;
	t->time_in_state_ns = time_in_state_ns;
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
	t->dev = c->dev;
	t->lport = c->lport;
	t->rport = c->rport;
	t->oldstate = oldstate;
	t->newstate = newstate;
	t->flags = flags | (c->flags & ~(F_PENDING | F_DELAYED));
	t->close_flags = c->close_flags;
	__builtin_memcpy(t->comm, c->comm, sizeof(t->comm));
	t->err = c->err;
	t->reset_in = c->reset_in;
	t->syn_sent = c->syn_sent;
	t->bystander_pid = current >> 32;
	t->bystander_tid = current;
	__builtin_memset(t->bystander_comm, 0, sizeof(t->bystander_comm));
	if (filter->context)
		bpf_get_current_comm(t->bystander_comm, sizeof(t->bystander_comm));
	t->start_ticks = c->start_ticks;
	transitions.ringbuf_submit(t, BPF_RB_NO_WAKEUP);
}

/* Write a connection that has reached CLOSE into its ring, with its last gauges and its histogram. */
static __always_inline void log_ended(const struct conn *c, u64 skaddr)
{
	struct capture_filter *filter = get_filter();
	struct ended_connection *ended;

	if (!filter || !includes_owner(filter, c))
		return;
	ended = ended_connections.ringbuf_reserve(sizeof(*ended));
	if (!ended) {
		count_event(C_ENDED_RING_FULL);
		return;
	}
	ended->end_ns = c->state_ns;
	ended->skaddr = skaddr;
	__builtin_memcpy(&ended->conn, c, sizeof(ended->conn));
	ended_connections.ringbuf_submit(ended, BPF_RB_NO_WAKEUP);
}
