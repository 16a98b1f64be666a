// SPDX-License-Identifier: Apache-2.0
/* DNS answers that this host receives. */

/* Whether a packet that comes in is for this host. Its data begin with the IP header then (eth_type_trans()). */
static __always_inline int is_for_this_host(struct sk_buff *skb)
{
	u8 type = 0;

	bpf_probe_read_kernel(&type, sizeof(type), &skb->pkt_type_byte);
	return (type & PKT_TYPE_MASK) == PACKET_HOST;
}

/* Whether `bytes` from `at` on lie in the linear part of the packet. */
static __always_inline int is_linear(struct sk_buff *skb, const u8 *data, const u8 *at, u32 bytes)
{
	u32 len = 0, paged = 0;

	bpf_probe_read_kernel(&len, sizeof(len), &skb->len);
	bpf_probe_read_kernel(&paged, sizeof(paged), &skb->data_len);
	return (u64)at - (u64)data + bytes <= (u64)(len - paged);
}

/*
 * net:netif_receive_skb, from __netif_receive_skb_core() (net/core/dev.c). Fires in softirq, for
 * every packet that comes in by any device. UDP from port 53 with at most 512 bytes of payload
 * is logged. The packet has not been checked yet: its length may claim more than was received,
 * and memory after the linear part is not the packet's, so such a packet is left out.
 */
int dns_answer(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	struct transport transport = {};
	const u8 *data = 0;
	struct answer *answer;
	u32 length;
	u64 bytes;	/* with 32 bits LLVM tests a copy, and 6.1's verifier does not know that it is the same number */

	if (!is_for_this_host(skb))
		return 0;
	bpf_probe_read_kernel(&data, sizeof(data), &skb->data);
	transport.ip_header = data;
	if (!find_transport(&transport) || transport.protocol != IPPROTO_UDP)
		return 0;
	if (!is_linear(skb, data, transport.header, 8) || read_be16(transport.header) != DNS_PORT)
		return 0;
	length = read_be16(transport.header + 4) - 8;		/* UDP's own header is counted */
	if (length == 0 || length > DNS_BYTES || !is_linear(skb, data, transport.header, 8 + length))
		return 0;
	answer = answers.ringbuf_reserve(sizeof(*answer));
	if (!answer) {
		count_ring_full(LOST_ANSWERS);
		return 0;
	}
	answer->ts_ns = bpf_ktime_get_ns();
	answer->netns = netns_of(skb);
	answer->length = length;
	bytes = length;
	asm volatile("" : "+r"(bytes));	/* or LLVM moves the test to where the verifier does not see it */
	if (bytes > DNS_BYTES || bpf_probe_read_kernel(answer->payload, bytes, transport.header + 8))
		answer->length = 0;
	answers.ringbuf_submit(answer, BPF_RB_NO_WAKEUP);
	return 0;
}
