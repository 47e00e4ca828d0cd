/* The output queue against a plain string: whatever is put in comes out, in order, and every holder is let go. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "server/outq.h"

static struct buf drain(struct outq *q, size_t step)
{
	struct buf out = {0};
	while (q->bytes) {
		struct iovec iov[7];
		int n = outq_peek(q, iov, 7);
		size_t left = step;
		cr_assert(n > 0);
		for (int i = 0; i < n && left; i++) {
			size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
			buf_put(&out, iov[i].iov_base, part);
			left -= part;
		}
		outq_drop(q, step - left);
	}
	return out;
}

static void fill(struct outq *q, struct buf *expected, struct message *message, unsigned seed)
{
	uint8_t bytes[2000];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i + seed);
	for (unsigned i = 0; i < 200; i++) {
		unsigned what = (i * 7 + seed) % 5;
		size_t n = (i * 37 + seed * 11) % (what == 3 ? 2000 : 60);
		if (what == 4) {
			outq_event(q, message, message->head + i, n);
			buf_put(expected, message->head + i, n);
		} else if (what == 2) {
			struct buf buf = {0};
			buf_put(&buf, bytes + i, n % 100);
			outq_take(q, &buf);
			cr_assert_null(buf.p);
			buf_put(expected, bytes + i, n % 100);
		} else {
			outq_copy(q, bytes, n);
			buf_put(expected, bytes, n);
		}
		cr_assert_eq(q->bytes, expected->n);
	}
}

Test(outq, order_and_references)
{
	for (unsigned seed = 0; seed < 40; seed++) {
		struct message *message = message_new(4096);
		struct outq q;
		struct buf expected = {0};
		memset(message->head, 'e', 4096);
		outq_init(&q);
		fill(&q, &expected, message, seed);
		cr_assert(atomic_load(&message->refs) > 1);
		struct buf out = drain(&q, 1 + seed * 17);
		cr_assert_eq(out.n, expected.n);
		cr_assert_eq(memcmp(out.p, expected.p, out.n), 0);
		cr_assert_eq(atomic_load(&message->refs), 1u);
		cr_assert_null(q.head);
		buf_free(&out);
		buf_free(&expected);
		message_unref(message);
		outq_fini(&q);
	}
}

Test(outq, fini_drops_what_waits)
{
	struct message *message = message_new(100);
	struct outq q;
	struct buf expected = {0};
	struct message *big = message_new(4096);
	memset(big->head, 1, 4096);
	memset(message->head, 2, 100);
	outq_init(&q);
	fill(&q, &expected, big, 3);
	outq_event(&q, message, message->head, 100);
	outq_drop(&q, q.bytes - 1); /* half a slot */
	cr_assert_eq(atomic_load(&message->refs), 2u);
	outq_fini(&q);
	cr_assert_eq(atomic_load(&message->refs), 1u);
	cr_assert_eq(atomic_load(&big->refs), 1u);
	message_unref(message);
	message_unref(big);
	buf_free(&expected);
}

Test(outq, slices_of_one_event_share_a_slot)
{
	struct message *message = message_new(1000);
	struct outq q;
	struct iovec iov[4];
	memset(message->head, 3, 1000);
	outq_init(&q);
	outq_emit(&q, message, message->head, 300);
	outq_emit(&q, message, message->head + 300, 700);
	cr_assert_eq(outq_peek(&q, iov, 4), 1);
	cr_assert_eq(iov[0].iov_len, 1000u);
	cr_assert_eq(atomic_load(&message->refs), 2u);
	outq_copy(&q, "ab", 2);
	outq_emit(&q, NULL, (const uint8_t *)"cd", 2); /* a private trailer is copied, next to the copy before it */
	cr_assert_eq(outq_peek(&q, iov, 4), 2);
	cr_assert_eq(iov[1].iov_len, 4u);
	outq_fini(&q);
	message_unref(message);
}
