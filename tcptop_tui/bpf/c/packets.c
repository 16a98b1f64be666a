// SPDX-License-Identifier: Apache-2.0
/*
 * What pings.c and answers.c share: layouts, maps and the way to the transport header of a
 * packet. Each of the two probes is compiled by itself with this file, and attached only while
 * somebody asks for it.
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
#define EXTENSIONS	4	/* IPv6 extension headers that are stepped over at most */
#define DNS_BYTES	512	/* most of an answer over UDP without EDNS (RFC 1035, 2.3.4) */
#define DNS_PORT	53
#define LOST_PINGS	0	/* entries of `ring_full` */
#define LOST_ANSWERS	1

/* An echo request that was answered; records.py: PING */
struct ping {
	u64 ts_ns;
	u64 saddr[2];		/* of the request, IPv6 form; IPv4 as ::ffff:a.b.c.d */
	u64 daddr[2];		/* of the request */
	u32 netns;
	u32 cpu;
	u32 tgid;		/* process that the softirq interrupted */
	u32 pid;		/* its thread */
	u16 id;
	u16 seq;
	u32 pad;
	char comm[TASK_COMM_LEN];
};

/* A DNS answer; tcptop_tui/bpf/packets.py: DNS_ANSWER */
struct answer {
	u64 ts_ns;
	u32 netns;
	u32 length;		/* of the payload, 0: it could not be read */
	u8 payload[DNS_BYTES];
};

/* Which pings are included; written by user space. */
struct ping_filter {
	u32 by_tgid;
	u32 tgid;
	u32 by_cpu;
	u32 cpu;
};

/* The reply that was logged last on a CPU. */
struct logged_reply {
	u64 skb;
	u64 dev;
	u32 id_seq;
};

/* The headers of a packet. */
struct transport {
	const u8 *header;
	const u8 *ip_header;
	u8 protocol;
	u8 version;
};

BPF_TABLE("array", u32, struct ping_filter, ping_filter, 1);
BPF_TABLE("percpu_array", u32, u64, ring_full, 2);
BPF_TABLE("percpu_array", u32, struct logged_reply, logged_replies, 1);
BPF_RINGBUF_OUTPUT(pings, PING_PAGES);
BPF_RINGBUF_OUTPUT(answers, DNS_PAGES);

static __always_inline void count_ring_full(u32 which)
{
	u64 *value = ring_full.lookup(&which);

	if (value)
		(*value)++;
}

static __always_inline u16 swap_bytes(u16 value)
{
	return value << 8 | value >> 8;
}

/* A byte of a packet; 0 if the address is invalid. */
static __always_inline u8 read_byte(const u8 *at)
{
	u8 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), at);
	return value;
}

/* A big-endian number of two bytes of a packet. */
static __always_inline u16 read_be16(const u8 *at)
{
	u16 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), at);
	return swap_bytes(value);
}

/* Hop-by-hop, routing, destination options (RFC 8200, 4); their length is in 8 bytes, the first 8 not counted. */
static __always_inline int is_extension(u8 header)
{
	return header == 0 || header == 43 || header == 60;
}

static __always_inline int find_ipv4_transport(struct transport *transport)
{
	/* a later fragment has no transport header */
	if (read_be16(transport->ip_header + 6) & 0x1fff)
		return 0;
	transport->protocol = read_byte(transport->ip_header + 9);
	transport->header = transport->ip_header + (read_byte(transport->ip_header) & 15) * 4;
	return 1;
}

static __always_inline int find_ipv6_transport(struct transport *transport)
{
	transport->protocol = read_byte(transport->ip_header + 6);
	transport->header = transport->ip_header + 40;
#pragma unroll
	for (int step = 0; step < EXTENSIONS; step++) {
		if (!is_extension(transport->protocol))
			return 1;
		transport->protocol = read_byte(transport->header);
		transport->header += (read_byte(transport->header + 1) + 1) * 8;
	}
	return !is_extension(transport->protocol);
}

/* Find the transport header after the IP header at transport->ip_header; 0 if there is none. */
static __always_inline int find_transport(struct transport *transport)
{
	transport->version = read_byte(transport->ip_header) >> 4;
	if (transport->version == 4)
		return find_ipv4_transport(transport);
	return transport->version == 6 && find_ipv6_transport(transport);
}

/* Network namespace of the packet's device. */
static __always_inline u32 netns_of(struct sk_buff *skb)
{
	void *dev = 0, *net = 0;
	u32 inum = 0;

	bpf_probe_read_kernel(&dev, sizeof(dev), &skb->dev);
	bpf_probe_read_kernel(&net, sizeof(net), &((struct net_device *)dev)->nd_net);
	bpf_probe_read_kernel(&inum, sizeof(inum), &((struct net *)net)->ns_inum);
	return inum;
}

/* An address in the IP header, at the offset for its version. */
static __always_inline void read_address(u64 *to, const struct transport *transport,
					 u32 v4_offset, u32 v6_offset)
{
	u32 addr = 0;

	if (transport->version == 6) {
		bpf_probe_read_kernel(to, 16, transport->ip_header + v6_offset);
		return;
	}
	bpf_probe_read_kernel(&addr, sizeof(addr), transport->ip_header + v4_offset);
	to[0] = 0;
	to[1] = (u64)addr << 32 | 0xffff0000;
}
