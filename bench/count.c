/* count.c: what a server does, counted from below: laid under it by LD_PRELOAD, so that the server itself pays for none of this.
 *
 *   PENSTOCK_COUNT   a file of at least sizeof(struct counts) bytes, mapped; whoever started the server reads the counts there, any time
 *
 * Counted are the bytes that memcpy and memmove were asked to copy (by the server and by every library of it), memory asked for (malloc,
 * calloc, realloc and their aligned kin), threads woken (an eventfd written, a condition signalled) and turns of event loops (epoll_wait
 * that found something). A count is a fact of the program and its input: no other work on the machine changes it, but for what comes
 * together into one turn or not.
 *
 * Not seen: copies that the compiler wrote out (a few bytes), and what the kernel copies.
 *
 * Thread: any of the server's. Failure modes: without the file, or with one that cannot be mapped, the process ends at once. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* tools/bench reads them in this order. */
struct counts {
	_Atomic uint64_t copied, allocations, allocated, woken, turns;
};

#define FILES 4096 /* eventfds are made at the start, with small numbers */

/* The process counts here until its file is mapped; what it does before that nobody asks. */
static struct counts early;
static struct counts *counts = &early;
static _Atomic char is_eventfd[FILES];

static void add(_Atomic uint64_t *count, uint64_t n) { atomic_fetch_add_explicit(count, n, memory_order_relaxed); }

static void *(*real_memcpy)(void *, const void *, size_t), *(*real_memmove)(void *, const void *, size_t);
static void *(*real_malloc)(size_t), *(*real_calloc)(size_t, size_t), *(*real_realloc)(void *, size_t),
	*(*real_aligned_alloc)(size_t, size_t);
static int (*real_posix_memalign)(void **, size_t, size_t), (*real_eventfd)(unsigned, int);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_pthread_cond_signal)(pthread_cond_t *), (*real_pthread_cond_broadcast)(pthread_cond_t *);
static int (*real_epoll_wait)(int, struct epoll_event *, int, int);

#define FIND(name) (*(void **)(&real_##name) = dlsym(RTLD_NEXT, #name))

/* Other libraries' constructors may come before ours, and copy and allocate. Nobody has a second thread by then. */
static void find(void)
{
	FIND(memcpy), FIND(memmove), FIND(malloc), FIND(calloc), FIND(realloc), FIND(aligned_alloc), FIND(posix_memalign);
	FIND(eventfd), FIND(write), FIND(pthread_cond_signal), FIND(pthread_cond_broadcast), FIND(epoll_wait);
}

__attribute__((constructor)) static void map(void)
{
	find();
	const char *path = getenv("PENSTOCK_COUNT");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		fprintf(stderr, "PENSTOCK_COUNT: no file that can be mapped\n");
		_exit(1);
	}
	close(fd);
	counts = p;
}

/* ---- Copies ---- */

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	if (!real_memcpy)
		find();
	add(&counts->copied, n);
	return real_memcpy(to, from, n);
}

void *memmove(void *to, const void *from, size_t n)
{
	if (!real_memmove)
		find();
	add(&counts->copied, n);
	return real_memmove(to, from, n);
}

/* ---- Memory ---- */

static void count_memory(size_t n)
{
	add(&counts->allocations, 1);
	add(&counts->allocated, n);
}

void *malloc(size_t n)
{
	if (!real_malloc)
		find();
	count_memory(n);
	return real_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	if (!real_calloc)
		find();
	count_memory(n * size);
	return real_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	if (!real_realloc)
		find();
	count_memory(n);
	return real_realloc(p, n);
}

void *aligned_alloc(size_t align, size_t n)
{
	count_memory(n);
	return real_aligned_alloc(align, n);
}

int posix_memalign(void **p, size_t align, size_t n)
{
	count_memory(n);
	return real_posix_memalign(p, align, n);
}

/* ---- Wake-ups ---- */

int eventfd(unsigned value, int flags)
{
	int fd = real_eventfd(value, flags);
	if (fd >= 0 && fd < FILES)
		is_eventfd[fd] = 1;
	return fd;
}

ssize_t write(int fd, const void *p, size_t n)
{
	if (fd >= 0 && fd < FILES && is_eventfd[fd])
		add(&counts->woken, 1);
	return real_write(fd, p, n);
}

int pthread_cond_signal(pthread_cond_t *condition)
{
	add(&counts->woken, 1);
	return real_pthread_cond_signal(condition);
}

int pthread_cond_broadcast(pthread_cond_t *condition)
{
	add(&counts->woken, 1);
	return real_pthread_cond_broadcast(condition);
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
	int n = real_epoll_wait(fd, events, max, timeout_ms);
	if (n > 0)
		add(&counts->turns, 1);
	return n;
}
