// SPDX-License-Identifier: Apache-2.0
/*
 * There only while somebody asks for every connect(): those that
 * fail before a SYN is sent never change the socket's state.
 *
 * REGS_NR and REGS_1 to REGS_5 are offsets into struct pt_regs, *_NR are numbers
 * of system calls (tcptop_tui/bpf/load/headers.py).
 *
 * Not seen: connects of 32-bit programs, of io_uring before 6.0, and MSG_FASTOPEN
 * by way of io_uring, all only where they fail before a SYN.
 */
#define SOCKADDR_BYTES	24	/* struct sockaddr_in6 up to sin6_addr */
#define MSG_FASTOPEN	0x20000000
#define ECONNRESET	104
#define ETIMEDOUT	110
#define ECONNREFUSED	111
#define IORING_OP_CONNECT	16	/* include/uapi/linux/io_uring.h */

/* struct sockaddr as a process has given it */
struct target {
	u8 raw[SOCKADDR_BYTES];
};

/* sockets that announced SYN_SENT and whose connect() may still fail: those have lines already */
BPF_TABLE("lru_hash", u64, u32, announced, 16384);

/* of each thread the socket that it announced SYN_SENT for at last */
BPF_TABLE("lru_hash", u64, u64, connecting, 16384);

/* what connect() returns when it has not failed, or not yet, or not at the socket's own attempt */
static __always_inline int fails_early(long result)
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
	return result < 0 && result > -512;	/* behind that system calls are started again */
}

static __always_inline struct sock *sock_of_file(void *file)
{
	void *socket = 0, *sk = 0;

	bpf_probe_read_kernel(&socket, sizeof(socket),
			      &((struct file *)file)->private_data);
	bpf_probe_read_kernel(&sk, sizeof(sk), &((struct socket *)socket)->sk);
	return sk;
}

static __always_inline struct sock *sock_of(u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	void *files = 0, *table = 0, **fds = 0, *file = 0;

	bpf_probe_read_kernel(&files, sizeof(files), &task->files);
	bpf_probe_read_kernel(&table, sizeof(table), &((struct files_struct *)files)->fdt);
	bpf_probe_read_kernel(&fds, sizeof(fds), &((struct fdtable *)table)->fd);
	bpf_probe_read_kernel(&file, sizeof(file), &fds[fd]);
	return sock_of_file(file);
}

/* where connect() was to go; 0 when that is neither IPv4 nor IPv6 */
static __always_inline int take_target(struct conn *c, const struct target *to)
{
	const u8 *raw = to->raw;
	u16 family = *(u16 *)raw;

	c->rport = swapped(*(u16 *)(raw + 2));
	if (family == AF_INET6)
		__builtin_memcpy(c->raddr, raw + 8, sizeof(c->raddr));
	else
		map_address(c->raddr, *(u32 *)(raw + 4));
	return family == AF_INET || family == AF_INET6;
}

/*
 * An attempt of the current task has failed. A socket that has announced SYN_SENT has lines
 * of its own; one that is not TCP's, or no socket, has no IPPROTO_TCP.
 */
static __always_inline void log_failed(struct sock *sk, const struct target *to, u16 err)
{
	struct capture *want = wanted();
	struct conn *c = blank(P_CONNECT);
	u64 key = (u64)sk;

	if (!sk || ask(&sk->sk_protocol) != IPPROTO_TCP || !announced.delete(&key))
		return;
	if (!want || !c || !take_target(c, to))
		return;
	ask_local_end(c, sk);
	if (want->by_lport && !c->lport)	/* it gets no port any more */
		return;
	ask_identity(c, sk);
	own_by_current(c, current_task());
	c->flags |= F_ACTIVE;
	c->syn_sent = SYN_NONE;
	c->err = err;
	if (conn_wanted(want, c) && owner_wanted(want, c) && cgroup_wanted(want, sk))
		log_transition(want, c, key, bpf_get_current_pid_tgid(),
			       bpf_ktime_get_ns(), ~0ULL, TCP_CLOSE, TCP_CLOSE, 0);
}

/*
 * An answer to a SYN, or that there was none: this thread's connect() has waited for it, and the
 * socket that it announced tells. Its descriptor leads to another one where a second thread has
 * closed it meanwhile, and the next socket has got the number.
 */
static __always_inline int is_told_already(struct sock *sk, u16 err)
{
	u64 thread = bpf_get_current_pid_tgid(), key, *last;

	if (err != ECONNRESET && err != ETIMEDOUT && err != ECONNREFUSED)
		return 0;
	last = connecting.lookup(&thread);
	if (!last || *last == (u64)sk)
		return 0;
	key = *last;
	return !announced.delete(&key);
}

static __always_inline u64 argument(const char *regs, u32 offset)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), regs + offset);
	return value;
}

