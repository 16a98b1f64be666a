// SPDX-License-Identifier: Apache-2.0
/* The owner of a socket: the process on the CPU, the listener's, or that of an MPTCP connection's first path. */

#if defined(TYPED) && defined(HAVE_TYPED_TASK)
#define TYPED_TASK
/* BPF_FUNC_get_current_task_btf (5.11 on): the kernel knows the type of the task, so reading a member is a load. */
static struct task_struct *(*current_task)(void) = (void *)158;

#define read_task_field(member)	read_field(member)
#else
static __always_inline struct task_struct *current_task(void)
{
	u64 task = bpf_get_current_task();

	asm volatile("" : "+r"(task));	/* or bcc rewrites the reads of its members */
	return (struct task_struct *)task;
}

#define read_task_field(member)	probe_field(member)
#endif

/* Inode number of a task's mount namespace, as in /proc/PID/ns; 0 unless the capture filter needs it. */
static __always_inline u32 task_mntns(struct task_struct *task)
{
#ifdef PINNED_MNTNS
	struct nsproxy *proxy = read_task_field(&task->nsproxy);
	struct mnt_namespace *mnt = read_task_field(&proxy->mnt_ns);

	return read_task_field(&mnt->mnt_inum);
#else
	return 0;
#endif
}

/* Process (upper half) and thread of the current task, as bpf_get_current_pid_tgid() gives them. */
static __always_inline u64 task_pid_tgid(struct task_struct *current)
{
#ifdef TYPED_TASK
	return (u64)read_task_field(&current->tgid) << 32 | read_task_field(&current->pid);
#else
	return bpf_get_current_pid_tgid();
#endif
}

static __always_inline int is_kernel_thread(struct task_struct *task)
{
	u32 flags = read_task_field(&task->flags);

	return flags & PF_KTHREAD;
}

/* Whether the current process is the owner, and was seen at work on the socket before. */
static __always_inline int current_is_owner(const struct conn *c)
{
	return c->flags & F_OWNER_SURE &&
	       c->pid == bpf_get_current_pid_tgid() >> 32;
}

/*
 * Whether the current process is the owner and has the name in the entry, so that nothing has
 * to be written. The name compared is the thread's: for a thread that has another name than its
 * process the answer is 0, and set_owner() writes the same again.
 */
static __always_inline int current_is_owner_by_name(const struct conn *c)
{
#ifdef TYPED_TASK
	return 0;	/* set_owner() costs no more than this test */
#else
	u64 comm[TASK_COMM_LEN / 8] = {}, stored[TASK_COMM_LEN / 8];

	if (!current_is_owner(c))
		return 0;
	bpf_get_current_comm(comm, sizeof(comm));
	__builtin_memcpy(stored, c->comm, sizeof(stored));
	return comm[0] == stored[0] && comm[1] == stored[1];
#endif
}

/*
 * The highest bit of the first byte of a word that is 0, in memory's order; no bit of the bytes
 * before it. Bits of the bytes after it may be set, too. 0 if no byte is 0.
 */
static __always_inline u64 first_zero_byte(u64 word)
{
	return (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL;
}

/* All bits of the bytes before the first one that is 0; all bits if no byte is 0. */
static __always_inline u64 mask_until_zero_byte(u64 word)
{
	u64 end = first_zero_byte(word);

	return ((end & -end) >> 7) - 1;
}

/*
 * A task's name, filled up with zeros: before 5.17 an exec or prctl() that makes the name
 * shorter leaves the rest of the old one in memory (__set_task_comm(), fs/exec.c).
 */
static __always_inline void read_comm(char *comm, struct task_struct *task)
{
#ifdef TYPED_TASK
	u64 words[TASK_COMM_LEN / 8];

	words[0] = read_task_field(&task->comm_words[0]);
	words[1] = read_task_field(&task->comm_words[1]);
	words[1] &= first_zero_byte(words[0]) ? 0 : mask_until_zero_byte(words[1]);
	words[0] &= mask_until_zero_byte(words[0]);
	__builtin_memcpy(comm, words, sizeof(words));
#else
	char name[TASK_COMM_LEN] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), task->comm);
	__builtin_memcpy(comm, name, sizeof(name));
#endif
}

/*
 * Make the current task's process the owner. The name of a process is that of its first
 * thread: the others, and io_uring's workers, have names of their own.
 */
static __always_inline void set_owner(struct conn *c, struct task_struct *task)
{
	struct task_struct *leader = read_task_field(&task->group_leader);
	u32 pid = task_pid_tgid(task) >> 32, mntns = task_mntns(task);

	if (mntns || c->pid != pid)	/* a task that exits has no mount namespace any more */
		c->mntns = mntns;
	c->pid = pid;
	c->start_ticks = read_task_field(&leader->start_boottime) / TICK_NS;
	read_comm(c->comm, leader);
	c->flags |= F_OWNER_SURE;
}

/*
 * Make the current process the owner if it is at work on this socket. In softirq it is a
 * bystander. The socket lock tells them apart: a process takes it with lock_sock(), which sets
 * sk_lock.owned, and segments that come in meanwhile wait in the backlog until the process
 * unlocks the socket; softirq and timers work only on a socket that no process has locked
 * (bh_lock_sock() and sock_owned_by_user(), include/net/sock.h). Kernel threads (workers of
 * MPTCP, TLS, sockmap, NFS) use lock_sock(), too, and own no sockets.
 */
static __always_inline void set_owner_if_locked(struct conn *c, struct sock *sk,
						struct task_struct *current)
{
	u32 is_locked = read_field(&sk->sk_lock_owned);

