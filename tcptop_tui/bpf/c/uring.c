// SPDX-License-Identifier: Apache-2.0
/* As connects.c, for connects that are requests of io_uring: no system call returns their result. */

#define IORING_OP_CONNECT	16	/* include/uapi/linux/io_uring.h */

#ifdef HAVE_URING
/* Destinations of requests, by request: the process may overwrite the address before the request completes. */
BPF_TABLE("lru_hash", u64, struct destination, uring_destinations, 4096);

static __always_inline int is_connect(struct io_kiocb *req)
{
	u8 opcode = 0;

	bpf_probe_read_kernel(&opcode, sizeof(opcode), &req->opcode);
	return opcode == IORING_OP_CONNECT;
}

/*
 * io_uring:io_uring_submit_req, from io_submit_sqe() (io_uring/io_uring.c). Fires for each request
 * that a ring takes, in the context of the process that submits it or of its SQPOLL thread,
 * which has its memory. io_connect_prep() (io_uring/net.c) has read the request before.
 */
int uring_submitted(struct bpf_raw_tracepoint_args *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx->args[0];
	struct destination destination = {};
	struct io_connect *connect = (void *)&req->cmd;
	void *addr = 0;
	u64 key = (u64)req;

	if (!is_connect(req))
		return 0;
	bpf_probe_read_kernel(&addr, sizeof(addr), &connect->addr);
	bpf_probe_read_user(destination.raw, sizeof(destination.raw), addr);
	uring_destinations.update(&key, &destination);
	return 0;
}

/*
 * io_uring:io_uring_complete, from io_fill_cqe_req() (io_uring/io_uring.h). Fires for each
 * completion, in the context of the process that submitted the request or of its SQPOLL thread,
 * because workers hand theirs over (io_req_complete_post()). The request still has its file.
 */
int uring_completed(struct bpf_raw_tracepoint_args *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx->args[1];
	u64 key = (u64)req;
	struct destination *destination;
	struct sock *sk;
	void *file = 0;
	s32 result = 0;

	if (!is_connect(req))
		return 0;
#ifdef URING_RESULT_IN_CQE
	bpf_probe_read_kernel(&result, sizeof(result),
			      &((struct io_uring_cqe *)ctx->args[2])->res);
#else
	result = ctx->args[3];
#endif
	destination = uring_destinations.lookup(&key);
	if (!destination)
		return 0;
	if (failed_before_syn(result)) {
		bpf_probe_read_kernel(&file, sizeof(file), &req->file);
		sk = file_sock(file);
		log_failed_connect(sk, destination, -result);
	}
	uring_destinations.delete(&key);
	return 0;
}
#endif
