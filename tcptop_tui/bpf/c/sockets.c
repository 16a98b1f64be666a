// SPDX-License-Identifier: Apache-2.0
/* Reading a socket, whatever the hook: its ends, its counters, whose it is. */
static __always_inline void read_mapped(u64 *to, const void *from)
{
	u32 addr = 0;

	bpf_probe_read_kernel(&addr, sizeof(addr), from);
	to[0] = 0;
	to[1] = (u64)addr << 32 | 0xffff0000;
}

static __always_inline u16 swapped(u16 port)
{
	return port << 8 | port >> 8;
}

/*
 * skc_num is 0 again when CLOSE is announced: tcp_set_state() (net/ipv4/tcp.c)
 * gives the port back first. inet_sport keeps it.
 */
static __always_inline void read_endpoints(struct conn *c, struct sock *sk)
{
	u16 family = 0, lport = 0, rport = 0;

	bpf_probe_read_kernel(&family, sizeof(family), &sk->skc_family);
	bpf_probe_read_kernel(&lport, sizeof(lport), &((struct inet_sock *)sk)->inet_sport);
	bpf_probe_read_kernel(&rport, sizeof(rport), &sk->skc_dport);
	c->lport = swapped(lport);		/* both are big-endian */
	c->rport = swapped(rport);
	bpf_probe_read_kernel(&c->cookie, sizeof(c->cookie), &sk->skc_cookie);
	if (family == AF_INET6) {
		bpf_probe_read_kernel(c->laddr, sizeof(c->laddr),
				      &sk->skc_v6_rcv_saddr);
		bpf_probe_read_kernel(c->raddr, sizeof(c->raddr),
				      &sk->skc_v6_daddr);
	} else {
		read_mapped(c->laddr, &sk->skc_rcv_saddr);
		read_mapped(c->raddr, &sk->skc_daddr);
	}
}

static __always_inline void read_identity(struct conn *c, struct sock *sk)
{
	void *net = 0;

	bpf_probe_read_kernel(&net, sizeof(net), &sk->skc_net);
	if (net)
		bpf_probe_read_kernel(&c->netns, sizeof(c->netns),
				      &((struct net *)net)->ns_inum);
	bpf_probe_read_kernel(&c->uid, sizeof(c->uid), &sk->sk_uid);
#ifdef HAVE_SOCK_CGROUP
	void *group = 0, *node = 0;

	bpf_probe_read_kernel(&group, sizeof(group), &sk->sk_cgroup);
	bpf_probe_read_kernel(&node, sizeof(node), &((struct cgroup *)group)->kn);
	bpf_probe_read_kernel(&c->cgroup, sizeof(c->cgroup),
			      &((struct kernfs_node *)node)->id);
#endif
}

/*
 * Payload bytes, as the applications count them: bytes_acked would count our
 * SYN and FIN, bytes_received counts the peer's FIN (tcp_rcv_nxt_update in
 * net/ipv4/tcp_input.c), which tcp_fin() marks with SOCK_DONE.
 */
static __always_inline void read_gauges(struct conn *c, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u64 sent = 0, again = 0, received = 0, skflags = 0;

	bpf_probe_read_kernel(&sent, sizeof(sent), &tp->bytes_sent);
	bpf_probe_read_kernel(&again, sizeof(again), &tp->bytes_retrans);
	bpf_probe_read_kernel(&received, sizeof(received), &tp->bytes_received);
	bpf_probe_read_kernel(&skflags, sizeof(skflags), &sk->skc_flags);
	bpf_probe_read_kernel(&c->retrans, sizeof(c->retrans), &tp->total_retrans);
	c->tx_bytes = sent - again;
	if (received && skflags >> SOCK_DONE_BIT & 1)
		received--;
	c->rx_bytes = received;
	c->flags |= F_GAUGES;
}

/* inode number of the current task's mount namespace, as `ls -L /proc/self/ns` has it */
static __always_inline u32 current_mntns(void)
{
	u32 inum = 0;
#ifdef MNTNS_PIN
	struct task_struct *task = (void *)bpf_get_current_task();
	void *proxy = 0, *mnt = 0;

	bpf_probe_read_kernel(&proxy, sizeof(proxy), &task->nsproxy);
	bpf_probe_read_kernel(&mnt, sizeof(mnt), &((struct nsproxy *)proxy)->mnt_ns);
	bpf_probe_read_kernel(&inum, sizeof(inum),
			      &((struct mnt_namespace *)mnt)->mnt_inum);
#endif
	return inum;
}

static __always_inline void own_by_current(struct conn *c)
{
	c->mntns = current_mntns();
	c->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(c->comm, sizeof(c->comm));
	c->flags |= F_OWNER_SURE;
}

/* until somebody reads from it, an accepted socket is its listener's */
static __always_inline void own_by_listener(struct conn *c)
{
	struct listener_key key = { .netns = c->netns, .lport = c->lport };
	struct owner *owner = listeners.lookup(&key);

	if (!owner)
		return;
	c->pid = owner->pid;
	c->mntns = owner->mntns;
	__builtin_memcpy(c->comm, owner->comm, sizeof(c->comm));
}

static __always_inline void remember_listener(const struct conn *c)
{
	struct listener_key key = { .netns = c->netns, .lport = c->lport };
	struct owner owner = { .pid = c->pid, .uid = c->uid, .mntns = c->mntns };

	__builtin_memcpy(owner.comm, c->comm, sizeof(owner.comm));
	listeners.update(&key, &owner);
}

/* connect() and listen() run in the process that owns the socket */
static __always_inline int is_own_context(u8 oldstate, u8 newstate)
{
	return oldstate == TCP_CLOSE &&
	       (newstate == TCP_SYN_SENT || newstate == TCP_LISTEN);
}

/* A zeroed struct conn; on the BPF stack of 512 bytes it would crowd the rest. */
static __always_inline struct conn *blank(u32 program)
{
	struct conn *c = scratch.lookup(&program);

	if (c)
		__builtin_memset(c, 0, sizeof(*c));
	return c;
}

/*
 * set_state dealt with this socket and left no entry: excluded by the capture
 * filter, or the map is full. The guard must not take that for a miss. A
 * softirq between the two programs settles other sockets: in other slots, but
 * for one time in 64, when an excluded transition counts as caught and one that
 * the map had no room for is logged twice.
 */
static __always_inline u64 *settled_slot(u64 key)
{
	u32 slot = (key >> 6 ^ key >> 12) % SETTLED_SLOTS;

	return settled.lookup(&slot);
}

static __always_inline void settle(u64 key)
{
	u64 *last = settled_slot(key);

	if (last)
		*last = key;
}

static __always_inline int is_settled(u64 key)
{
	u64 *last = settled_slot(key);

	if (!last || *last != key)
		return 0;
	*last = 0;	/* said of one transition: the next one may be skipped */
	return 1;
}
