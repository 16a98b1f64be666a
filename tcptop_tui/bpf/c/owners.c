// SPDX-License-Identifier: Apache-2.0
/* Whose a socket is: the process on the CPU, or the listener's. */
/* inode number of a task's mount namespace, as `ls -L /proc/PID/ns` has it */
static __always_inline u32 mntns_of(struct task_struct *task)
{
	u32 inum = 0;
#ifdef PINNED_MNTNS
	void *proxy = 0, *mnt = 0;

	bpf_probe_read_kernel(&proxy, sizeof(proxy), &task->nsproxy);
	bpf_probe_read_kernel(&mnt, sizeof(mnt), &((struct nsproxy *)proxy)->mnt_ns);
	bpf_probe_read_kernel(&inum, sizeof(inum),
			      &((struct mnt_namespace *)mnt)->mnt_inum);
#endif
	return inum;
}

static __always_inline struct task_struct *current_task(void)
{
	u64 task = bpf_get_current_task();

	asm volatile("" : "+r"(task));	/* or bcc rewrites what reads its members */
	return (struct task_struct *)task;
}

static __always_inline int is_kernel_thread(void)
{
	struct task_struct *task = current_task();
	u32 flags = ask(&task->flags);

	return flags & PF_KTHREAD;
}

/*
 * Is whoever is on the CPU at work on this socket? In softirq that is a bystander. The
 * socket lock tells: a process takes it with lock_sock(), which sets sk_lock.owned, and what
 * comes in meanwhile waits in the backlog until that process lets go; softirq and timers go on
 * only with a socket that nobody owns (bh_lock_sock() and sock_owned_by_user(),
 * include/net/sock.h). Kernel threads (MPTCP's and TLS's workers, sockmap's, NFS) use
 * lock_sock(), too, and have no sockets of their own.
 */
static __always_inline int in_process(struct sock *sk)
{
	u32 owned = peek(&sk->sk_lock_owned);

	return owned && !is_kernel_thread();
}

/* Is the owner on the CPU, and known to be it? */
static __always_inline int is_owner(const struct conn *c)
{
	return c->flags & F_OWNER_SURE &&
	       c->pid == bpf_get_current_pid_tgid() >> 32;
}

/*
 * The same, and it has the name that is known: nothing new to say of it. The name is the
 * thread's; of a thread with another one than its process the long way finds out the same.
 */
static __always_inline int is_owner_by_name(const struct conn *c)
{
	u64 comm[TASK_COMM_LEN / 8] = {}, known[TASK_COMM_LEN / 8];

	if (!is_owner(c))
		return 0;
	bpf_get_current_comm(comm, sizeof(comm));
	__builtin_memcpy(known, c->comm, sizeof(known));
	return comm[0] == known[0] && comm[1] == known[1];
}

/*
 * A process's name, with nothing behind its end: before 5.17 an exec or prctl() that makes
 * it shorter leaves the old letters there (__set_task_comm(), fs/exec.c).
 */
static __always_inline void read_comm(char *comm, struct task_struct *task)
{
	char found[TASK_COMM_LEN] = {};

	bpf_probe_read_kernel_str(found, sizeof(found), task->comm);
	__builtin_memcpy(comm, found, sizeof(found));
}

/*
 * The current task's process has the socket. Its name is that of its first thread: the
 * others have names of their own, and so have io_uring's workers.
 */
static __always_inline void own_by_current(struct conn *c)
{
	struct task_struct *task = current_task();
	struct task_struct *leader = ask(&task->group_leader);
	u32 pid = bpf_get_current_pid_tgid() >> 32, mntns = mntns_of(task);

	if (mntns || c->pid != pid)	/* a task that exits has none any more */
		c->mntns = mntns;
	c->pid = pid;
	c->started = ask(&leader->start_boottime) / TICK_NS;
	read_comm(c->comm, leader);
	c->flags |= F_OWNER_SURE;
}

#ifdef HAVE_FILE_REF
#define FILE_REFS(file)	(ask(&(file)->f_ref) + 1)	/* file_ref_t, 6.13 on: 0 is one */
#else
#define FILE_REFS(file)	ask(&(file)->f_count)
#endif

/* Has somebody else got a descriptor of the socket? fork() and SCM_RIGHTS count, threads in a call as well. */
static __always_inline int is_shared(struct sock *sk)
{
	struct socket *socket = ask(&sk->sk_socket);
	struct file *file = ask(&socket->file);

	return FILE_REFS(file) != 1;
}

/*
 * Address of the listener whose child this is, at LISTEN -> SYN_RECV: the child is a copy of
 * it byte by byte (sk_clone_lock(), net/core/sock.c), and an empty list points at itself, so
 * the child's tsq_node points into the listener until tcp_create_openreq_child()
 * (net/ipv4/tcp_minisocks.c) makes it a list of its own, after the state was announced.
 * What is no listener's address is not in `listeners`.
 */
static __always_inline u64 listener_of(struct sock *child)
{
	struct tcp_sock *tp = (struct tcp_sock *)child;

	return (u64)ask(&tp->tsq_next) - __builtin_offsetof(struct tcp_sock, tsq_next);
}

/*
 * Until somebody is seen with it an accepted socket is its listener's process's, if that
 * is one: of several that have the listener open anyone may accept.
 */
static __always_inline void own_by_listener(struct conn *c, struct sock *sk)
{
	u64 key = listener_of(sk);
	struct owner *owner = listeners.lookup(&key);

	if (!owner || owner->holders > 1)
		return;
	if (!owner->holders && is_shared((struct sock *)key))	/* no survey has counted them yet */
		return;
	c->pid = owner->pid;
	c->started = owner->started;
	c->mntns = owner->mntns;
	__builtin_memcpy(c->comm, owner->comm, sizeof(c->comm));
}

static __always_inline void remember_listener(const struct conn *c, u64 key)
{
	struct owner owner = { .pid = c->pid, .started = c->started, .mntns = c->mntns };

	if (!c->pid)
		return;
	__builtin_memcpy(owner.comm, c->comm, sizeof(owner.comm));
	listeners.update(&key, &owner);
}

/*
 * Does only a process do this, with a socket that it has? connect(), listen(), close() and
 * shutdown(). CLOSE without an error comes from close() or a second connect(), but for what
 * the peer has finished, and for a listener that SOCK_DESTROY closes (tcp_abort(),
 * net/ipv4/tcp.c), which sets sk_err for the others.
 */
static __always_inline int is_own_act(struct sock *sk, u8 oldstate, u8 newstate)
{
	u32 err;

	switch (newstate) {
	case TCP_SYN_SENT:
	case TCP_LISTEN:
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		return 1;
	case TCP_CLOSE:
		err = peek(&sk->sk_err);
		return !err && oldstate != TCP_LISTEN &&
		       oldstate != TCP_LAST_ACK && oldstate != TCP_CLOSING;
	}
	return 0;
}

/* connect() and listen() run in the process that owns the socket */
static __always_inline int is_own_context(u8 oldstate, u8 newstate)
{
	return oldstate == TCP_CLOSE &&
	       (newstate == TCP_SYN_SENT || newstate == TCP_LISTEN);
}
