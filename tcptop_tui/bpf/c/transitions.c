// SPDX-License-Identifier: Apache-2.0
/* Transitions, from CLOSE to CLOSE: two programs on one tracepoint, set_state() and set_state_guard(). */

/*
 * How long the socket was in its state; ~0 if unknown. bpf_ktime_get_ns() may step back by some
 * ns, see ktime_get_mono_fast_ns() in kernel/time/timekeeping.c.
 */
static __always_inline u64 time_in_state(const struct conn *c, u64 now_ns)
{
	if (!c->state_ns)
		return ~0ULL;
	return now_ns > c->state_ns ? now_ns - c->state_ns : 0;
}

/* the least number of transitions from CLOSE to each state, four bits each */
#define STATE_DEPTH	(2ULL << TCP_ESTABLISHED * 4 | 1ULL << TCP_SYN_SENT * 4 | \
		 1ULL << TCP_SYN_RECV * 4 | 3ULL << TCP_FIN_WAIT1 * 4 | \
		 4ULL << TCP_FIN_WAIT2 * 4 | 3ULL << TCP_CLOSE_WAIT * 4 | \
		 4ULL << TCP_LAST_ACK * 4 | 1ULL << TCP_LISTEN * 4 | \
		 4ULL << TCP_CLOSING * 4)

/*
 * A socket whose state is not that of its entry has changed its state while neither program
 * was run. Whatever the kernel's reason, and whether or not the kernel counts it, at least as
 * many transitions are lost as lie between the two states.
 */
static __always_inline void count_unseen(const struct capture_filter *filter,
					 const struct conn *c, u8 state)
{
	u32 entry_depth = STATE_DEPTH >> (c->state & 15) * 4 & 15;
	u32 depth = STATE_DEPTH >> (state & 15) * 4 & 15;

	if (c->state != state && includes_owner(filter, c))
		add_to_counter(C_UNSEEN, depth > entry_depth ? depth - entry_depth : 1);
}

/* Whether a connection or listener begins: CLOSE -> SYN_SENT or LISTEN, or a listener's child. */
static __always_inline int is_birth(u8 oldstate, u8 newstate)
{
	return is_connect_or_listen(oldstate, newstate) ||
	       (oldstate == TCP_LISTEN && newstate == TCP_SYN_RECV);
}

/* Fill a new entry in, at a socket's first transition that is seen. */
static __always_inline void init_conn(struct conn *c, struct traced_socket traced,
				      u8 oldstate, u8 newstate, u64 now_ns)
{
	read_endpoints(c, traced);
	read_identity(c, traced.sk);
	if (is_birth(oldstate, newstate))
		c->born_ns = now_ns;
	if (is_connect_or_listen(oldstate, newstate))
		read_early_port(c, traced.sk, newstate);
	else if (oldstate == TCP_LISTEN && newstate == TCP_SYN_RECV)
		set_owner_of_listener(c, traced.tp);
	if (newstate == TCP_LISTEN) {
		c->flags |= F_LISTENER;
	} else if (newstate == TCP_SYN_SENT) {
		c->flags |= F_ACTIVE;
	} else if (newstate == TCP_SYN_RECV) {
		c->flags |= F_PASSIVE;
	}
}

/*
 * Whether a transition has to wait for the next one, because it is announced before an
 * endpoint is known: the remote one, or the local port if the capture filter needs it. connect()
 * chooses the local port only after SYN_SENT, listen() without bind() after LISTEN.
 */
static __always_inline int must_wait(const struct capture_filter *filter,
				     const struct conn *c, u8 newstate)
{
	return remote_is_unknown(c) ||
	       (filter->by_lport && !c->lport &&
		(newstate == TCP_SYN_SENT || newstate == TCP_LISTEN));
}

/* Log the pending transition, if there is one. */
static __always_inline void log_pending(const struct capture_filter *filter,
					struct conn *c, u64 skaddr, u64 current)
{
	u8 flags = c->flags & F_DELAYED;

	if (!(c->flags & F_PENDING))
		return;
	c->flags &= ~(F_PENDING | F_DELAYED);
	log_transition(filter, c, skaddr, current, c->state_ns, ~0ULL,
		       c->pending_old, c->pending_new, flags);
}

