// SPDX-License-Identifier: Apache-2.0
/* Counters, and the capture filter: which sockets and owners it includes. */

/*
 * Atomic although each CPU has its own counters: a softirq may run another program between
 * the load and the store, and what that one counts would be lost.
 */
static __always_inline void add_to_counter(u32 which, u64 number)
{
	u64 *value = counters.lookup(&which);

	if (value)
		__sync_fetch_and_add(value, number);
}

static __always_inline void count_event(u32 which)
{
	add_to_counter(which, 1);
}

/* Whether the bit of a port is set in its word of a set of ports. */
static __always_inline int includes_port(u64 *word, u32 port)
{
	return word && (*word >> (port & 63) & 1);
}

static __always_inline int includes_lport(u32 port)
{
	u32 index = port >> 6;

	return includes_port(lports.lookup(&index), port);
}

static __always_inline int includes_rport(u32 port)
{
	u32 index = port >> 6;

	return includes_port(rports.lookup(&index), port);
}

static __always_inline struct capture_filter *get_filter(void)
{
	u32 zero = 0;

	return capture_filter.lookup(&zero);
}

/* Whether an address is in ::ffff:0:0/96: the prefix as two little-endian words. */
static __always_inline int is_ipv4_mapped(const u64 *address)
{
	return address[0] == 0 && (u32)address[1] == 0xffff0000;
}

/*
 * Whether a connection is IPv4: by the remote address if there is one, else by the local one,
 * whatever the socket's family; as speaks_ipv4() in tcptop_tui/records.py.
 */
static __always_inline int is_ipv4(const struct conn *c)
{
	return is_ipv4_mapped(c->raddr) ||
	       (!(c->raddr[0] | c->raddr[1]) && is_ipv4_mapped(c->laddr));
}

/*
 * A listener's child whose endpoints are not set yet: 6.1 announces LISTEN -> SYN_RECV as
 * soon as it has copied the listener, 6.18 later (inet_csk_clone_lock(),
 * net/ipv4/inet_connection_sock.c).
 */
static __always_inline int remote_is_unknown(const struct conn *c)
{
	return c->flags & F_PASSIVE && !c->rport;
}

/*
 * Whether the capture filter includes a connection by its endpoints. One that is not known yet
 * excludes nothing: connect() has not chosen the local port, the transition waits (must_wait()).
 */
static __always_inline int includes_endpoints(const struct capture_filter *filter,
					      const struct conn *c)
{
	if (filter->by_lport && c->lport && !includes_lport(c->lport))
		return 0;
	if (remote_is_unknown(c))
		return 1;
	if (filter->by_rport && !includes_rport(c->rport))
		return 0;
	if (filter->family)
		return is_ipv4(c) == (filter->family == AF_INET);
	return 1;
}

/*
 * Whether the capture filter includes a connection by its owner. An owner that is unknown, or
 * the listener's process in its place, excludes nothing: user space filters again later.
 */
static __always_inline int includes_owner(const struct capture_filter *filter,
					  const struct conn *c)
{
	u32 pid = c->pid;

#ifdef PINNED_MNTNS
	u64 mntns = c->mntns;

	if (mntns && !pinned_mntns.lookup(&mntns))
		return 0;
#endif
	return !filter->by_pid || !(c->flags & F_OWNER_SURE) || !pid ||
	       pids.lookup(&pid);
}

/*
 * Whether the capture filter includes a socket by its cgroup, or one above it. It is the
 * socket's cgroup, not the current task's, which in softirq is a bystander's.
 */
static __always_inline int includes_cgroup(const struct capture_filter *filter,
					   struct sock *sk)
{
#ifdef HAVE_SOCK_CGROUP
	void *group = 0, *node = 0;
	u64 id;

#ifdef PINNED_CGROUPS
	bpf_probe_read_kernel(&group, sizeof(group), &sk->sk_cgroup);
	bpf_probe_read_kernel(&node, sizeof(node), &((struct cgroup *)group)->kn);
	id = 0;
	bpf_probe_read_kernel(&id, sizeof(id), &((struct kernfs_node *)node)->id);
	if (!pinned_cgroups.lookup(&id))
		return 0;
#endif
	if (!filter->by_cgroup)
		return 1;
	bpf_probe_read_kernel(&group, sizeof(group), &sk->sk_cgroup);
#pragma unroll
	for (int level = 0; level < CGROUP_LEVELS; level++) {
		id = 0;
		if (!group)
			return 0;
		bpf_probe_read_kernel(&node, sizeof(node),
				      &((struct cgroup *)group)->kn);
		bpf_probe_read_kernel(&id, sizeof(id),
				      &((struct kernfs_node *)node)->id);
		if (cgroups.lookup(&id))
			return 1;
		/* struct cgroup begins with its css, so the parent's css is the parent cgroup */
		bpf_probe_read_kernel(&group, sizeof(group),
				      &((struct cgroup *)group)->parent);
	}
	return 0;
#else
	return 1;
#endif
}
