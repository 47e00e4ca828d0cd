/* bytes.c: small memory that is there or ends the process, growing buffers, arenas.
 *
 * - x*alloc: one line in the log and abort() when there is no memory: a core shows who asked.
 * - buf grows by half again, so that n appends copy O(n) bytes; the empty state is all zero and owns nothing.
 * - An arena is a list of chunks, newest first; a large request gets a chunk of its own behind the newest, so that the room left in the
 *   newest is not lost.
 *
 * Thread: each object has one owner. Failure: sizes that overflow are caught before malloc sees them, and end the process too. */
#include "penstock/bytes.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/slog.h"

int str_compare(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int order = n ? memcmp(a.p, b.p, n) : 0;
	if (order)
		return order;
	return (a.n > b.n) - (a.n < b.n);
}

/* ---- Memory ---- */

static void no_memory(size_t n)
{
	slog(SLOG_ERROR, "no_memory", "bytes=%zu", n);
	abort();
}

void *xmalloc(size_t n)
{
	void *p = malloc(n ? n : 1);
	if (!p)
		no_memory(n);
	return p;
}

void *xcalloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);
	if (!p)
		no_memory(count * size);
	return p;
}

void *xrealloc(void *p, size_t n)
{
	void *q = realloc(p, n ? n : 1);
	if (!q)
		no_memory(n);
	return q;
}

char *xstrdup(const char *z) { return xstrndup(z, strlen(z)); }

char *xstrndup(const char *p, size_t n)
{
	n = strnlen(p, n);
	char *z = xmalloc(n + 1);
	memcpy(z, p, n);
	z[n] = '\0';
	return z;
}

char *xasprintf(const char *format, ...)
{
	struct buf text = {0};
	va_list args;

	va_start(args, format);
	buf_vprintf(&text, format, args);
	va_end(args);
	buf_put_char(&text, '\0');
	return (char *)text.p;
}

/* ---- Buffer ---- */

void buf_free(struct buf *buf)
{
	free(buf->p);
	*buf = (struct buf){0};
}

uint8_t *buf_reserve(struct buf *buf, size_t more)
{
	assert(more <= SIZE_MAX / 2 - buf->n);
	size_t need = buf->n + more;
	if (need > buf->cap || !buf->p) {
		size_t cap = buf->cap + buf->cap / 2;
		if (cap < need)
			cap = need;
		if (cap < 64)
			cap = 64;
		buf->p = xrealloc(buf->p, cap);
		buf->cap = cap;
	}
	return buf->p + buf->n;
}

void buf_put(struct buf *buf, const void *p, size_t n)
{
	if (n == 0)
		return;
	memcpy(buf_reserve(buf, n), p, n);
	buf->n += n;
}

void buf_put_str(struct buf *buf, struct str s) { buf_put(buf, s.p, s.n); }

void buf_put_char(struct buf *buf, char c)
{
	*buf_reserve(buf, 1) = (uint8_t)c;
	buf->n++;
}

void buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	buf_vprintf(buf, format, args);
	va_end(args);
}

void buf_vprintf(struct buf *buf, const char *format, va_list args)
{
	va_list again;
	va_copy(again, args);
	buf_reserve(buf, 64); /* most texts are short: then they are formatted once */
	size_t room = buf->cap - buf->n;
	int n = vsnprintf((char *)buf->p + buf->n, room, format, args);
	assert(n >= 0);
	if ((size_t)n >= room) {
		buf_reserve(buf, (size_t)n + 1);
		n = vsnprintf((char *)buf->p + buf->n, (size_t)n + 1, format, again);
	}
	va_end(again);
	buf->n += (size_t)n;
}

/* ---- Arena ---- */

#define ARENA_ALIGN 16u
#define ARENA_CHUNK 4032u           /* with malloc's own header just below a page */
#define ARENA_CHUNK_MAX (28u << 10) /* in all, what malloc still keeps ready for each thread */

struct arena_chunk {
	struct arena_chunk *next;
	size_t cap, used; /* bytes of data[] */
	size_t behind;    /* bytes handed out of those that follow it in the list */
	uint8_t data[];
};
_Static_assert(offsetof(struct arena_chunk, data) % ARENA_ALIGN == 0, "chunk data is aligned");

size_t arena_used(const struct arena *arena) { return arena->chunks ? arena->chunks->behind + arena->chunks->used : 0; }

static struct arena_chunk *chunk_add(struct arena *arena, size_t n)
{
	/* Chunks grow with what is in use: a large document takes a few, a small one no more than it needs. */
	struct arena_chunk *first = arena->chunks;
	size_t used = arena_used(arena);
	size_t usual = used < ARENA_CHUNK ? ARENA_CHUNK : used < ARENA_CHUNK_MAX ? used : ARENA_CHUNK_MAX;
	bool own = n > usual / 4;
	size_t cap = own ? n : usual;
	struct arena_chunk *chunk = xmalloc(sizeof(*chunk) + cap);
	chunk->cap = cap;
	chunk->used = 0;
	if (own && first) {
		chunk->next = first->next;
		first->next = chunk;
		first->behind += n;
	} else {
		chunk->next = first;
		chunk->behind = used;
		arena->chunks = chunk;
	}
	return chunk;
}

void *arena_alloc(struct arena *arena, size_t n)
{
	assert(n < SIZE_MAX / 2);
	size_t rounded = (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
	if (rounded == 0)
		rounded = ARENA_ALIGN;
	struct arena_chunk *chunk = arena->chunks;
	if (!chunk || chunk->cap - chunk->used < rounded)
		chunk = chunk_add(arena, rounded);
	void *p = chunk->data + chunk->used;
	chunk->used += rounded;
	return p;
}

void *arena_zalloc(struct arena *arena, size_t n) { return memset(arena_alloc(arena, n), 0, n); }

struct str arena_str(struct arena *arena, struct str s)
{
	char *p = arena_alloc(arena, s.n + 1);
	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return (struct str){p, s.n};
}

struct str arena_printable(struct arena *arena, struct str s, size_t most)
{
	size_t n = s.n < most ? s.n : most;
	char *p = arena_alloc(arena, n + 1);
	for (size_t i = 0; i < n; i++)
		p[i] = (char)(s.p[i] >= ' ' && s.p[i] <= '~' ? s.p[i] : '?');
	p[n] = '\0';
	return (struct str){p, n};
}

struct str arena_printf(struct arena *arena, const char *format, ...)
{
	char small[256]; /* most texts are short: formatted once and copied */
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int n = vsnprintf(small, sizeof(small), format, args);
	assert(n >= 0);
	char *p = arena_alloc(arena, (size_t)n + 1);
	if ((size_t)n < sizeof(small))
		memcpy(p, small, (size_t)n + 1);
	else
		vsnprintf(p, (size_t)n + 1, format, again);
	va_end(again);
	va_end(args);
	return (struct str){p, (size_t)n};
}

void arena_free(struct arena *arena)
{
	struct arena_chunk *chunk = arena->chunks;
	while (chunk) {
		struct arena_chunk *next = chunk->next;
		free(chunk);
		chunk = next;
	}
	*arena = (struct arena){0};
}
