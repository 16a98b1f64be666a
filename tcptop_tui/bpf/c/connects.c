// SPDX-License-Identifier: Apache-2.0
/*
 * There only while somebody asks for every connect(): those that
 * fail before a SYN is sent never change the socket's state.
 *
 * REGS_NR, REGS_FD and REGS_ADDR are offsets into struct pt_regs, CONNECT_NR
 * is connect()'s number (tcptop_tui/bpf/headers.py).
 */
#define SOCKADDR_BYTES	24	/* struct sockaddr_in6 up to sin6_addr */

/* sockets that announced SYN_SENT and whose connect() may still fail: those have lines already */
BPF_TABLE("lru_hash", u64, u32, announced, 16384);

/* errors of connect() that can come before SYN_SENT (tcp_v4_connect, security hooks, routing) */
static __always_inline int fails_early(long result)
{
	switch (-result) {
	case 1:		/* EPERM: a firewall or cgroup program */
	case 13:	/* EACCES: prohibit route, LSM */
	case 22:	/* EINVAL: blackhole route */
	case 97:	/* EAFNOSUPPORT */
	case 99:	/* EADDRNOTAVAIL: no source address */
	case 100:	/* ENETDOWN */
	case 101:	/* ENETUNREACH */
	case 105:	/* ENOBUFS */
	case 113:	/* EHOSTUNREACH */
		return 1;
	}
	return 0;
}

static __always_inline struct sock *sock_of(u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	void *files = 0, *table = 0, **fds = 0, *file = 0, *socket = 0, *sk = 0;

	bpf_probe_read_kernel(&files, sizeof(files), &task->files);
	bpf_probe_read_kernel(&table, sizeof(table), &((struct files_struct *)files)->fdt);
	bpf_probe_read_kernel(&fds, sizeof(fds), &((struct fdtable *)table)->fd);
	bpf_probe_read_kernel(&file, sizeof(file), &fds[fd]);
	bpf_probe_read_kernel(&socket, sizeof(socket),
			      &((struct file *)file)->private_data);
	bpf_probe_read_kernel(&sk, sizeof(sk), &((struct socket *)socket)->sk);
	return sk;
}

/* read_identity() of a socket that no tracepoint's argument led to */
static __always_inline void ask_identity(struct conn *c, struct sock *sk)
{
	struct net *net = ask(&sk->skc_net);
#ifdef HAVE_SOCK_CGROUP
	struct cgroup *group = ask(&sk->sk_cgroup);
	struct kernfs_node *node = ask(&group->kn);

	c->cgroup = ask(&node->id);
#endif
	c->netns = ask(&net->ns_inum);
	c->uid = ask(&sk->sk_uid);
	c->dev = ask(&sk->skc_bound_dev_if);
}

/* where connect() was to go; 0 when that is neither IPv4 nor IPv6 */
static __always_inline int read_target(struct conn *c, const void *addr)
{
	u8 raw[SOCKADDR_BYTES] = {};
	u16 family;

	bpf_probe_read_user(raw, sizeof(raw), addr);
	family = *(u16 *)raw;
	c->rport = swapped(*(u16 *)(raw + 2));
	if (family == AF_INET6) {
		__builtin_memcpy(c->raddr, raw + 8, sizeof(c->raddr));
		return 1;
	}
	map_address(c->laddr, 0);
	map_address(c->raddr, *(u32 *)(raw + 4));
	return family == AF_INET;
}

static __always_inline void log_failed(struct sock *sk, const void *addr, u16 err)
{
	struct capture *want = wanted();
	struct conn *c = blank(P_CONNECT);
	u64 key = (u64)sk;

	if (!want || !c || !read_target(c, addr))
		return;
	ask_identity(c, sk);
	own_by_current(c);
	c->flags |= F_ACTIVE;
	c->err = err;
	if (conn_wanted(want, c) && owner_wanted(want, c) && cgroup_wanted(want, sk))
		log_transition(want, c, key, bpf_ktime_get_ns(), ~0ULL,
			       TCP_CLOSE, TCP_CLOSE, 0);
}

/*
 * raw_syscalls:sys_exit, at the end of every system call of every process, in
 * its context. All but a connect() that failed at once leave at the first test.
 */
int connect_failed(struct bpf_raw_tracepoint_args *ctx)
{
	const char *regs = (const char *)ctx->args[0];
	u64 nr = 0, fd = 0, addr = 0, key;
	long result = ctx->args[1];
	struct sock *sk;

	if (!fails_early(result))
		return 0;
	bpf_probe_read_kernel(&nr, sizeof(nr), regs + REGS_NR);
	if (nr != CONNECT_NR)
		return 0;
	bpf_probe_read_kernel(&fd, sizeof(fd), regs + REGS_FD);
	bpf_probe_read_kernel(&addr, sizeof(addr), regs + REGS_ADDR);
	sk = sock_of(fd);
	key = (u64)sk;
	if (!sk || ask(&sk->sk_protocol) != IPPROTO_TCP || !announced.delete(&key))
		return 0;
	log_failed(sk, (const void *)addr, -result);
	return 0;
}

/*
 * sock:inet_sock_set_state once more: what reaches SYN_SENT has lines of its own,
 * however connect() ends.
 */
int connect_announced(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = ctx->args[0];
	u32 one = 1;

	if (ctx->args[2] == TCP_SYN_SENT)
		announced.update(&key, &one);
	return 0;
}

/* tcp:tcp_destroy_sock: the address may be another socket's from here on */
int connect_forgotten(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = ctx->args[0];

	announced.delete(&key);
	return 0;
}