/* msg_name, the first member of struct msghdr; of sendmmsg() that of the first message */
static __always_inline const void *named_in(u64 msg)
{
	const void *name = 0;

	bpf_probe_read_user(&name, sizeof(name), (const void *)msg);
	return name;
}

/* Where a system call was to connect to; 0 for those that connect nothing. */
static __always_inline const void *target_of(const char *regs)
{
	switch (argument(regs, REGS_NR)) {
	case CONNECT_NR:
		return (const void *)argument(regs, REGS_2);
	case SENDTO_NR:
		if (argument(regs, REGS_4) & MSG_FASTOPEN)
			return (const void *)argument(regs, REGS_5);
		return 0;
	case SENDMSG_NR:
		if (argument(regs, REGS_3) & MSG_FASTOPEN)
			return named_in(argument(regs, REGS_2));
		return 0;
	case SENDMMSG_NR:
		if (argument(regs, REGS_4) & MSG_FASTOPEN)
			return named_in(argument(regs, REGS_2));
	}
	return 0;
}

/*
 * raw_syscalls:sys_exit, at the end of every system call of every process, in
 * its context. All that succeed, or would block, leave at the first test; others
 * that connect nothing at the second.
 */
int connect_failed(struct bpf_raw_tracepoint_args *ctx)
{
	const char *regs = (const char *)ctx->args[0];
	long result = ctx->args[1];
	struct target to = {};
	const void *addr;
	struct sock *sk;

	if (!fails_early(result))
		return 0;
	addr = target_of(regs);
	if (!addr)
		return 0;
	bpf_probe_read_user(to.raw, sizeof(to.raw), addr);
	sk = sock_of(argument(regs, REGS_1));
	if (!is_told_already(sk, -result))
		log_failed(sk, &to, -result);
	return 0;
}

#ifdef HAVE_URING
/* where requests are to connect to: the process may use the memory again before they complete */
BPF_TABLE("lru_hash", u64, struct target, uring_targets, 4096);

static __always_inline int connects(struct io_kiocb *req)
{
	u8 opcode = 0;

	bpf_probe_read_kernel(&opcode, sizeof(opcode), &req->opcode);
	return opcode == IORING_OP_CONNECT;
}

/*
 * io_uring:io_uring_submit_req (io_submit_sqe(), io_uring/io_uring.c), for each request
 * that a ring takes; in the process that submits it, or its SQPOLL thread, which has its
 * memory. io_connect_prep() (io_uring/net.c) has read the request by then.
 */
int uring_submitted(struct bpf_raw_tracepoint_args *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx->args[0];
	struct target to = {};
	struct io_connect *connect = (void *)&req->cmd;
	void *addr = 0;
	u64 key = (u64)req;

	if (!connects(req))
		return 0;
	bpf_probe_read_kernel(&addr, sizeof(addr), &connect->addr);
	bpf_probe_read_user(to.raw, sizeof(to.raw), addr);
	uring_targets.update(&key, &to);
	return 0;
}

/*
 * io_uring:io_uring_complete (io_fill_cqe_req(), io_uring/io_uring.h), for each completion;
 * in the process that submitted the request, or its SQPOLL thread, since
 * workers hand theirs over (io_req_complete_post()). The request still has its file.
 */
int uring_completed(struct bpf_raw_tracepoint_args *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx->args[1];
	u64 key = (u64)req;
	struct target *to;
	struct sock *sk;
	void *file = 0;
	s32 result = 0;

	if (!connects(req))
		return 0;
#ifdef URING_RESULT_IN_CQE
	bpf_probe_read_kernel(&result, sizeof(result),
			      &((struct io_uring_cqe *)ctx->args[2])->res);
#else
	result = ctx->args[3];
#endif
	to = uring_targets.lookup(&key);
	if (!to)
		return 0;
	if (fails_early(result)) {
		bpf_probe_read_kernel(&file, sizeof(file), &req->file);
		sk = sock_of_file(file);
		log_failed(sk, to, -result);
	}
	uring_targets.delete(&key);
	return 0;
}
#endif

/*
 * sock:inet_sock_set_state once more: what reaches SYN_SENT has lines of its own,
 * however connect() ends; where it does not block, a later connect() tells that.
 */
int connect_announced(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = ctx->args[0], thread = bpf_get_current_pid_tgid();
	u32 one = 1;

	if (ctx->args[2] == TCP_SYN_SENT) {
		announced.update(&key, &one);
		connecting.update(&thread, &key);
	} else if (ctx->args[1] == TCP_SYN_SENT && ctx->args[2] != TCP_CLOSE) {
		announced.delete(&key);	/* connected: what fails later is another attempt */
	}
	return 0;
}

/* tcp:tcp_destroy_sock: the address may be another socket's from here on */
int connect_forgotten(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = ctx->args[0];

	announced.delete(&key);
	return 0;
}
