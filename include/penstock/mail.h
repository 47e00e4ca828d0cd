/* mail.h: how threads talk. A message is embedded in the object that it is about, so sending allocates nothing.
 *
 * A mailbox is a mutex, a list, and an eventfd written only when the list was empty. The receiver reads the eventfd *before* it
 * takes the whole list: the other order loses wake-ups. First in, first out per sender and mailbox: several invariants
 * (join against notice, snapshot against reply) rest on that.
 *
 * A sender stages its mail in its own outbox and flushes once per turn: one lock and at most one wake-up per receiver and turn.
 *
 * In the simulation mailboxes have no eventfd (fd == -1) and the scheduler decides who runs next. */
#ifndef PENSTOCK_MAIL_H
#define PENSTOCK_MAIL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct mail {
	struct mail *next;
	/* Runs on the receiver's thread; may free the object that holds the mail, or send it on. */
	void (*run)(struct mail *mail);
};

struct mailbox {
	pthread_mutex_t lock;
	struct mail *head, **tail; /* under lock */
	int fd;                    /* eventfd, non-blocking; -1 in the simulation */
};

/* Returns 0, or -errno when no eventfd can be had. `with_fd` false: the simulation's kind. */
int mailbox_init(struct mailbox *box, bool with_fd);
void mailbox_fini(struct mailbox *box); /* asserts that it is empty */

/* Any thread. Takes the mail until it is run. */
void mailbox_post(struct mailbox *box, struct mail *mail);

/* Receiver only. Reads the eventfd, takes the whole list, runs each in order. Returns how many ran. */
size_t mailbox_run(struct mailbox *box);

/* Receiver only; blocks until there is mail or timeout_ms have passed (-1: for ever). Not for workers: they have a loop. */
void mailbox_wait(struct mailbox *box, int timeout_ms);

/* Any thread: is something waiting? A hint unless the caller is the only thread (the simulation). */
bool mailbox_pending(struct mailbox *box);

/* One sender's staged mail. One thread. */
#define OUTBOX_BOXES 64
struct outbox {
	size_t n;
	struct {
		struct mailbox *box;
		struct mail *head, **tail;
	} staged[OUTBOX_BOXES];
};

void outbox_init(struct outbox *out);
void outbox_add(struct outbox *out, struct mailbox *box, struct mail *mail);
void outbox_flush(struct outbox *out); /* at the end of a turn; returns with nothing staged */

#endif
