// SPDX-License-Identifier: Apache-2.0
/* Pings: which process the answer to an ICMP echo request interrupted. */

static __always_inline int is_echo_reply(const struct transport *transport)
{
	if (transport->version == 4)
		return transport->protocol == IPPROTO_ICMP && read_byte(transport->header) == ECHO_REPLY;
	return transport->protocol == IPPROTO_ICMPV6 && read_byte(transport->header) == ECHO_REPLY_V6;
}

/*
 * Whether a reply has not been logged yet. Where devices are stacked (VLAN, bond) it passes each
 * of them, one after the other. At the same device as before it is another reply: the slab may
 * give the same address to the next skb, and some pings never change their id and sequence number.
 */
static __always_inline int is_new_reply(struct sk_buff *skb, u32 id_seq)
{
	u32 zero = 0;
	struct logged_reply *logged = logged_replies.lookup(&zero);
	u64 dev = 0;

	bpf_probe_read_kernel(&dev, sizeof(dev), &skb->dev);
	if (!logged || (logged->skb == (u64)skb && logged->id_seq == id_seq && logged->dev != dev))
		return 0;
	logged->skb = (u64)skb;
	logged->dev = dev;
	logged->id_seq = id_seq;
	return 1;
}

static __always_inline int includes_ping(u32 tgid, u32 cpu)
{
	u32 zero = 0;
	struct ping_filter *filter = ping_filter.lookup(&zero);

	return filter && (!filter->by_tgid || filter->tgid == tgid) &&
	       (!filter->by_cpu || filter->cpu == cpu);
}

/* Whether it is the kernel's own ICMP socket, which has no file; a raw socket, which may send any reply, has one. */
static __always_inline int is_kernel_socket(void *sk)
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
 * net:net_dev_queue, from __dev_queue_xmit() (net/core/dev.c). Fires when a packet leaves by a
 * device. An echo reply leaves in the softirq in which the request came in (icmp_echo(),
 * net/ipv4/icmp.c; icmpv6_echo_reply(), net/ipv6/icmp.c), so the current task is the one that
 * the softirq interrupted.
 *
 * Requests at netif_receive_skb would not do: one that this host only forwards, or that a
 * firewall drops, looks the same and is not answered here. A reply of this host has the
 * kernel's ICMP socket; a forwarded one has no socket, and a reply that crosses into another
 * namespace loses its socket there (skb_scrub_packet()).
 */
int echo_reply(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	u64 current = bpf_get_current_pid_tgid();
	u32 cpu = bpf_get_smp_processor_id();
	struct transport transport = {};
	u16 offset = 0, id, seq;
	const u8 *head = 0;
	void *sk = 0;
	struct ping *ping;

	bpf_probe_read_kernel(&sk, sizeof(sk), &skb->sk);
	if (!is_kernel_socket(sk))
		return 0;
	bpf_probe_read_kernel(&head, sizeof(head), &skb->head);
	bpf_probe_read_kernel(&offset, sizeof(offset), &skb->network_header);
	transport.ip_header = head + offset;
	if (!find_transport(&transport) || !is_echo_reply(&transport))
		return 0;
	id = read_be16(transport.header + 4);
	seq = read_be16(transport.header + 6);
	if (!is_new_reply(skb, id << 16 | seq) || !includes_ping(current >> 32, cpu))
		return 0;
	ping = pings.ringbuf_reserve(sizeof(*ping));
	if (!ping) {
		count_ring_full(LOST_PINGS);
		return 0;
	}
	ping->ts_ns = bpf_ktime_get_ns();
	read_address(ping->saddr, &transport, 16, 24);
	read_address(ping->daddr, &transport, 12, 8);
	ping->netns = netns_of(skb);
	ping->cpu = cpu;
	ping->tgid = current >> 32;
	ping->pid = current;
	ping->id = id;
	ping->seq = seq;
	ping->pad = 0;
	bpf_get_current_comm(ping->comm, sizeof(ping->comm));
	pings.ringbuf_submit(ping, BPF_RB_NO_WAKEUP);
	return 0;
}
