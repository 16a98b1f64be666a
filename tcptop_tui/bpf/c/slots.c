// SPDX-License-Identifier: Apache-2.0
/*
 * Where the entry of a socket lies: `conns` has the number of a slot, and the slots are in
 * arrays that user space has mapped (BPF_F_MMAPABLE). It reads 100,000 entries without a
 * call and without a copy in the kernel, which as values of a hash took 40 ms.
 *
 * `slots` has these arrays, of BLOCK slots each; user space makes another one, and puts it
 * there, before the last is used up. What is in the others stays where it is.
 *
 * Numbers come from user space in chunks, and a slot that is given back waits in `vacant`,
 * whose last one is the first to be used again: what is in use stays together.
 */

/* The slot with this number, 0 if there is none. */
static __always_inline struct slot *slot_at(u32 at)
{
	u32 number = at / BLOCK, inside = at % BLOCK;
	void *array = slots.lookup((int *)&number);

	return array ? bpf_map_lookup_elem(array, &inside) : 0;
}

/* The slot of a socket's entry and its number, 0 if it has none. */
static __always_inline struct slot *slot_of(u64 key, u32 *at)
{
	u32 *number = conns.lookup(&key);
	struct slot *slot;

	if (!number)
		return 0;
	*at = *number;
	slot = slot_at(*at);
	/* user space may have taken it away in between, and somebody else have got it */
	if (slot && slot->skaddr != key)
		slot = 0;
	asm volatile("" : "+r"(slot));	/* or LLVM compares the keys again instead of asking for 0 */
	return slot;
}

static __always_inline struct handed *handed_here(void)
{
	u32 zero = 0;

	return handed.lookup(&zero);
}

/* As slot_of(), for the guard: mostly set_state has just found it, or made it. */
static __always_inline struct slot *latest_slot_of(u64 key, u32 *at)
{
	struct handed *here = handed_here();
	struct slot *slot;

	if (here) {
		*at = here->latest;
		slot = slot_at(*at);
		if (slot && slot->skaddr == key) {
			asm volatile("" : "+r"(slot));	/* as in slot_of() */
			return slot;
		}
	}
	return slot_of(key, at);
}

static __always_inline void note_latest(u32 at)
{
	struct handed *here = handed_here();

	if (here)
		here->latest = at;
}

/* The entry of a socket, 0 if it has none. */
static __always_inline struct conn *conn_of(u64 key)
{
	u32 at = 0;
	struct slot *slot = slot_of(key, &at);

	return slot ? &slot->conn : 0;
}

/*
 * Something was written into a slot, and user space is to look at it again. It makes
 * `dirty` 0 before it looks, so this comes behind whatever was written.
 */
static __always_inline void mark(struct slot *slot)
{
	asm volatile("" ::: "memory");
	slot->dirty = 1;
}

/* The same of an entry that lies in a slot. */
static __always_inline void mark_conn_dirty(struct conn *c)
{
	mark((struct slot *)((char *)c - __builtin_offsetof(struct slot, conn)));
}

/* Give all of a new chunk away but its first slot, which is `at`. */
static __always_inline int open_chunk(u32 *at)
{
	u32 chunk = 0, other, zero = 0;
	u64 *opened = extent.lookup(&zero);

	if (!opened || chunks.pop(&chunk))
		return -1;
	__sync_fetch_and_add(opened, CHUNK);
	for (u32 behind = CHUNK - 1; behind > 0; behind--) {
		other = chunk * CHUNK + behind;
		vacant.push(&other, BPF_ANY);
	}
	*at = chunk * CHUNK;
	return 0;
}

/* An odd generation: whoever reads meanwhile leaves it out. */
static __always_inline void fill(struct slot *slot, u64 key, const struct conn *c)
{
	slot->generation++;
	asm volatile("" ::: "memory");
	__builtin_memcpy(&slot->conn, c, sizeof(slot->conn));
	slot->skaddr = key;
	asm volatile("" ::: "memory");
	slot->generation++;
	mark(slot);
}

static __always_inline void vacate(struct slot *slot)
{
	slot->generation++;
	asm volatile("" ::: "memory");
	slot->skaddr = 0;
	asm volatile("" ::: "memory");
	slot->generation++;
	mark(slot);
}

/* The slot that the guard has kept for set_state, on this CPU; not 0 when there is none. */
static __always_inline int take_spare(u32 *at)
{
	struct handed *here = handed_here();
	u32 spare = here ? here->spare : 0;

	if (!spare)
		return -1;
	here->spare = 0;
	*at = spare - 1;
	return 0;
}

/*
 * Keep a slot for set_state, which takes no lock to get it, or give it to everybody. Only the
 * guard puts one there, only set_state takes it away, and neither interrupts itself on a CPU.
 */
static __always_inline void keep_spare(u32 at)
{
	struct handed *here = handed_here();

	if (here && !here->spare)
		here->spare = at + 1;
	else
		vacant.push(&at, BPF_ANY);
}

/* A slot that nobody has; not 0 when there is none. */
static __always_inline int take_slot(u32 program, u32 *at)
{
	if (program == P_SET_STATE && !take_spare(at))
		return 0;
	return vacant.pop(at) && open_chunk(at);
}

/* Make `c` the entry of a socket that has none; not 0 where there is no room. */
static __always_inline int enter(u32 program, u64 key, const struct conn *c)
{
	struct slot *slot;
	u32 at = 0;

	if (take_slot(program, &at))
		return -1;
	slot = slot_at(at);
	if (!slot)
		return -1;
	fill(slot, key, c);
	if (!conns.update(&key, &at)) {
		if (program == P_SET_STATE)
			note_latest(at);
		return 0;
	}
	vacate(slot);
	vacant.push(&at, BPF_ANY);
	return -1;
}

/* The socket has no entry any more; `slot`, number `at`, was its. */
static __always_inline void leave(u32 program, u64 key, struct slot *slot, u32 at)
{
	if (conns.delete(&key))		/* user space was faster */
		return;
	vacate(slot);
	if (program == P_GUARD)
		keep_spare(at);
	else
		vacant.push(&at, BPF_ANY);
}
