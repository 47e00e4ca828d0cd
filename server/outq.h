/* outq.h: a connection's output: references to shared bytes, and small copies, in order. One owner, one thread (its worker).
 *
 * Cleartext leaves by writev of the references; TLS gathers up to 16 KiB into the worker's staging buffer for one SSL_write each, and
 * several TLS records through a buffering BIO into one send. At most OUTQ_HIGH bytes of references wait here: what waits beyond that
 * waits where it is only a cursor. */
#ifndef PENSTOCK_OUTQ_H
#define PENSTOCK_OUTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "penstock/batch.h"
#include "penstock/bytes.h"

#define OUTQ_HIGH (128u << 10)
#define OUTQ_LOW (OUTQ_HIGH / 2)

struct outq_chunk;

/* Bytes that several places of an outq, and the transport, refer to. One thread. */
struct outq_shared;

struct outq {
	struct outq_chunk *head, *tail;
	size_t bytes;
	size_t heap; /* memory that is this queue's alone: whole buffers, as long as a byte of them is to go; not events, not small copies */
};

void outq_init(struct outq *q);
void outq_fini(struct outq *q); /* drops every reference */
void outq_copy(struct outq *q, const void *p, size_t n);                             /* copies; small pieces share a chunk */
void outq_event(struct outq *q, struct message *owner, const uint8_t *p, size_t n);    /* takes its own reference */
void outq_take(struct outq *q, struct buf *buf);                                     /* takes the bytes over; buf is empty afterwards */
/* Takes the bytes of buf over; buf keeps showing them, and must not be freed, until outq_shared_put. The caller has a reference. */
struct outq_shared *outq_shared_new(struct outq *q, struct buf *buf);
void outq_shared_put(struct outq_shared *shared);
void outq_refer(struct outq *q, struct outq_shared *shared, const uint8_t *p, size_t n); /* takes its own reference */
/* Fills at most max iovecs from the front; returns how many. */
int outq_peek(const struct outq *q, struct iovec *iov, int max);
void outq_drop(struct outq *q, size_t n); /* n bytes were accepted by the kernel: drops them and their references */
/* A sub_emit (fanout.h) whose arg is the outq. */
void outq_emit(void *outq, struct message *owner, const uint8_t *p, size_t n);

#endif
