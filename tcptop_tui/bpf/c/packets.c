// SPDX-License-Identifier: Apache-2.0
/*
 * Two probes on packets, each attached only while somebody asks: whom the answer
 * to an ICMP echo request interrupted, and what DNS answers say.
 *
 * PING_PAGES and DNS_PAGES come as -D flags.
 */
#include <tcptop_kernel.h>

#define TASK_COMM_LEN	16
#define IPPROTO_UDP	17
#define IPPROTO_ICMP	1
#define IPPROTO_ICMPV6	58
#define ECHO_REPLY	0
#define ECHO_REPLY_V6	129
#define PKT_TYPE_MASK	7	/* skb->pkt_type, three bits */
#define PACKET_HOST	0	/* include/uapi/linux/if_packet.h */
#define EXTENSIONS	4	/* IPv6 extension headers that are stepped over */
#define DNS_BYTES	512	/* of an answer over UDP without EDNS (RFC 1035, 2.3.4) */
#define DNS_PORT	53

struct ping {
	u64 ts_ns;
	u64 saddr[2];		/* who asked, IPv6 form; IPv4 as ::ffff:a.b.c.d */
	u64 daddr[2];		/* who was asked */
	u32 netns;
	u32 cpu;
	u32 tgid;		/* whom the softirq interrupted */
	u32 pid;
	u16 id;
	u16 seq;
	u32 pad;
	char comm[TASK_COMM_LEN];
};

struct answer {
	u64 ts_ns;
	u32 netns;
	u32 length;
	u8 payload[DNS_BYTES];
};

/* what the ping filter wants */
struct chosen {
	u32 by_tgid;
	u32 tgid;
	u32 by_cpu;
	u32 cpu;
};

/* a reply that was logged last on a CPU */
struct sent {
	u64 skb;
	u64 dev;
	u32 id_seq;
};

/* where the transport header of a packet begins, and what it is */
struct transport {
	const u8 *at;
	const u8 *ip;
	u8 protocol;
	u8 version;
};

BPF_TABLE("array", u32, struct chosen, chosen, 1);
BPF_TABLE("percpu_array", u32, u64, ring_full, 2);
BPF_TABLE("percpu_array", u32, struct sent, latest, 1);
BPF_RINGBUF_OUTPUT(pings, PING_PAGES);
BPF_RINGBUF_OUTPUT(answers, DNS_PAGES);

static __always_inline void lost(u32 which)
{
	u64 *value = ring_full.lookup(&which);

	if (value)
		(*value)++;
}

static __always_inline u16 swapped(u16 value)
{
	return value << 8 | value >> 8;
}

static __always_inline u8 byte_at(const u8 *at)
{
	u8 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), at);
	return value;
}

static __always_inline u16 half_at(const u8 *at)
{
	u16 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), at);
	return swapped(value);
}

/* hop-by-hop, routing, destination options (RFC 8200, 4): length in 8 bytes, the first not counted */
static __always_inline int is_extension(u8 header)
{
	return header == 0 || header == 43 || header == 60;
}

static __always_inline int find_v4(struct transport *t)
{
	/* a later fragment has no transport header */
	if (half_at(t->ip + 6) & 0x1fff)
		return 0;
	t->protocol = byte_at(t->ip + 9);
	t->at = t->ip + (byte_at(t->ip) & 15) * 4;
	return 1;
}

static __always_inline int find_v6(struct transport *t)
{
	t->protocol = byte_at(t->ip + 6);
	t->at = t->ip + 40;
#pragma unroll
	for (int step = 0; step < EXTENSIONS; step++) {
		if (!is_extension(t->protocol))
			return 1;
		t->protocol = byte_at(t->at);
		t->at += (byte_at(t->at + 1) + 1) * 8;
	}
	return !is_extension(t->protocol);
}

/* The transport header behind the IP header at t->ip. */
static __always_inline int find_transport(struct transport *t)
{
	t->version = byte_at(t->ip) >> 4;
	if (t->version == 4)
		return find_v4(t);
	return t->version == 6 && find_v6(t);
}

static __always_inline u32 netns_of(struct sk_buff *skb)
{
	void *dev = 0, *net = 0;
	u32 inum = 0;

	bpf_probe_read_kernel(&dev, sizeof(dev), &skb->dev);
	bpf_probe_read_kernel(&net, sizeof(net), &((struct net_device *)dev)->nd_net);
	bpf_probe_read_kernel(&inum, sizeof(inum), &((struct net *)net)->ns_inum);
	return inum;
}

static __always_inline void read_address(u64 *to, const struct transport *t,
					 u32 v4_offset, u32 v6_offset)
{
	u32 addr = 0;

	if (t->version == 6) {
		bpf_probe_read_kernel(to, 16, t->ip + v6_offset);
		return;
	}
	bpf_probe_read_kernel(&addr, sizeof(addr), t->ip + v4_offset);
	to[0] = 0;
	to[1] = (u64)addr << 32 | 0xffff0000;
}

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

/* A packet for this host, as it comes in: its IP header is where its data begin (eth_type_trans). */
static __always_inline int is_for_us(struct sk_buff *skb)
{
	u8 type = 0;

	bpf_probe_read_kernel(&type, sizeof(type), &skb->pkt_type_byte);
	return (type & PKT_TYPE_MASK) == PACKET_HOST;
}

/* Whether ``bytes`` from ``at`` on lie in the linear part of the packet. */
static __always_inline int is_there(struct sk_buff *skb, const u8 *data, const u8 *at, u32 bytes)
{
	u32 len = 0, paged = 0;

	bpf_probe_read_kernel(&len, sizeof(len), &skb->len);
	bpf_probe_read_kernel(&paged, sizeof(paged), &skb->data_len);
	return (u64)at - (u64)data + bytes <= (u64)(len - paged);
}

/*
 * net:netif_receive_skb, from __netif_receive_skb_core() (net/core/dev.c), softirq:
 * every packet that comes in by any device. UDP from port 53, at most 512 bytes of
 * it. Nobody has checked the packet yet: a length may claim more than came, and what
 * lies behind the linear part is somebody else's memory, so such a packet is left out.
 */
int dns_answer(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	struct transport t = {};
	const u8 *data = 0;
	struct answer *a;
	u32 length;
	u64 bytes;	/* of 32 bits LLVM checks a copy, which 6.1's verifier does not connect with it */

	if (!is_for_us(skb))
		return 0;
	bpf_probe_read_kernel(&data, sizeof(data), &skb->data);
	t.ip = data;
	if (!find_transport(&t) || t.protocol != IPPROTO_UDP)
		return 0;
	if (!is_there(skb, data, t.at, 8) || half_at(t.at) != DNS_PORT)
		return 0;
	length = half_at(t.at + 4) - 8;		/* UDP's own header is counted */
	if (length == 0 || length > DNS_BYTES || !is_there(skb, data, t.at, 8 + length))
		return 0;
	a = answers.ringbuf_reserve(sizeof(*a));
	if (!a) {
		lost(1);
		return 0;
	}
	a->ts_ns = bpf_ktime_get_ns();
	a->netns = netns_of(skb);
	a->length = length;
	bytes = length;
	asm volatile("" : "+r"(bytes));	/* or LLVM moves the check out of sight */
	if (bytes > DNS_BYTES || bpf_probe_read_kernel(a->payload, bytes, t.at + 8))
		a->length = 0;
	answers.ringbuf_submit(a, BPF_RB_NO_WAKEUP);
	return 0;
}
