// SPDX-License-Identifier: Apache-2.0
/*
 * connect() calls that fail before a SYN is sent. They never change the socket's state, so no
 * other program sees them. This file is compiled only when every connect() is asked for
 * (`trace connect`).
 *
 * REGS_NR and REGS_1 to REGS_5 are offsets into struct pt_regs, *_NR are numbers of system
 * calls (tcptop_tui/bpf/load/headers.py).
 *
 * Not seen, if they fail before a SYN: connects of 32-bit programs, of io_uring before 6.0, and
 * MSG_FASTOPEN through io_uring.
 */
#define SOCKADDR_BYTES	24	/* struct sockaddr_in6 up to sin6_addr */
#define MSG_FASTOPEN	0x20000000
#define ECONNRESET	104
#define ETIMEDOUT	110
#define ECONNREFUSED	111

/* The struct sockaddr that a process passed to connect(). */
struct destination {
	u8 raw[SOCKADDR_BYTES];
};

/* Sockets that announced SYN_SENT and whose connect() has not returned: their transitions are logged already. */
BPF_TABLE("lru_hash", u64, u32, syn_sent_sockets, 16384);

/* The socket with which each thread announced SYN_SENT last, by pid_tgid. */
BPF_TABLE("lru_hash", u64, u64, latest_connects, 16384);

/*
 * Whether this result of a system call may mean that a connect() failed before a SYN. The errnos
 * listed are those of a connect() that has not failed, or not yet, or that was no attempt.
 */
static __always_inline int failed_before_syn(long result)
{
	switch (-result) {
	case 4:		/* EINTR */
	case 9:		/* EBADF */
	case 11:	/* EAGAIN */
	case 14:	/* EFAULT */
	case 32:	/* EPIPE */
	case 88:	/* ENOTSOCK */
	case 106:	/* EISCONN */
	case 114:	/* EALREADY */
	case 115:	/* EINPROGRESS */
	case 125:	/* ECANCELED, of io_uring */
		return 0;
	}
	return result < 0 && result > -512;	/* from -512 on the kernel restarts the system call */
}

static __always_inline struct sock *file_sock(void *file)
{
	void *socket = 0, *sk = 0;

	bpf_probe_read_kernel(&socket, sizeof(socket),
			      &((struct file *)file)->private_data);
	bpf_probe_read_kernel(&sk, sizeof(sk), &((struct socket *)socket)->sk);
	return sk;
}

/* The socket of a descriptor of the current task, which may be no socket at all. */
static __always_inline struct sock *fd_sock(u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	void *files = 0, *table = 0, **fds = 0, *file = 0;

	bpf_probe_read_kernel(&files, sizeof(files), &task->files);
	bpf_probe_read_kernel(&table, sizeof(table), &((struct files_struct *)files)->fdt);
	bpf_probe_read_kernel(&fds, sizeof(fds), &((struct fdtable *)table)->fd);
	bpf_probe_read_kernel(&file, sizeof(file), &fds[fd]);
	return file_sock(file);
}

/* The destination becomes the remote endpoint; 0 if it is neither IPv4 nor IPv6. */
static __always_inline int read_destination(struct conn *c, const struct destination *destination)
{
	const u8 *raw = destination->raw;
	u16 family = *(u16 *)raw;

	c->rport = swap_bytes(*(u16 *)(raw + 2));
	if (family == AF_INET6)
		__builtin_memcpy(c->raddr, raw + 8, sizeof(c->raddr));
	else
		set_ipv4_mapped(c->raddr, *(u32 *)(raw + 4));
	return family == AF_INET || family == AF_INET6;
}

/*
 * Log a failed connect() of the current task as a transition from CLOSE to CLOSE. A socket that
 * has announced SYN_SENT is left out: its transitions are logged. Where `sk` is no TCP socket,
 * or no socket, its protocol is not IPPROTO_TCP.
 */
