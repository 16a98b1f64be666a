// SPDX-License-Identifier: Apache-2.0
/* Changes of state: from CLOSE to CLOSE, with two programs on one tracepoint. */
/* bpf_ktime_get_ns() may step back by some ns, see ktime_get_mono_fast_ns() in kernel/time/timekeeping.c */
static __always_inline u64 time_spent(const struct conn *c, u64 now_ns)
{
	if (!c->state_ns)
		return ~0ULL;
	return now_ns > c->state_ns ? now_ns - c->state_ns : 0;
}

/* how many transitions it takes at least to come to each state, four bits each */
#define STATE_DEPTH	(2ULL << TCP_ESTABLISHED * 4 | 1ULL << TCP_SYN_SENT * 4 | \
		 1ULL << TCP_SYN_RECV * 4 | 3ULL << TCP_FIN_WAIT1 * 4 | \
		 4ULL << TCP_FIN_WAIT2 * 4 | 3ULL << TCP_CLOSE_WAIT * 4 | \
		 4ULL << TCP_LAST_ACK * 4 | 1ULL << TCP_LISTEN * 4 | \
		 4ULL << TCP_CLOSING * 4)

/*
 * A followed socket that is not in the state of its entry has moved while
 * neither program was run; whatever the kernel's reason, and whether or not it
 * counts such things, the least number of transitions in between is lost.
 */
static __always_inline void count_escaped(const struct capture *want,
					  const struct conn *c, u8 found)
{
	u32 was = STATE_DEPTH >> (c->state & 15) * 4 & 15;
	u32 is = STATE_DEPTH >> (found & 15) * 4 & 15;

	if (c->state != found && owner_wanted(want, c))
		add(C_ESCAPED, is > was ? is - was : 1);
}

/* Start of a life: CLOSE -> SYN_SENT or LISTEN, and a listener's child. */
static __always_inline int is_birth(u8 oldstate, u8 newstate)
{
	return is_own_context(oldstate, newstate) ||
	       (oldstate == TCP_LISTEN && newstate == TCP_SYN_RECV);
}

static __always_inline void begin_life(struct conn *c, struct subject of,
				       u8 oldstate, u8 newstate, u64 now_ns)
{
	read_endpoints(c, of);
	read_identity(c, of.sk);
	if (is_birth(oldstate, newstate))
		c->born_ns = now_ns;
	if (is_own_context(oldstate, newstate))
		read_bound(c, of.sk, newstate);
	else if (oldstate == TCP_LISTEN && newstate == TCP_SYN_RECV)
		own_by_listener(c, of.tp);
	if (newstate == TCP_LISTEN) {
		c->flags |= F_LISTENER;
	} else if (newstate == TCP_SYN_SENT) {
		c->flags |= F_ACTIVE;
	} else if (newstate == TCP_SYN_RECV) {
		c->flags |= F_PASSIVE;
	}
}

/*
 * A transition that is announced before the end that the filter or the reader asks
 * for is known waits for the next one. connect() chooses the local port only after
 * SYN_SENT, listen() without bind() after LISTEN; that matters to a filter only.
 */
static __always_inline int must_wait(const struct capture *want,
				     const struct conn *c, u8 newstate)
{
	return remote_unknown(c) ||
	       (want->by_lport && !c->lport &&
		(newstate == TCP_SYN_SENT || newstate == TCP_LISTEN));
}

static __always_inline void log_pending(const struct capture *want,
					struct conn *c, u64 key, u64 current)
{
	u8 flags = c->flags & F_DELAYED;

	if (!(c->flags & F_PENDING))
		return;
	c->flags &= ~(F_PENDING | F_DELAYED);
	log_transition(want, c, key, current, c->state_ns, ~0ULL,
		       c->pending_old, c->pending_new, flags);
}

/* Write one transition into the socket's entry and into the ring. */
static __always_inline void record(const struct capture *want, struct conn *c,
				   u64 key, u64 current, u64 now_ns,
				   u8 oldstate, u8 newstate, u8 flags)
{
	u64 time_in_state_ns = time_spent(c, now_ns);

	if (must_wait(want, c, newstate)) {
		c->pending_old = oldstate;
		c->pending_new = newstate;
		c->flags |= F_PENDING | flags;
	} else if (owner_wanted(want, c)) {
		log_pending(want, c, key, current);
		log_transition(want, c, key, current, now_ns, time_in_state_ns,
			       oldstate, newstate, flags);
	} else {
		c->flags &= ~(F_PENDING | F_DELAYED);
		count(C_EXCLUDED);
	}
	c->state = newstate;
	if (oldstate != newstate)	/* close() in FIN_WAIT2 goes there once more (new_state, net/ipv4/tcp.c) */
		c->state_ns = now_ns;
	if (newstate == TCP_ESTABLISHED)
		c->established_ns = now_ns;
}

/* Socket, its address, old and new state of raw tracepoint inet_sock_set_state. */
struct change {
	struct subject of;
	u64 key;
	u8 oldstate;
	u8 newstate;
};

/*
 * The map is full. What waits for an unknown remote end has no place to wait in: it is
 * logged without, or, where the filter asks for that end, is not known to be wanted.
 */
static __always_inline void no_room(const struct capture *want, struct conn *c,
				    u64 key, u64 current, int birth)
{
	if (remote_unknown(c)) {
		if (want->by_rport || want->family)
			return;
		log_pending(want, c, key, current);
	}
	if (birth)
		count(C_MAP_FULL);
}

