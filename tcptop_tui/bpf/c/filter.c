// SPDX-License-Identifier: Apache-2.0
/* What the capture filter wants: written by user space, read at each event. */
/*
 * Atomic although each CPU has its own: a softirq may run one of the other
 * programs between the load and the store, and its count would be lost.
 */
static __always_inline void add(u32 which, u64 number)
{
	u64 *value = counters.lookup(&which);

	if (value)
		__sync_fetch_and_add(value, number);
}

static __always_inline void count(u32 which)
{
	add(which, 1);
}

static __always_inline int port_wanted(u64 *word, u32 port)
{
	return word && (*word >> (port & 63) & 1);
}

static __always_inline int lport_wanted(u32 port)
{
	u32 index = port >> 6;

	return port_wanted(lports.lookup(&index), port);
}

static __always_inline int rport_wanted(u32 port)
{
	u32 index = port >> 6;

	return port_wanted(rports.lookup(&index), port);
}

static __always_inline struct capture *wanted(void)
{
	u32 zero = 0;

	return capture.lookup(&zero);
}

/* ::ffff:0:0/96 as two little-endian words */
static __always_inline int is_mapped(const u64 *address)
{
	return address[0] == 0 && (u32)address[1] == 0xffff0000;
}

/*
 * Is it IPv4? The remote address tells where there is one, else the local one, whatever the
 * socket's family: speaks_ipv4() in records.py.
 */
static __always_inline int is_ipv4(const struct conn *c)
{
	return is_mapped(c->raddr) ||
	       (!(c->raddr[0] | c->raddr[1]) && is_mapped(c->laddr));
}

/*
 * A listener's child before its ends are set: 6.1 announces LISTEN -> SYN_RECV as soon
 * as it has copied the listener, 6.18 later (inet_csk_clone_lock(),
 * net/ipv4/inet_connection_sock.c).
 */
static __always_inline int remote_unknown(const struct conn *c)
{
	return c->flags & F_PASSIVE && !c->rport;
}

/*
 * Does the capture filter want this connection at all? A local port of 0 is
 * one that connect() has not chosen yet: the answer is put off, see pending.
 */
static __always_inline int conn_wanted(const struct capture *want,
				       const struct conn *c)
{
	if (want->by_lport && c->lport && !lport_wanted(c->lport))
		return 0;
	if (remote_unknown(c))
		return 1;
	if (want->by_rport && !rport_wanted(c->rport))
		return 0;
	if (want->family)
		return is_ipv4(c) == (want->family == AF_INET);
	return 1;
}

/*
 * An owner not known yet cannot be held against a connection, nor can a listener's process
 * that stands in for it: user space asks again, of what it shows.
 */
static __always_inline int owner_wanted(const struct capture *want,
					const struct conn *c)
{
	u32 pid = c->pid;

#ifdef PINNED_MNTNS
	u64 mntns = c->mntns;

	if (mntns && !pinned_mntns.lookup(&mntns))
		return 0;
#endif
	return !want->by_pid || !(c->flags & F_OWNER_SURE) || !pid ||
	       pids.lookup(&pid);
}

/*
 * Is the socket's cgroup one of those asked for, or below one? The socket's,
 * not the current task's: in softirq that is a bystander's.
 */
static __always_inline int cgroup_wanted(const struct capture *want,
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
	if (!want->by_cgroup)
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
		/* struct cgroup begins with its own css, whose parent is the parent's */
		bpf_probe_read_kernel(&group, sizeof(group),
				      &((struct cgroup *)group)->parent);
	}
	return 0;
#else
	return 1;
#endif
}