static __always_inline void log_failed_connect(struct sock *sk, const struct destination *destination,
					       u16 err)
{
	struct capture_filter *filter = get_filter();
	struct conn *c = zeroed_scratch(P_CONNECT);
	u64 skaddr = (u64)sk;

	if (!sk || probe_field(&sk->sk_protocol) != IPPROTO_TCP || !syn_sent_sockets.delete(&skaddr))
		return;
	if (!filter || !c || !read_destination(c, destination))
		return;
	probe_local_endpoint(c, sk);
	if (filter->by_lport && !c->lport)	/* it gets no port any more */
		return;
	probe_identity(c, sk);
	set_owner(c, current_task());
	c->flags |= F_ACTIVE;
	c->syn_sent = SYN_NONE;
	c->err = err;
	if (includes_endpoints(filter, c) && includes_owner(filter, c) && includes_cgroup(filter, sk))
		log_transition(filter, c, skaddr, bpf_get_current_pid_tgid(),
			       bpf_ktime_get_ns(), ~0ULL, TCP_CLOSE, TCP_CLOSE, 0);
}

/*
 * Whether the failure is that of a SYN that this thread's connect() has waited for: the
 * transitions of the socket it announced tell it. `sk` is another socket if a second thread has
 * closed the descriptor meanwhile and a new socket has got its number.
 */
static __always_inline int is_logged_already(struct sock *sk, u16 err)
{
	u64 thread = bpf_get_current_pid_tgid(), skaddr, *latest;

	if (err != ECONNRESET && err != ETIMEDOUT && err != ECONNREFUSED)
		return 0;
	latest = latest_connects.lookup(&thread);
	if (!latest || *latest == (u64)sk)
		return 0;
	skaddr = *latest;
	return !syn_sent_sockets.delete(&skaddr);
}

/* A register of the system call, from its struct pt_regs. */
static __always_inline u64 read_register(const char *regs, u32 offset)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), regs + offset);
	return value;
}

/* msg_name, the first member of struct msghdr; sendmmsg() takes an array of these, of which the first one counts */
static __always_inline const void *msghdr_name(u64 msg)
{
	const void *name = 0;

	bpf_probe_read_user(&name, sizeof(name), (const void *)msg);
	return name;
}

/* The address that a system call was to connect to, in user space; 0 if it connects nothing. */
static __always_inline const void *connect_address(const char *regs)
{
	switch (read_register(regs, REGS_NR)) {
	case CONNECT_NR:
		return (const void *)read_register(regs, REGS_2);
	case SENDTO_NR:
		if (read_register(regs, REGS_4) & MSG_FASTOPEN)
			return (const void *)read_register(regs, REGS_5);
		return 0;
	case SENDMSG_NR:
		if (read_register(regs, REGS_3) & MSG_FASTOPEN)
			return msghdr_name(read_register(regs, REGS_2));
		return 0;
	case SENDMMSG_NR:
		if (read_register(regs, REGS_4) & MSG_FASTOPEN)
			return msghdr_name(read_register(regs, REGS_2));
	}
	return 0;
}

/*
 * raw_syscalls:sys_exit, from syscall_exit_work() (kernel/entry/). Fires at the end of every system
 * call of every process, in its context. Calls that succeed or would block leave at the first
 * test, others that connect nothing at the second.
 */
int connect_failed(struct bpf_raw_tracepoint_args *ctx)
{
	const char *regs = (const char *)ctx->args[0];
	long result = ctx->args[1];
	struct destination destination = {};
	const void *addr;
	struct sock *sk;

	if (!failed_before_syn(result))
		return 0;
	addr = connect_address(regs);
	if (!addr)
		return 0;
	bpf_probe_read_user(destination.raw, sizeof(destination.raw), addr);
	sk = fd_sock(read_register(regs, REGS_1));
	if (!is_logged_already(sk, -result))
		log_failed_connect(sk, &destination, -result);
	return 0;
}

/*
 * sock:inet_sock_set_state once more (set_state() says when it fires). A socket that reaches
 * SYN_SENT has transitions that are logged, however its connect() ends; if that does not block,
 * a later connect() returns the result.
 */
int connect_announced(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skaddr = ctx->args[0], thread = bpf_get_current_pid_tgid();
	u32 one = 1;

	if (ctx->args[2] == TCP_SYN_SENT) {
		syn_sent_sockets.update(&skaddr, &one);
		latest_connects.update(&thread, &skaddr);
	} else if (ctx->args[1] == TCP_SYN_SENT && ctx->args[2] != TCP_CLOSE) {
		syn_sent_sockets.delete(&skaddr);	/* connected: a later failure is that of another attempt */
	}
	return 0;
}

/* tcp:tcp_destroy_sock, as destroy() has it: the address may be another socket's from here on. */
int connect_forgotten(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skaddr = ctx->args[0];

	syn_sent_sockets.delete(&skaddr);
	return 0;
}
