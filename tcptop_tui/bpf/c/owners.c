// SPDX-License-Identifier: Apache-2.0
/* Whose a socket is: the process on the CPU, or the listener's. */
#if defined(TYPED) && defined(HAVE_TYPED_TASK)
#define TYPED_TASK
/* The current task with its type, BPF_FUNC_get_current_task_btf (5.11 on): its members are loads, as peek()'s are. */
static struct task_struct *(*current_task)(void) = (void *)158;

#define peek_task(member)	peek(member)
#else
static __always_inline struct task_struct *current_task(void)
{
	u64 task = bpf_get_current_task();

	asm volatile("" : "+r"(task));	/* or bcc rewrites what reads its members */
	return (struct task_struct *)task;
}

#define peek_task(member)	ask(member)
#endif

/* inode number of a task's mount namespace, as `ls -L /proc/PID/ns` has it */
static __always_inline u32 mntns_of(struct task_struct *task)
{
#ifdef PINNED_MNTNS
	struct nsproxy *proxy = peek_task(&task->nsproxy);
	struct mnt_namespace *mnt = peek_task(&proxy->mnt_ns);

	return peek_task(&mnt->mnt_inum);
#else
	return 0;
#endif
}

/* The current task's process and its own number, as bpf_get_current_pid_tgid() has them. */
static __always_inline u64 ids_of(struct task_struct *current)
{
#ifdef TYPED_TASK
	return (u64)peek_task(&current->tgid) << 32 | peek_task(&current->pid);
#else
	return bpf_get_current_pid_tgid();
#endif
}

static __always_inline int is_kernel_thread(struct task_struct *task)
{
	u32 flags = peek_task(&task->flags);

	return flags & PF_KTHREAD;
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
#ifdef TYPED_TASK
	return 0;	/* to read it all again costs no more */
#else
	u64 comm[TASK_COMM_LEN / 8] = {}, known[TASK_COMM_LEN / 8];

	if (!is_owner(c))
		return 0;
	bpf_get_current_comm(comm, sizeof(comm));
	__builtin_memcpy(known, c->comm, sizeof(known));
	return comm[0] == known[0] && comm[1] == known[1];
#endif
}