/* Write one transition into the socket's entry, and into the ring if the capture filter includes it. */
static __always_inline void record_transition(const struct capture_filter *filter, struct conn *c,
				   u64 skaddr, u64 current, u64 now_ns,
				   u8 oldstate, u8 newstate, u8 flags)
{
	u64 time_in_state_ns = time_in_state(c, now_ns);

	if (must_wait(filter, c, newstate)) {
		c->pending_old = oldstate;
		c->pending_new = newstate;
		c->flags |= F_PENDING | flags;
	} else if (includes_owner(filter, c)) {
		log_pending(filter, c, skaddr, current);
		log_transition(filter, c, skaddr, current, now_ns, time_in_state_ns,
			       oldstate, newstate, flags);
	} else {
		c->flags &= ~(F_PENDING | F_DELAYED);
		count_event(C_EXCLUDED);
	}
	c->state = newstate;
	if (oldstate != newstate)	/* close() in FIN_WAIT2 announces FIN_WAIT2 again (new_state, net/ipv4/tcp.c) */
		c->state_ns = now_ns;
	if (newstate == TCP_ESTABLISHED)
		c->established_ns = now_ns;
}

/* The arguments of raw tracepoint inet_sock_set_state. */
struct state_change {
	struct traced_socket traced;
	u64 skaddr;
	u8 oldstate;
	u8 newstate;
};

/*
 * There was no room for an entry. A pending transition whose remote endpoint is unknown has no
 * entry to wait in: it is logged without the endpoint, unless the capture filter needs that.
 */
static __always_inline void handle_full_map(const struct capture_filter *filter, struct conn *c,
					    u64 skaddr, u64 current, int birth)
{
	if (remote_is_unknown(c)) {
		if (filter->by_rport || filter->family)
			return;
		log_pending(filter, c, skaddr, current);
	}
	if (birth)
		count_event(C_MAP_FULL);
}

/*
 * Whether the entry is that of an earlier socket, whose end was not seen, at the same kernel
 * address. The ports of a socket do not change once they are known.
 */
static __always_inline int is_reused_address(const struct conn *c, struct traced_socket traced)
{
	u16 lport = swap_bytes(read_field(&((struct inet_sock *)traced.tp)->inet_sport));
	u16 rport = swap_bytes(read_field(&traced.sk->skc_dport));

	return (c->lport && lport && c->lport != lport) ||
	       (c->rport && rport && c->rport != rport);
}

/* Find or make the entry, bring it up to date, and record the transition. Both programs run this. */
static __always_inline void handle_change(struct state_change *change, u32 program, u8 flags)
{
	u64 skaddr = change->skaddr, now_ns = bpf_ktime_get_ns();
	int birth = is_birth(change->oldstate, change->newstate);
	struct task_struct *current = current_task();
	struct capture_filter *filter = get_filter();
	u32 number = 0;
	struct slot *slot = find_slot(skaddr, &number);
	struct conn *c = slot ? &slot->conn : 0;
	int is_new = birth || !c || is_reused_address(c, change->traced);

	if (!filter)
		return;
	if (c)
		count_unseen(filter, c, is_new ? TCP_CLOSE : change->oldstate);
	if (c && is_new)	/* the guard was not run at its CLOSE */
		log_ended(c, skaddr);
	if (is_new) {
		c = zeroed_scratch(program);
		if (!c)
			return;
		init_conn(c, change->traced, change->oldstate, change->newstate, now_ns);
	} else {
		read_endpoints(c, change->traced);
	}
	if (birth)
		init_gauges(c, change->newstate);
	else
		read_gauges(c, change->traced);
	read_uid(c, change->traced.sk);
	if (change->newstate == TCP_SYN_SENT)
		set_owner_of_first_subflow(c, change->traced, skaddr);
	if (is_act_of_owner(change->traced.sk, change->oldstate, change->newstate) &&
	    !(birth && c->pid) && !current_is_owner_by_name(c))
		set_owner_if_locked(c, change->traced.sk, current);
	if (change->newstate == TCP_LISTEN)
		remember_listener(c, change->traced.sk, skaddr);
	record_end(c, change->traced, change->oldstate, change->newstate);
	if (!includes_endpoints(filter, c) ||
	    (!c->recorded_transitions && !includes_cgroup(filter, change->traced.sk))) {
		if (slot)
			delete_conn(program, skaddr, slot, number);
		mark_excluded(skaddr);
		count_event(C_EXCLUDED);
		return;
	}
	c->recorded_transitions++;
	record_transition(filter, c, skaddr, task_pid_tgid(current), now_ns,
			  change->oldstate, change->newstate, flags);
	if (c->recorded_transitions != 1) {
		if (slot) {
			mark_slot_dirty(slot);
			set_latest_slot(number);
		}
		return;
	}
	/* the first transition of a new entry, which is still a scratch entry */
	if (slot) {
		fill_slot(slot, skaddr, c);
	} else if (insert_conn(program, skaddr, c)) {
		mark_excluded(skaddr);
		handle_full_map(filter, c, skaddr, task_pid_tgid(current), birth);
	}
}

