// SPDX-License-Identifier: Apache-2.0
/* What DNS answers say. */
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
