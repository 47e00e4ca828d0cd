/* thread_mail.c: several senders, one receiver that sleeps whenever there is nothing: every letter comes, in order per sender, and no
 * wake-up is lost (a lost one ends in a wait that nobody ends: the alarm then fails the run). Half of the senders post one by one,
 * half stage in an outbox and flush at odd moments. Then the same with a receiver that senders may run: what it owns is its lock's. */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "penstock/bytes.h"
#include "penstock/mail.h"

#define SENDERS 6
#define LETTERS 20000

struct letter {
	struct mail mail;
	int sender, n;
};

static struct mailbox box;
static bool here; /* the second round */
static pthread_mutex_t run_lock = PTHREAD_MUTEX_INITIALIZER;
static int next_of[SENDERS]; /* the receiver's, like all below: under run_lock */
static int received, disorder, ran_here, refused_here;

static void on_letter(struct mail *mail)
{
	struct letter *letter = container_of(mail, struct letter, mail);
	disorder += letter->n != next_of[letter->sender];
	next_of[letter->sender] = letter->n + 1;
	received++;
	free(letter);
}

/* Now and then it would rather be woken, and always at the end: its thread has still to hear of that. */
static bool run_here(struct mailbox *of)
{
	if (pthread_mutex_trylock(&run_lock) != 0)
		return false;
	bool light = received % 7 != 0;
	if (light)
		ran_here += mailbox_run_here(of) > 0;
	else
		refused_here++;
	bool ended = received == SENDERS * LETTERS;
	pthread_mutex_unlock(&run_lock);
	return light && !ended;
}

static void post(struct mail *mail)
{
	if (here)
		mailbox_post_here(&box, mail);
	else
		mailbox_post(&box, mail);
}

static void flush(struct outbox *out)
{
	if (here)
		outbox_flush_here(out);
	else
		outbox_flush(out);
}

static void *send_all(void *arg)
{
	int sender = *(int *)arg;
	struct outbox out;
	outbox_init(&out);
	for (int i = 0; i < LETTERS; i++) {
		struct letter *letter = xmalloc(sizeof(*letter));
		*letter = (struct letter){.mail.run = on_letter, .sender = sender, .n = i};
		if (sender % 2)
			post(&letter->mail);
		else
			outbox_add(&out, &box, &letter->mail);
		if (i % (7 + sender) == 0)
			flush(&out);
		if (i % 1000 == 0)
			usleep(100); /* lets the receiver fall asleep; the outcome does not hang on it */
		while (here && i % 50 == 0 && mailbox_pending(&box))
			sched_yield(); /* else the box may never be found empty */
	}
	flush(&out);
	return NULL;
}

static void receive_all(void)
{
	bool ended = false;
	while (!ended) {
		mailbox_wait(&box, -1);
		pthread_mutex_lock(&run_lock);
		mailbox_run(&box);
		ended = received == SENDERS * LETTERS;
		pthread_mutex_unlock(&run_lock);
	}
}

/* Returns how many checks failed, of two. */
static int deliver(void)
{
	pthread_t threads[SENDERS];
	int names[SENDERS];
	received = disorder = 0;
	if (mailbox_init(&box, true) != 0)
		return 2;
	box.run_here = here ? run_here : NULL;
	for (int i = 0; i < SENDERS; i++) {
		names[i] = i;
		next_of[i] = 0;
		if (pthread_create(&threads[i], NULL, send_all, &names[i]) != 0)
			exit(1);
	}
	receive_all();
	for (int i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	bool quiet = !mailbox_pending(&box);
	mailbox_run(&box);
	mailbox_fini(&box);
	return (disorder != 0) + !quiet;
}

int main(void)
{
	alarm(120);
	int failed = deliver();
	here = true;
	failed += deliver();
	failed += !ran_here || !refused_here; /* both ways were exercised */
	printf("thread_mail: %d passed, %d failed\n", 5 - failed, failed);
	return failed != 0;
}
