// SPDX-License-Identifier: Apache-2.0
/*
 * The descriptor iterator: which process has which socket open. It tells what /proc/PID/fd
 * does, without a system call for each descriptor. It needs a kernel that knows the types of
 * the iterator's arguments.
 */
#ifdef TYPED
#define S_IFMT		00170000	/* include/uapi/linux/stat.h */
#define S_IFSOCK	0140000

/* A descriptor of a socket; tcptop_tui/host/socket_holders.py: HOLDER */
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

/* A member of struct bpf_iter__task_file (kernel/bpf/task_iter.c), in assembly as in traced_socket() */
#define read_iter_argument(name, offset)	\
	asm volatile("%0 = *(u64 *)(%1 + " #offset ")" : "=r"(name) : "r"(ctx))

/*
 * iter/task_file, from task_file_seq_show() (kernel/bpf/task_iter.c). Run for each descriptor of
 * each process in the reader's PID namespace, in the context of the process that reads the
 * iterator. Threads are visited only if they have a descriptor table of their own.
 */
int holder(struct bpf_raw_tracepoint_args *ctx)
{
	struct holder record = {};
	struct task_struct *task, *leader;
	struct file *file;
	struct inode *inode;
	struct socket *socket;
	struct sock *sk;
	void **meta;

	read_iter_argument(task, 8);
	read_iter_argument(file, 24);
	if (!task || !file)
		return 0;
	inode = read_field(&file->f_inode);
	if ((read_field(&inode->i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = read_field(&file->private_data);
	sk = probe_field(&socket->sk);
	record.state = probe_field(&sk->skc_family);
	if (record.state != AF_INET && record.state != AF_INET6)
		return 0;
	record.state = probe_field(&sk->skc_state);
	record.skaddr = (u64)sk;
	record.inode = read_field(&inode->i_ino);
	leader = read_field(&task->group_leader);
	record.pid = read_field(&task->tgid);
	record.start_ticks = read_field(&leader->start_boottime) / TICK_NS;
	record.mntns = task_mntns(task);
	read_comm(record.comm, leader);
	read_iter_argument(meta, 0);
	write_record(*meta, &record, sizeof(record));
	return 0;
}
#endif
