/* mail.h: how threads talk. A message is embedded in the object that it is about, so sending allocates nothing.
 *
 * A mailbox is a mutex, a list, and an eventfd written only when the list was empty. The receiver reads the eventfd *before* it
 * takes the whole list: the other order loses wake-ups. First in, first out per sender and mailbox: several invariants
 * (join against notice, snapshot against reply) rest on that.
 *
 * A sender stages its mail in its own outbox and flushes once per turn: one lock and at most one wake-up per receiver and turn.
 *
 * Waking a thread costs more than most mail does. A receiver whose state belongs to the holder of a lock, rather than to a thread, may
 * say so (run_here): whoever then finds its box empty and it idle runs what he posts on his own thread, and nobody is woken. Lanes do:
 * the owner of a lane's state is the holder of its run lock.
 *
 * In the simulation mailboxes have no eventfd (fd == -1) and the scheduler decides who runs next. */
#ifndef PENSTOCK_MAIL_H
#define PENSTOCK_MAIL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct mail {
	struct mail *next;
	/* Runs on the receiver's thread, or in its place (run_here); may free the object that holds the mail, or send it on. */
	void (*run)(struct mail *mail);
};

struct mailbox {
	pthread_mutex_t lock;
	struct mail *head, **tail; /* under lock */
	int fd;                    /* eventfd, non-blocking; -1 in the simulation */
	/* Set before anybody posts; NULL: only the receiver's thread runs its mail. Called without locks by a sender whose mail found the box
	 * empty. True: the mail was run. False: the receiver is busy or would rather be woken, and is. Never waits. */
	bool (*run_here)(struct mailbox *box);
};

/* Returns 0, or -errno when no eventfd can be had. `with_fd` false: the simulation's kind. */
int mailbox_init(struct mailbox *box, bool with_fd);
void mailbox_fini(struct mailbox *box); /* asserts that it is empty */

/* Any thread. Takes the mail until it is run. */
void mailbox_post(struct mailbox *box, struct mail *mail);

/* The same, and run_here is tried before the receiver is woken: what the mail leads to may happen before this returns. */
void mailbox_post_here(struct mailbox *box, struct mail *mail);

/* Receiver only. Reads the eventfd, takes the whole list, runs each in order. Returns how many ran. */
size_t mailbox_run(struct mailbox *box);

/* The same, but the eventfd is left alone. For who runs a receiver in its thread's place, so that no wake-up is taken away; and for a receiver
 * that waits for edges of its eventfd (a worker), to whom each write is a wake-up, read or not. */
size_t mailbox_run_here(struct mailbox *box);

/* Receiver only; blocks until there is mail or timeout_ms have passed (-1: for ever). Not for workers: they have a loop. */
void mailbox_wait(struct mailbox *box, int timeout_ms);

/* Any thread: is something waiting? A hint unless the caller is the only thread (the simulation). */
bool mailbox_pending(struct mailbox *box);

/* One sender's staged mail. One thread. */
#define OUTBOX_BOXES 64
struct outbox {
	size_t n;
	size_t bytes; /* that receivers will copy or encode for what is staged; whoever stages it adds them */
	struct {
		struct mailbox *box;
		struct mail *head, **tail;
	} staged[OUTBOX_BOXES];
};

void outbox_init(struct outbox *out);
void outbox_add(struct outbox *out, struct mailbox *box, struct mail *mail);
void outbox_flush(struct outbox *out); /* at the end of a turn; returns with nothing staged */

/* The same, and receivers that are idle are run here if what is staged is light: beyond it they had better run beside the sender. */
#define MAIL_LIGHT_BYTES (64u << 10)
void outbox_flush_here(struct outbox *out);

#endif