/* the highest bit of the first byte of a word that is 0; nothing of those before it, anything behind it */
static __always_inline u64 end_of(u64 word)
{
	return (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL;
}

/* All bits of the bytes in front of the first one that is 0, of all eight if none is. */
static __always_inline u64 until_end(u64 word)
{
	u64 end = end_of(word);

	return ((end & -end) >> 7) - 1;
}

/*
 * A process's name, with nothing behind its end: before 5.17 an exec or prctl() that makes
 * it shorter leaves the old letters there (__set_task_comm(), fs/exec.c).
 */
static __always_inline void read_comm(char *comm, struct task_struct *task)
{
#ifdef TYPED_TASK
	u64 words[TASK_COMM_LEN / 8];

	words[0] = peek_task(&task->comm_words[0]);
	words[1] = peek_task(&task->comm_words[1]);
	words[1] &= end_of(words[0]) ? 0 : until_end(words[1]);
	words[0] &= until_end(words[0]);
	__builtin_memcpy(comm, words, sizeof(words));
#else
	char found[TASK_COMM_LEN] = {};

	bpf_probe_read_kernel_str(found, sizeof(found), task->comm);
	__builtin_memcpy(comm, found, sizeof(found));
#endif
}

/*
 * The current task's process has the socket. Its name is that of its first thread: the
 * others have names of their own, and so have io_uring's workers.
 */
static __always_inline void own_by_current(struct conn *c, struct task_struct *task)
{
	struct task_struct *leader = peek_task(&task->group_leader);
	u32 pid = ids_of(task) >> 32, mntns = mntns_of(task);

	if (mntns || c->pid != pid)	/* a task that exits has none any more */
		c->mntns = mntns;
	c->pid = pid;
	c->start_ticks = peek_task(&leader->start_boottime) / TICK_NS;
	read_comm(c->comm, leader);
	c->flags |= F_OWNER_SURE;
}

/*
 * The same, if whoever is on the CPU is at work on this socket. In softirq that is a bystander. The
 * socket lock tells: a process takes it with lock_sock(), which sets sk_lock.owned, and what
 * comes in meanwhile waits in the backlog until that process lets go; softirq and timers go on
 * only with a socket that nobody owns (bh_lock_sock() and sock_owned_by_user(),
 * include/net/sock.h). Kernel threads (MPTCP's and TLS's workers, sockmap's, NFS) use
 * lock_sock(), too, and have no sockets of their own.
 */
static __always_inline void own_in_process(struct conn *c, struct sock *sk,
					   struct task_struct *current)
{
	u32 owned = peek(&sk->sk_lock_owned);

	if (owned && !is_kernel_thread(current))
		own_by_current(c, current);
}

#ifdef HAVE_FILE_REF
#define FILE_REFS(file)	(ask(&(file)->f_ref) + 1)	/* file_ref_t, 6.13 on: 0 is one */
#else
#define FILE_REFS(file)	ask(&(file)->f_count)
#endif

/*
 * Has somebody else got a descriptor of the listener? fork() and SCM_RIGHTS count, threads in a
 * call as well. A listener has the file that it had at listen() for as long as it listens.
 */
static __always_inline int is_shared(struct sock *sk, struct file *file)
{
	if (!file) {
		struct socket *socket = ask(&sk->sk_socket);

		file = ask(&socket->file);
	}
	return FILE_REFS(file) != 1;
}

/*
 * Address of the listener whose child this is, at LISTEN -> SYN_RECV: the child is a copy of
 * it byte by byte (sk_clone_lock(), net/core/sock.c), and an empty list points at itself, so
 * the child's tsq_node points into the listener until tcp_create_openreq_child()
 * (net/ipv4/tcp_minisocks.c) makes it a list of its own, after the state was announced.
 * What is no listener's address is not in `listeners`.
 */
static __always_inline u64 listener_of(struct tcp_sock *child)
{
	return (u64)peek(&child->tsq_next) - __builtin_offsetof(struct tcp_sock, tsq_next);
}

/*
 * Until somebody is seen with it an accepted socket is its listener's process's, if that
 * is one: of several that have the listener open anyone may accept.
 */
static __always_inline void own_by_listener(struct conn *c, struct tcp_sock *child)
{
	u64 key = listener_of(child);
	struct listener *listener = listeners.lookup(&key);
	struct owner *owner = &listener->owner;

	if (!listener || owner->holders > 1)
		return;
	if (!owner->holders && is_shared((struct sock *)key, (struct file *)listener->file))	/* no survey has counted them yet */
		return;
	c->pid = owner->pid;
	c->start_ticks = owner->start_ticks;
	c->mntns = owner->mntns;
	__builtin_memcpy(c->comm, owner->comm, sizeof(c->comm));
}

/*
 * MPTCP joins a second path to a connection (MP_JOIN) by a TCP socket of the kernel's own
 * (__mptcp_subflow_connect(), net/mptcp/subflow.c): a worker connects it, or whoever runs
 * `ip mptcp`. It is the process's that has the first path. What TCP keeps for its upper
 * protocol (ULP) is the struct mptcp_subflow_context, which leads to the struct mptcp_sock.
 */
static __always_inline void own_by_first_path(struct conn *c, struct subject of, u64 key)
{
#if defined HAVE_IS_MPTCP && defined HAVE_MPTCP_SUBFLOW && defined HAVE_MPTCP_SOCK
	struct mptcp_subflow_context *path;
	struct mptcp_sock *whole;
	struct conn *known;
	u64 first;

	if (!peek(&of.tp->is_mptcp))
		return;
	path = peek(&((struct inet_connection_sock *)of.tp)->icsk_ulp_data);
	whole = ask(&path->conn);
	first = (u64)ask(&whole->first);
	known = first != key ? conn_of(first) : 0;
	if (!known)
		return;
	c->pid = known->pid;
	c->start_ticks = known->start_ticks;
	c->mntns = known->mntns;
	c->flags |= known->flags & F_OWNER_SURE;
	__builtin_memcpy(c->comm, known->comm, sizeof(c->comm));
#endif
}

static __always_inline void remember_listener(const struct conn *c, struct sock *sk, u64 key)
{
	struct listener made = { .owner = { .pid = c->pid, .start_ticks = c->start_ticks, .mntns = c->mntns } };
	struct socket *socket = peek(&sk->sk_socket);

	if (!c->pid)
		return;
	made.file = (u64)ask(&socket->file);
	__builtin_memcpy(made.owner.comm, c->comm, sizeof(made.owner.comm));
	listeners.update(&key, &made);
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
