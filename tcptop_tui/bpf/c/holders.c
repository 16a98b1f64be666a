// SPDX-License-Identifier: Apache-2.0
/*
 * Who has which socket open: what /proc/PID/fd says, without a system call for each
 * descriptor. Only where the kernel knows the types of the iterator's arguments.
 */
#ifdef TYPED
#define S_IFMT		00170000	/* include/uapi/linux/stat.h */
#define S_IFSOCK	0140000

/* tcptop_tui/host/socket_holders.py: HOLDER */
struct holder {
	u64 skaddr;
	u64 inode;
	u32 pid;
	u32 start_ticks;
	u32 mntns;
	u32 state;
	char comm[TASK_COMM_LEN];
};

static int (*write_record)(void *file, const void *data, u32 bytes) = (void *)BPF_FUNC_seq_write;

/* struct bpf_iter__task_file (kernel/bpf/task_iter.c), in assembly as in traced() */
#define iter_argument(name, at)	asm volatile("%0 = *(u64 *)(%1 + " #at ")" : "=r"(name) : "r"(ctx))

/*
 * iter/task_file: for each descriptor of each process that the reader's PID namespace has,
 * in the reader's context. Threads come up only where they have descriptors of their own.
 */
int holder(struct bpf_raw_tracepoint_args *ctx)
{
	struct holder found = {};
	struct task_struct *task, *leader;
	struct file *file;
	struct inode *inode;
	struct socket *socket;
	struct sock *sk;
	void **meta;

	iter_argument(task, 8);
	iter_argument(file, 24);
	if (!task || !file)
		return 0;
	inode = peek(&file->f_inode);
	if ((peek(&inode->i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = peek(&file->private_data);
	sk = ask(&socket->sk);
	found.state = ask(&sk->skc_family);
	if (found.state != AF_INET && found.state != AF_INET6)
		return 0;
	found.state = ask(&sk->skc_state);
	found.skaddr = (u64)sk;
	found.inode = peek(&inode->i_ino);
	leader = peek(&task->group_leader);
	found.pid = peek(&task->tgid);
	found.start_ticks = peek(&leader->start_boottime) / TICK_NS;
	found.mntns = mntns_of(task);
	read_comm(found.comm, leader);
	iter_argument(meta, 0);
	write_record(*meta, &found, sizeof(found));
	return 0;
}
#endif
