// SPDX-License-Identifier: Apache-2.0
/*
 * Socket entries and the slots that they lie in.
 *
 * The hash `slot_numbers` has the slot number of each socket. The slots are in arrays that
 * user space has mapped (BPF_F_MMAPABLE): it reads 100,000 entries without a system call and
 * without a copy in the kernel, which took 40 ms when they were the values of a hash.
 *
 * `blocks` has these arrays, of BLOCK slots each. User space makes another one and puts it
 * there before the last is used up; slots that are in use stay where they are.
 *
 * User space gives slot numbers to the kernel side in chunks (`free_chunks`). The number of a
 * slot that is given back waits on the stack `free_slots`. The one that was given back last is
 * used first, so the slots in use stay close together.
 */

/* The slot with this number; 0 if there is none. */
static __always_inline struct slot *slot_at(u32 number)
{
	u32 block_number = number / BLOCK, index = number % BLOCK;
	void *block = blocks.lookup((int *)&block_number);

	return block ? bpf_map_lookup_elem(block, &index) : 0;
}

/* The slot of a socket's entry, and its number; 0 if the socket has no entry. */
static __always_inline struct slot *find_slot(u64 skaddr, u32 *number)
{
	u32 *value = slot_numbers.lookup(&skaddr);
	struct slot *slot;

	if (!value)
		return 0;
	*number = *value;
	slot = slot_at(*number);
	/* user space may have freed it in between, and another socket may have got it */
	if (slot && slot->skaddr != skaddr)
		slot = 0;
	asm volatile("" : "+r"(slot));	/* or LLVM compares the addresses again instead of testing for 0 */
	return slot;
}

static __always_inline struct handover *this_cpu_handover(void)
{
	u32 zero = 0;

	return handover.lookup(&zero);
}

/* As find_slot(), for the guard: set_state has mostly just found or made the slot on this CPU. */
static __always_inline struct slot *find_slot_latest_first(u64 skaddr, u32 *number)
{
	struct handover *here = this_cpu_handover();
	struct slot *slot;

	if (here) {
		*number = here->latest_slot;
		slot = slot_at(*number);
		if (slot && slot->skaddr == skaddr) {
			asm volatile("" : "+r"(slot));	/* as in find_slot() */
			return slot;
		}
	}
	return find_slot(skaddr, number);
}

static __always_inline void set_latest_slot(u32 number)
{
	struct handover *here = this_cpu_handover();

	if (here)
		here->latest_slot = number;
}

/* The entry of a socket; 0 if it has none. */
static __always_inline struct conn *find_conn(u64 skaddr)
{
	u32 number = 0;
	struct slot *slot = find_slot(skaddr, &number);

	return slot ? &slot->conn : 0;
}

/*
 * Set the dirty mark: something was written into the slot, and user space has to look at it
 * again. User space clears the mark before it looks, so the mark is set after the writing.
 */
static __always_inline void mark_slot_dirty(struct slot *slot)
{
	asm volatile("" ::: "memory");
	slot->dirty = 1;
}

/* Set the dirty mark of the slot that an entry lies in; `c` must not be a scratch entry. */
static __always_inline void mark_conn_dirty(struct conn *c)
{
	mark_slot_dirty((struct slot *)((char *)c - __builtin_offsetof(struct slot, conn)));
}

/* Open a new chunk: its first slot becomes `number`, the others become free slots. */
static __always_inline int open_chunk(u32 *number)
{
	u32 chunk = 0, other, zero = 0;
	u64 *opened = opened_slots.lookup(&zero);

	if (!opened || free_chunks.pop(&chunk))
		return -1;
	__sync_fetch_and_add(opened, CHUNK);
	for (u32 index = CHUNK - 1; index > 0; index--) {
		other = chunk * CHUNK + index;
		free_slots.push(&other, BPF_ANY);
	}
	*number = chunk * CHUNK;
	return 0;
}

/* The generation is odd while the slot changes hands: a reader that copies it meanwhile leaves the copy out. */
static __always_inline void fill_slot(struct slot *slot, u64 skaddr, const struct conn *c)
{
	slot->generation++;
	asm volatile("" ::: "memory");
	__builtin_memcpy(&slot->conn, c, sizeof(slot->conn));
	slot->skaddr = skaddr;
	asm volatile("" ::: "memory");
	slot->generation++;
	mark_slot_dirty(slot);
}

/* The opposite of fill_slot(): the slot is nobody's. */
static __always_inline void clear_slot(struct slot *slot)
{
	slot->generation++;
	asm volatile("" ::: "memory");
	slot->skaddr = 0;
	asm volatile("" ::: "memory");
	slot->generation++;
	mark_slot_dirty(slot);
}

/* Take the slot that the guard has put aside for set_state on this CPU; -1 if there is none. */
static __always_inline int take_spare_slot(u32 *number)
{
	struct handover *here = this_cpu_handover();
	u32 spare = here ? here->spare_slot : 0;

	if (!spare)
		return -1;
	here->spare_slot = 0;
	*number = spare - 1;
	return 0;
}

/*
 * Put a slot aside for set_state, which then takes no lock to get it; if one lies there
 * already, the slot becomes a free slot for all. Only the guard puts one there and only
 * set_state takes it, and neither program interrupts itself on a CPU.
 */
static __always_inline void give_spare_slot(u32 number)
{
	struct handover *here = this_cpu_handover();

	if (here && !here->spare_slot)
		here->spare_slot = number + 1;
	else
		free_slots.push(&number, BPF_ANY);
}

/* Take a slot that nobody has; not 0 if there is none. */
static __always_inline int take_free_slot(u32 program, u32 *number)
{
	if (program == P_SET_STATE && !take_spare_slot(number))
		return 0;
	return free_slots.pop(number) && open_chunk(number);
}

/* Make `c` the entry of a socket that has none; not 0 if there is no room for it. */
static __always_inline int insert_conn(u32 program, u64 skaddr, const struct conn *c)
{
	struct slot *slot;
	u32 number = 0;

	if (take_free_slot(program, &number))
		return -1;
	slot = slot_at(number);
	if (!slot)
		return -1;
	fill_slot(slot, skaddr, c);
	if (!slot_numbers.update(&skaddr, &number)) {
		if (program == P_SET_STATE)
			set_latest_slot(number);
		return 0;
	}
	clear_slot(slot);
	free_slots.push(&number, BPF_ANY);
	return -1;
}

/* Delete a socket's entry, which lies in `slot` with this number, and give the slot back. */
static __always_inline void delete_conn(u32 program, u64 skaddr, struct slot *slot, u32 number)
{
	if (slot_numbers.delete(&skaddr))	/* user space has deleted it before */
		return;
	clear_slot(slot);
	if (program == P_GUARD)
		give_spare_slot(number);
	else
		free_slots.push(&number, BPF_ANY);
}
