/* mail.c: how threads talk.
 *
 * Invariant (no wake-up is lost): the eventfd is written by whoever makes the list non-empty, after the list is; the receiver reads the
 * eventfd first and takes the list second. Mail posted between the two is taken at once and leaves the eventfd readable: one idle turn,
 * never a sleeping receiver with mail. The other order would read away the wake-up of mail that it had not taken.
 *
 * Who waits for edges of the eventfd need not read it: each write is an edge, and one behind the taking of the list is another turn.
 *
 * - post: lock, append, unlock; if the list was empty, write 1 to the eventfd.
 * - run: read the eventfd, lock, take the whole list, unlock, run each. Mail posted while they run waits for the next run, so that
 *   two that answer each other cannot hold a turn for ever.
 * - outbox: mail staged by receiver, spliced under one lock per receiver at the end of a turn.
 * - here: whoever made the list non-empty owes the receiver a wake-up, or runs its mail instead (run_here, then mailbox_run_here). A
 * wake-up that another owes for mail posted since is left in the eventfd: at worst the receiver has an idle turn.
 *
 * Failure: none that a caller could mend. An eventfd counter cannot overflow (one write per empty list); any other error is a
 * closed descriptor, a mistake of ours, and asserts. */
#include "penstock/mail.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *box, bool with_fd)
{
	box->head = NULL;
	box->tail = &box->head;
	box->fd = -1;
	box->run_here = NULL;
	if (with_fd) {
		box->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (box->fd < 0)
			return -errno;
	}
	pthread_mutex_init(&box->lock, NULL);
	return 0;
}

void mailbox_fini(struct mailbox *box)
{
	assert(!box->head);
	if (box->fd >= 0)
		close(box->fd);
	box->fd = -1;
	pthread_mutex_destroy(&box->lock);
}

static void wake(struct mailbox *box)
{
	if (box->fd < 0)
		return;
	uint64_t one = 1;
	ssize_t n;
	do
		n = write(box->fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
	assert(n == sizeof(one));
}

/* Appends the chain head..*tail, which is not empty and ends in NULL. `here`: the receiver may be run by us. */
static void post_chain(struct mailbox *box, struct mail *head, struct mail **tail, bool here)
{
	pthread_mutex_lock(&box->lock);
	bool was_empty = !box->head;
	*box->tail = head;
	box->tail = tail;
	pthread_mutex_unlock(&box->lock);
	if (was_empty && !(here && box->run_here && box->run_here(box)))
		wake(box);
}

void mailbox_post(struct mailbox *box, struct mail *mail)
{
	mail->next = NULL;
	post_chain(box, mail, &mail->next, false);
}

void mailbox_post_here(struct mailbox *box, struct mail *mail)
{
	mail->next = NULL;
	post_chain(box, mail, &mail->next, true);
}

size_t mailbox_run(struct mailbox *box)
{
	if (box->fd >= 0) {
		uint64_t count;
		ssize_t got;
		do
			got = read(box->fd, &count, sizeof(count));
		while (got < 0 && errno == EINTR);
		assert(got == sizeof(count) || errno == EAGAIN);
	}
	return mailbox_run_here(box);
}

size_t mailbox_run_here(struct mailbox *box)
{
	pthread_mutex_lock(&box->lock);
	struct mail *mail = box->head;
	box->head = NULL;
	box->tail = &box->head;
	pthread_mutex_unlock(&box->lock);

	size_t n = 0;
	while (mail) {
		struct mail *next = mail->next; /* run may free or re-send the mail */
		mail->run(mail);
		mail = next;
		n++;
	}
	return n;
}

void mailbox_wait(struct mailbox *box, int timeout_ms)
{
	assert(box->fd >= 0);
	struct pollfd poll_fd = {.fd = box->fd, .events = POLLIN};
	/* An interrupted wait counts as a wake-up: callers look at their mail and come back. */
	int n = poll(&poll_fd, 1, timeout_ms);
	assert(n >= 0 || errno == EINTR);
}

bool mailbox_pending(struct mailbox *box)
{
	pthread_mutex_lock(&box->lock);
	bool pending = box->head != NULL;
	pthread_mutex_unlock(&box->lock);
	return pending;
}

/* ---- Outbox ---- */

void outbox_init(struct outbox *out) { out->n = out->bytes = 0; }

void outbox_add(struct outbox *out, struct mailbox *box, struct mail *mail)
{
	mail->next = NULL;
	size_t at = 0;
	while (at < out->n && out->staged[at].box != box)
		at++;
	if (at == OUTBOX_BOXES) { /* more receivers than places: what is staged leaves early, order per receiver is kept */
		outbox_flush(out);
		at = 0;
	}
	if (at == out->n) {
		out->staged[at].box = box;
		out->staged[at].head = NULL;
		out->staged[at].tail = &out->staged[at].head;
		out->n++;
	}
	*out->staged[at].tail = mail;
	out->staged[at].tail = &mail->next;
}

static void flush(struct outbox *out, bool here)
{
	for (size_t i = 0; i < out->n; i++)
		post_chain(out->staged[i].box, out->staged[i].head, out->staged[i].tail, here);
	out->n = out->bytes = 0;
}

void outbox_flush(struct outbox *out) { flush(out, false); }
void outbox_flush_here(struct outbox *out) { flush(out, out->bytes <= MAIL_LIGHT_BYTES); }