/*
 * The entry is of a socket that was here before: its end was not seen, and another
 * one has got its address. Ports do not change during a life, once they are known.
 */
static __always_inline int is_other(const struct conn *c, struct subject of)
{
	u16 lport = swapped(peek(&((struct inet_sock *)of.tp)->inet_sport));
	u16 rport = swapped(peek(&of.sk->skc_dport));

	return (c->lport && lport && c->lport != lport) ||
	       (c->rport && rport && c->rport != rport);
}

/* Find or make the entry, bring it up to date, and record the transition. */
static __always_inline void take(struct change *ch, u32 program, u8 flags)
{
	u64 key = ch->key, now_ns = bpf_ktime_get_ns();
	int birth = is_birth(ch->oldstate, ch->newstate);
	struct task_struct *current = current_task();
	struct capture *want = wanted();
	u32 at = 0;
	struct slot *slot = slot_of(key, &at);
	struct conn *c = slot ? &slot->conn : 0;
	int anew = birth || !c || is_other(c, ch->of);

	if (!want)
		return;
	if (c)
		count_escaped(want, c, anew ? TCP_CLOSE : ch->oldstate);
	if (c && anew)		/* the guard was skipped when it closed */
		end_session(c, key);
	if (anew) {
		c = blank(program);
		if (!c)
			return;
		begin_life(c, ch->of, ch->oldstate, ch->newstate, now_ns);
	} else {
		read_endpoints(c, ch->of);
	}
	if (birth)
		begin_gauges(c, ch->newstate);
	else
		read_gauges(c, ch->of);
	read_uid(c, ch->of.sk);
	if (ch->newstate == TCP_SYN_SENT)
		own_by_first_path(c, ch->of, key);
	if (is_own_act(ch->of.sk, ch->oldstate, ch->newstate) &&
	    !(birth && c->pid) && !is_owner_by_name(c))
		own_in_process(c, ch->of.sk, current);
	if (ch->newstate == TCP_LISTEN)
		remember_listener(c, ch->of.sk, key);
	note_end(c, ch->of, ch->oldstate, ch->newstate);
	if (!conn_wanted(want, c) || (!c->recorded_transitions && !cgroup_wanted(want, ch->of.sk))) {
		if (slot)
			leave(program, key, slot, at);
		settle(key);
		count(C_EXCLUDED);
		return;
	}
	c->recorded_transitions++;
	record(want, c, key, ids_of(current), now_ns, ch->oldstate, ch->newstate, flags);
	if (c->recorded_transitions != 1) {
		if (slot) {
			mark(slot);
			note_latest(at);
		}
		return;
	}
	/* first transition of this entry: it is still in scratch */
	if (slot) {
		fill(slot, key, c);
	} else if (enter(program, key, c)) {
		settle(key);
		no_room(want, c, key, ids_of(current), birth);
	}
}

/* All of it but the socket. */
static __always_inline void read_change(struct change *ch,
					struct bpf_raw_tracepoint_args *ctx)
{
	ch->key = ctx->args[0];
	ch->oldstate = ctx->args[1];
	ch->newstate = ctx->args[2];
}

/*
 * sock:inet_sock_set_state, from inet_sk_set_state() and inet_sk_state_store()
 * (net/ipv4/af_inet.c). Fires before sk_state changes, with the socket locked:
 * in process context for connect, listen and close, else in softirq, where the
 * current task is a bystander. TCP only: SCTP, DCCP and MPTCP use it too.
 */
int set_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct change ch;

	read_change(&ch, ctx);
	ch.of = traced(ctx);
	if (is_tcp(ch.of))
		take(&ch, P_SET_STATE, 0);
	return 0;
}

/* Did set_state run for this very transition? */
static __always_inline int was_skipped(struct conn *c, struct change *ch)
{
	c->guarded_transitions++;
	if (c->guarded_transitions == (u16)(c->recorded_transitions + 1))
		return 1;
	c->guarded_transitions = c->recorded_transitions;	/* this program was the one that was skipped */
	return c->state != ch->newstate;
}

/*
 * Same tracepoint, attached after set_state and so run after it. The kernel
 * skips a program that would interrupt itself on one CPU (a softirq inside a
 * system call: bpf_prog->active, kernel/trace/bpf_trace.c __bpf_trace_run) and
 * tells nobody; this one records what set_state had to miss. It also ends the
 * session at CLOSE, when set_state has read the last gauges.
 */
int set_state_guard(struct bpf_raw_tracepoint_args *ctx)
{
	struct change ch;
	struct slot *slot;
	u32 at = 0;
	u64 key;

	read_change(&ch, ctx);
	key = ch.key;	/* of a TCP socket, if there is an entry */
	if (ch.oldstate == TCP_LISTEN && ch.newstate == TCP_CLOSE)
		listeners.delete(&key);
	slot = latest_slot_of(key, &at);
	if (!slot ? !is_settled(key) : was_skipped(&slot->conn, &ch)) {
		ch.of = traced(ctx);
		if (!is_tcp(ch.of))
			return 0;
		take(&ch, P_GUARD, F_DELAYED);
		count(C_CAUGHT);
		slot = slot_of(key, &at);
		if (slot)
			slot->conn.guarded_transitions = slot->conn.recorded_transitions;
	}
	if (!slot)
		return 0;
	if (ch.newstate == TCP_CLOSE) {
		end_session(&slot->conn, key);
		leave(P_GUARD, key, slot, at);
	}
	return 0;
}
