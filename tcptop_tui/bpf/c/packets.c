// SPDX-License-Identifier: Apache-2.0
/*
 * What pings.c and answers.c share: two probes on packets, each attached only while
 * somebody asks.
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