	if (is_locked && !is_kernel_thread(current))
		set_owner(c, current);
}

#ifdef HAVE_FILE_REF
#define FILE_REFS(file)	(probe_field(&(file)->f_ref) + 1)	/* file_ref_t, 6.13 on: 0 is one */
#else
#define FILE_REFS(file)	probe_field(&(file)->f_count)
#endif

/*
 * Whether others than one process may hold the listener: fork(), SCM_RIGHTS and threads in a
 * system call all add a reference to its file. The file stays the same as long as it listens.
 */
static __always_inline int listener_is_shared(struct sock *sk, struct file *file)
{
	if (!file) {
		struct socket *socket = probe_field(&sk->sk_socket);

		file = probe_field(&socket->file);
	}
	return FILE_REFS(file) != 1;
}

/*
 * Address of a child's listener, at LISTEN -> SYN_RECV. The child is a copy of the listener
 * byte by byte (sk_clone_lock(), net/core/sock.c), and an empty list points at itself. So the
 * child's tsq_node points into the listener until tcp_create_openreq_child()
 * (net/ipv4/tcp_minisocks.c) makes it a list of its own, after the state was announced. Where
 * it points elsewhere, `listeners` has no such address.
 */
static __always_inline u64 listener_of_child(struct tcp_sock *child)
{
	return (u64)read_field(&child->tsq_next) - __builtin_offsetof(struct tcp_sock, tsq_next);
}

/*
 * Until a process is seen at work on an accepted socket, its owner is the listener's, if that
 * has one holder only: if it has several, each of them may accept.
 */
static __always_inline void set_owner_of_listener(struct conn *c, struct tcp_sock *child)
{
	u64 skaddr = listener_of_child(child);
	struct listener *listener = listeners.lookup(&skaddr);
	struct owner *owner = &listener->owner;

	if (!listener || owner->holders > 1)
		return;
	/* user space has not counted its holders yet */
	if (!owner->holders && listener_is_shared((struct sock *)skaddr, (struct file *)listener->file))
		return;
	c->pid = owner->pid;
	c->start_ticks = owner->start_ticks;
	c->mntns = owner->mntns;
	__builtin_memcpy(c->comm, owner->comm, sizeof(c->comm));
}

/*
 * MPTCP joins a second path to a connection (MP_JOIN) by a TCP socket of the kernel's own
 * (__mptcp_subflow_connect(), net/mptcp/subflow.c); a worker connects it, or whoever runs
 * `ip mptcp`. Its owner is that of the first path. TCP's data for its upper protocol (ULP) are
 * the struct mptcp_subflow_context, which leads to the struct mptcp_sock.
 */
static __always_inline void set_owner_of_first_subflow(struct conn *c, struct traced_socket traced,
						       u64 skaddr)
{
#if defined HAVE_IS_MPTCP && defined HAVE_MPTCP_SUBFLOW && defined HAVE_MPTCP_SOCK
	struct mptcp_subflow_context *subflow;
	struct mptcp_sock *msk;
	struct conn *first_conn;
	u64 first;

	if (!read_field(&traced.tp->is_mptcp))
		return;
	subflow = read_field(&((struct inet_connection_sock *)traced.tp)->icsk_ulp_data);
	msk = probe_field(&subflow->conn);
	first = (u64)probe_field(&msk->first);
	first_conn = first != skaddr ? find_conn(first) : 0;
	if (!first_conn)
		return;
	c->pid = first_conn->pid;
	c->start_ticks = first_conn->start_ticks;
	c->mntns = first_conn->mntns;
	c->flags |= first_conn->flags & F_OWNER_SURE;
	__builtin_memcpy(c->comm, first_conn->comm, sizeof(c->comm));
#endif
}

/* At listen(): its children are the owner's, too, see set_owner_of_listener(). */
static __always_inline void remember_listener(const struct conn *c, struct sock *sk, u64 skaddr)
{
	struct listener listener = { .owner = { .pid = c->pid, .start_ticks = c->start_ticks, .mntns = c->mntns } };
	struct socket *socket = read_field(&sk->sk_socket);

	if (!c->pid)
		return;
	listener.file = (u64)probe_field(&socket->file);
	__builtin_memcpy(listener.owner.comm, c->comm, sizeof(listener.owner.comm));
	listeners.update(&skaddr, &listener);
}

/*
 * Whether only a process that has the socket causes this transition, by connect(), listen(),
 * close() or shutdown(). CLOSE without an error comes from close() or a second connect(),
 * with two exceptions: the peer's last segment ends LAST_ACK and CLOSING, and SOCK_DESTROY
 * closes a listener without an error (tcp_abort(), net/ipv4/tcp.c, sets sk_err of others).
 */
static __always_inline int is_act_of_owner(struct sock *sk, u8 oldstate, u8 newstate)
{
	u32 err;

	switch (newstate) {
	case TCP_SYN_SENT:
	case TCP_LISTEN:
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		return 1;
	case TCP_CLOSE:
		err = read_field(&sk->sk_err);
		return !err && oldstate != TCP_LISTEN &&
		       oldstate != TCP_LAST_ACK && oldstate != TCP_CLOSING;
	}
	return 0;
}

/* Whether connect() or listen() announces this; both run in the process that owns the socket. */
static __always_inline int is_connect_or_listen(u8 oldstate, u8 newstate)
{
	return oldstate == TCP_CLOSE &&
	       (newstate == TCP_SYN_SENT || newstate == TCP_LISTEN);
}
