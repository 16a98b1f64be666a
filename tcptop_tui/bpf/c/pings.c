// SPDX-License-Identifier: Apache-2.0
/* Whom the answer to an ICMP echo request interrupted. */
static __always_inline int is_echo_reply(const struct transport *t)
{
	if (t->version == 4)
		return t->protocol == IPPROTO_ICMP && byte_at(t->at) == ECHO_REPLY;
	return t->protocol == IPPROTO_ICMPV6 && byte_at(t->at) == ECHO_REPLY_V6;
}

/*
 * A reply passes each of several stacked devices (VLAN, bond), one after the other.
 * The same device again is another reply: the slab gives the same address to the
 * next skb, and there are pings that never change their id and sequence number.
 */
static __always_inline int is_new(struct sk_buff *skb, u32 id_seq)
{
	u32 zero = 0;
	struct sent *last = latest.lookup(&zero);
	u64 dev = 0;

	bpf_probe_read_kernel(&dev, sizeof(dev), &skb->dev);
	if (!last || (last->skb == (u64)skb && last->id_seq == id_seq && last->dev != dev))
		return 0;
	last->skb = (u64)skb;
	last->dev = dev;
	last->id_seq = id_seq;
	return 1;
}

static __always_inline int ping_wanted(u32 tgid, u32 cpu)
{
	u32 zero = 0;
	struct chosen *want = chosen.lookup(&zero);

	return want && (!want->by_tgid || want->tgid == tgid) &&
	       (!want->by_cpu || want->cpu == cpu);
}

/* The kernel's own ICMP socket has no file; a raw socket, which may send any reply, has one. */
static __always_inline int is_kernels(void *sk)
{
	void *socket = 0, *file = 0;

	if (!sk)
		return 0;
	bpf_probe_read_kernel(&socket, sizeof(socket), &((struct sock *)sk)->sk_socket);
	if (!socket)
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), &((struct socket *)socket)->file);
	return !file;
}

/*
 * net:net_dev_queue, from __dev_queue_xmit() (net/core/dev.c): a packet leaves by
 * a device. An echo reply leaves in the softirq that the request came in by
 * (icmp_echo, net/ipv4/icmp.c; icmpv6_echo_reply, net/ipv6/icmp.c), so the current
 * task is whoever that interrupted.
 *
 * The reply, not the request at netif_receive_skb: a request that this host only
 * forwards, or that a firewall drops, is not answered here, but looks the same;
 * a reply of our own has the kernel's ICMP socket, a forwarded one has none, and
 * none is left when it crosses into another namespace (skb_scrub_packet).
 */
int echo_reply(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	u64 current = bpf_get_current_pid_tgid();
	u32 cpu = bpf_get_smp_processor_id();
	struct transport t = {};
	u16 offset = 0, id, seq;
	const u8 *head = 0;
	void *owner = 0;
	struct ping *p;

	bpf_probe_read_kernel(&owner, sizeof(owner), &skb->sk);
	if (!is_kernels(owner))
		return 0;
	bpf_probe_read_kernel(&head, sizeof(head), &skb->head);
	bpf_probe_read_kernel(&offset, sizeof(offset), &skb->network_header);
	t.ip = head + offset;
	if (!find_transport(&t) || !is_echo_reply(&t))
		return 0;
	id = half_at(t.at + 4);
	seq = half_at(t.at + 6);
	if (!is_new(skb, id << 16 | seq) || !ping_wanted(current >> 32, cpu))
		return 0;
	p = pings.ringbuf_reserve(sizeof(*p));
	if (!p) {
		lost(0);
		return 0;
	}
	p->ts_ns = bpf_ktime_get_ns();
	read_address(p->saddr, &t, 16, 24);
	read_address(p->daddr, &t, 12, 8);
	p->netns = netns_of(skb);
	p->cpu = cpu;
	p->tgid = current >> 32;
	p->pid = current;
	p->id = id;
	p->seq = seq;
	p->pad = 0;
	bpf_get_current_comm(p->comm, sizeof(p->comm));
	pings.ringbuf_submit(p, BPF_RB_NO_WAKEUP);
	return 0;
}
