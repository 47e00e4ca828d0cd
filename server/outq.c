/* outq.c: a connection's output as a chain of small blocks, each with slots (where bytes lie, who holds them) and room for copies.
 *
 * Invariants: `bytes` is the sum of all slots; a slot's bytes live as long as the slot does: in its block, in a message or a shared buffer
 * that the slot holds a reference of, or in heap memory that it owns. `heap` is the size of what the last two kinds keep. A drained queue
 * owns nothing. Thread: the connection's worker.
 *
 *   - outq_event: one slot, one reference; the next slice of the same event only makes the slot longer
 *   - outq_copy: into the block's own bytes; frame headers and chunk sizes lie side by side and cost no allocation
 *   - outq_peek / outq_drop: from the front; a slot that is accepted drops its holder
 *
 *     head -> [ slots: |DATA head|event|DATA head|event| bytes: 9 9 ] -> [ ... ] <- tail
 */
#include "server/outq.h"

#include <assert.h>
#include <stdlib.h>

/* 16 slots and 424 bytes make a block of just under 1 KiB: what malloc keeps in its fastest lists. */
#define BLOCK_SLOTS 16
#define BLOCK_BYTES 424

enum slot_kind {
	SLOT_COPY,   /* bytes in this block */
	SLOT_EVENT,  /* of a message: one reference */
	SLOT_HEAP,   /* of a buffer that the slot owns */
	SLOT_SHARED, /* of a buffer that others refer to as well: one reference */
};

struct slot {
	const uint8_t *p;
	size_t n;
	union {
		struct message *message;
		struct outq_shared *shared;
		uint8_t *heap;
	};
	uint32_t heap_n; /* SLOT_HEAP: size of the buffer */
	enum slot_kind kind;
};

struct outq_shared {
	struct outq *q; /* whose `heap` it is counted in */
	uint8_t *p;
	size_t size;
	unsigned refs;
};

struct outq_chunk {
	struct outq_chunk *next;
	unsigned first, end; /* slots in use: [first, end), never none */
	size_t used;         /* of bytes */
	struct slot slots[BLOCK_SLOTS];
	uint8_t bytes[BLOCK_BYTES];
};

void outq_init(struct outq *q) { *q = (struct outq){0}; }

void outq_shared_put(struct outq_shared *shared)
{
	if (--shared->refs)
		return;
	shared->q->heap -= shared->size;
	free(shared->p);
	free(shared);
}

static void slot_release(struct outq *q, struct slot *slot)
{
	switch (slot->kind) {
	case SLOT_COPY:
		break;
	case SLOT_EVENT:
		message_unref(slot->message);
		break;
	case SLOT_HEAP:
		q->heap -= slot->heap_n;
		free(slot->heap);
		break;
	case SLOT_SHARED:
		outq_shared_put(slot->shared);
		break;
	}
}

void outq_fini(struct outq *q)
{
	outq_drop(q, q->bytes);
	assert(!q->head);
}

static struct outq_chunk *add_chunk(struct outq *q)
{
	struct outq_chunk *chunk = xmalloc(sizeof(*chunk));
	chunk->next = NULL;
	chunk->first = chunk->end = 0;
	chunk->used = 0;
	if (q->tail)
		q->tail->next = chunk;
	else
		q->head = chunk;
	q->tail = chunk;
	return chunk;
}

static struct slot *last_slot(struct outq *q) { return q->tail ? &q->tail->slots[q->tail->end - 1] : NULL; }

static void add_slot(struct outq *q, struct slot slot)
{
	struct outq_chunk *chunk = q->tail && q->tail->end < BLOCK_SLOTS ? q->tail : add_chunk(q);
	chunk->slots[chunk->end++] = slot;
	q->bytes += slot.n;
}

static void add_heap(struct outq *q, uint8_t *heap, size_t n, size_t size)
{
	assert(size <= UINT32_MAX);
	q->heap += size;
	add_slot(q, (struct slot){.p = heap, .n = n, .heap = heap, .heap_n = (uint32_t)size, .kind = SLOT_HEAP});
}