/* All arguments but the socket, which traced_socket() reads. */
static __always_inline void read_state_change(struct state_change *change,
					      struct bpf_raw_tracepoint_args *ctx)
{
	change->skaddr = ctx->args[0];
	change->oldstate = ctx->args[1];
	change->newstate = ctx->args[2];
}

/*
 * sock:inet_sock_set_state, from inet_sk_set_state() and inet_sk_state_store()
 * (net/ipv4/af_inet.c). Fires before sk_state changes, with the socket locked: in process
 * context for connect(), listen(), shutdown() and close(), else in softirq or a timer, where the
 * current task is a bystander. SCTP, DCCP and MPTCP fire it, too, and are ignored.
 */
int set_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct state_change change;

	read_state_change(&change, ctx);
	change.traced = traced_socket(ctx);
	if (is_tcp(change.traced))
		handle_change(&change, P_SET_STATE, 0);
	return 0;
}

/* Whether set_state was not run at this transition; also counts that the guard was. */
static __always_inline int set_state_was_skipped(struct conn *c, struct state_change *change)
{
	c->guarded_transitions++;
	if (c->guarded_transitions == (u16)(c->recorded_transitions + 1))
		return 1;
	c->guarded_transitions = c->recorded_transitions;	/* this program was not run some time before */
	return c->state != change->newstate;
}

/*
 * The guard: sock:inet_sock_set_state once more, in the same contexts as set_state. It is
 * attached after set_state and so run after it. The kernel does not run a program that would
 * interrupt itself on one CPU (a softirq inside a system call: bpf_prog->active,
 * __bpf_trace_run(), kernel/trace/bpf_trace.c) and tells nobody; the guard records what
 * set_state missed. At CLOSE it also logs the ended connection and deletes the entry, when
 * set_state has read the last gauges.
 */
int set_state_guard(struct bpf_raw_tracepoint_args *ctx)
{
	struct state_change change;
	struct slot *slot;
	u32 number = 0;
	u64 skaddr;

	read_state_change(&change, ctx);
	skaddr = change.skaddr;	/* if it has an entry it is a TCP socket */
	if (change.oldstate == TCP_LISTEN && change.newstate == TCP_CLOSE)
		listeners.delete(&skaddr);
	slot = find_slot_latest_first(skaddr, &number);
	if (!slot ? !take_excluded_mark(skaddr) : set_state_was_skipped(&slot->conn, &change)) {
		change.traced = traced_socket(ctx);
		if (!is_tcp(change.traced))
			return 0;
		handle_change(&change, P_GUARD, F_DELAYED);
		count_event(C_CAUGHT);
		slot = find_slot(skaddr, &number);
		if (slot)
			slot->conn.guarded_transitions = slot->conn.recorded_transitions;
	}
	if (!slot)
		return 0;
	if (change.newstate == TCP_CLOSE) {
		log_ended(&slot->conn, skaddr);
		delete_conn(P_GUARD, skaddr, slot, number);
	}
	return 0;
}
