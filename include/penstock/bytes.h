/* bytes.h: borrowed strings, growing buffers, and memory that dies with its request.
 *
 * Small allocations either succeed or end the process with a line in the log (xmalloc): a server that cannot get 100 bytes cannot
 * answer anybody. Data-sized memory (bodies, batches, answers) is bounded by counted caps and is asked for with plain malloc
 * by those who own the cap. */
#ifndef PENSTOCK_BYTES_H
#define PENSTOCK_BYTES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A borrowed string: not NUL-terminated, not owned. Absent is p == NULL (an empty one has p != NULL, n == 0). */
struct str {
	const char *p;
	size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str str_of(const char *z) { return (struct str){z, z ? strlen(z) : 0}; }
static inline bool str_present(struct str s) { return s.p != NULL; }
static inline bool str_equal(struct str a, struct str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
/* Byte order, shorter first: <0, 0, >0. */
int str_compare(struct str a, struct str b);

void *xmalloc(size_t n);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *z);
char *xstrndup(const char *p, size_t n);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A growing byte buffer. Zero is its empty state. One owner, one thread. */
struct buf {
	uint8_t *p;
	size_t n;
	size_t cap;
};

void buf_free(struct buf *buf); /* back to the empty state */
uint8_t *buf_reserve(struct buf *buf, size_t more); /* room for `more` bytes behind n; the caller then raises n */
void buf_put(struct buf *buf, const void *p, size_t n);
void buf_put_str(struct buf *buf, struct str s);
void buf_put_char(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *buf, const char *format, va_list args);

/* Chunked bump allocator; everything goes at once. Alignment 16. Zero is its empty state. */
struct arena {
	struct arena_chunk *chunks;
};

void *arena_alloc(struct arena *arena, size_t n); /* uninitialised; never NULL */
void *arena_zalloc(struct arena *arena, size_t n);
struct str arena_str(struct arena *arena, struct str s); /* a copy, NUL-terminated behind n */
/* At most `most` bytes of what a client sent, to be repeated in a text or a log line: every byte that
 * is no printable ASCII is '?'. NUL-terminated behind n. */
struct str arena_printable(struct arena *arena, struct str s, size_t most);
struct str arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t arena_used(const struct arena *arena); /* bytes handed out */
void arena_free(struct arena *arena);

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#endif