/* Copies too large for a block have memory of their own. */
static void copy_to_heap(struct outq *q, const void *p, size_t n)
{
	uint8_t *heap = xmalloc(n);
	memcpy(heap, p, n);
	add_heap(q, heap, n, n);
}

void outq_copy(struct outq *q, const void *p, size_t n)
{
	struct outq_chunk *chunk = q->tail;
	struct slot *last = last_slot(q);
	if (n == 0)
		return;
	if (n > BLOCK_BYTES) {
		copy_to_heap(q, p, n);
		return;
	}
	if (chunk && BLOCK_BYTES - chunk->used >= n && last->p + last->n == chunk->bytes + chunk->used) {
		memcpy(chunk->bytes + chunk->used, p, n); /* right behind the last copy */
		last->n += n;
		q->bytes += n;
	} else {
		if (!chunk || BLOCK_BYTES - chunk->used < n || chunk->end == BLOCK_SLOTS)
			chunk = add_chunk(q);
		memcpy(chunk->bytes + chunk->used, p, n);
		add_slot(q, (struct slot){.p = chunk->bytes + chunk->used, .n = n});
	}
	chunk->used += n;
}

void outq_event(struct outq *q, struct message *owner, const uint8_t *p, size_t n)
{
	struct slot *last = last_slot(q);
	if (n == 0)
		return;
	if (last && last->kind == SLOT_EVENT && last->message == owner && last->p + last->n == p) {
		last->n += n;
		q->bytes += n;
		return;
	}
	add_slot(q, (struct slot){.p = p, .n = n, .message = message_ref(owner), .kind = SLOT_EVENT});
}

void outq_take(struct outq *q, struct buf *buf)
{
	if (buf->n)
		add_heap(q, buf->p, buf->n, buf->cap);
	else
		free(buf->p);
	*buf = (struct buf){0};
}

struct outq_shared *outq_shared_new(struct outq *q, struct buf *buf)
{
	struct outq_shared *shared = xmalloc(sizeof(*shared));
	*shared = (struct outq_shared){.q = q, .p = buf->p, .size = buf->cap, .refs = 1};
	q->heap += shared->size;
	return shared;
}

void outq_refer(struct outq *q, struct outq_shared *shared, const uint8_t *p, size_t n)
{
	assert(n > 0 && p >= shared->p && p + n <= shared->p + shared->size);
	shared->refs++;
	add_slot(q, (struct slot){.p = p, .n = n, .shared = shared, .kind = SLOT_SHARED});
}

int outq_peek(const struct outq *q, struct iovec *iov, int max)
{
	int n = 0;
	for (const struct outq_chunk *chunk = q->head; chunk && n < max; chunk = chunk->next)
		for (unsigned i = chunk->first; i < chunk->end && n < max; i++)
			iov[n++] = (struct iovec){(void *)(uintptr_t)chunk->slots[i].p, chunk->slots[i].n};
	return n;
}

static void pop_chunk(struct outq *q)
{
	struct outq_chunk *chunk = q->head;
	q->head = chunk->next;
	if (!q->head)
		q->tail = NULL;
	free(chunk);
}

void outq_drop(struct outq *q, size_t n)
{
	assert(n <= q->bytes);
	q->bytes -= n;
	while (n) {
		struct outq_chunk *chunk = q->head;
		struct slot *slot = &chunk->slots[chunk->first];
		if (n < slot->n) {
			slot->p += n;
			slot->n -= n;
			return;
		}
		n -= slot->n;
		slot_release(q, slot);
		if (++chunk->first == chunk->end)
			pop_chunk(q);
	}
}

void outq_emit(void *arg, struct message *owner, const uint8_t *p, size_t n)
{
	struct outq *q = arg;
	if (owner)
		outq_event(q, owner, p, n);
	else
		outq_copy(q, p, n);
}
