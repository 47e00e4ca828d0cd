/* thread_mail.c: several senders, one receiver that sleeps whenever there is nothing: every letter comes, in order per sender, and no
 * wake-up is lost (a lost one ends in a wait that nobody ends: the alarm then fails the run). Half of the senders post one by one,
 * half stage in an outbox and flush at odd moments. */
#include <pthread.h>
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
static int next_of[SENDERS]; /* receiver's */
static int received, disorder;

static void on_letter(struct mail *mail)
{
	struct letter *letter = container_of(mail, struct letter, mail);
	disorder += letter->n != next_of[letter->sender];
	next_of[letter->sender] = letter->n + 1;
	received++;
	free(letter);
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
			mailbox_post(&box, &letter->mail);
		else
			outbox_add(&out, &box, &letter->mail);
		if (i % (7 + sender) == 0)
			outbox_flush(&out);
		if (i % 1000 == 0)
			usleep(100); /* lets the receiver fall asleep; the outcome does not hang on it */
	}
	outbox_flush(&out);
	return NULL;
}

int main(void)
{
	pthread_t threads[SENDERS];
	int names[SENDERS];
	alarm(60);
	if (mailbox_init(&box, true) != 0)
		return 1;
	for (int i = 0; i < SENDERS; i++) {
		names[i] = i;
		if (pthread_create(&threads[i], NULL, send_all, &names[i]) != 0)
			return 1;
	}
	while (received < SENDERS * LETTERS) {
		mailbox_wait(&box, -1);
		mailbox_run(&box);
	}
	for (int i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	bool quiet = !mailbox_pending(&box);
	mailbox_run(&box);
	mailbox_fini(&box);
	int failed = (disorder != 0) + !quiet;
	printf("thread_mail: %d passed, %d failed\n", 2 - failed, failed);
	return failed != 0;
}
