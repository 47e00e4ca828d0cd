/* test_mail.c: mailboxes and outboxes on one thread; thread_mail.c has the rest. */
#include <criterion/criterion.h>
#include <poll.h>

#include "penstock/bytes.h"
#include "penstock/mail.h"

struct letter {
	struct mail mail;
	int n;
	struct mailbox *again; /* posted there again when it runs */
};

static int seen[300], n_seen;

static void on_letter(struct mail *mail)
{
	struct letter *letter = container_of(mail, struct letter, mail);
	seen[n_seen++] = letter->n;
	if (letter->again)
		mailbox_post(letter->again, mail);
}

static struct letter letter_of(int n) { return (struct letter){.mail.run = on_letter, .n = n}; }

static bool readable(struct mailbox *box)
{
	struct pollfd poll_fd = {.fd = box->fd, .events = POLLIN};
	return poll(&poll_fd, 1, 0) == 1;
}

Test(mail, in_order_and_one_wake_up)
{
	struct mailbox box;
	cr_assert_eq(mailbox_init(&box, true), 0);
	n_seen = 0;
	cr_assert(!readable(&box));
	cr_assert_eq(mailbox_run(&box), 0);
	struct letter letters[10];
	for (int i = 0; i < 10; i++) {
		letters[i] = letter_of(i);
		mailbox_post(&box, &letters[i].mail);
	}
	cr_assert(mailbox_pending(&box));
	cr_assert(readable(&box));
	mailbox_wait(&box, -1);
	cr_assert_eq(mailbox_run(&box), 10);
	for (int i = 0; i < 10; i++)
		cr_assert_eq(seen[i], i);
	cr_assert(!mailbox_pending(&box));
	cr_assert(!readable(&box));
	mailbox_post(&box, &letters[0].mail);
	cr_assert(readable(&box), "an empty box wakes again");
	mailbox_run(&box);
	mailbox_fini(&box);
}

Test(mail, posted_while_running_waits_for_the_next_run)
{
	struct mailbox box;
	cr_assert_eq(mailbox_init(&box, true), 0);
	n_seen = 0;
	struct letter letter = letter_of(1);
	letter.again = &box;
	mailbox_post(&box, &letter.mail);
	cr_assert_eq(mailbox_run(&box), 1);
	cr_assert(readable(&box));
	letter.again = NULL;
	cr_assert_eq(mailbox_run(&box), 1);
	cr_assert(!mailbox_pending(&box));
	mailbox_fini(&box);
}

Test(mail, without_eventfd)
{
	struct mailbox box;
	cr_assert_eq(mailbox_init(&box, false), 0);
	cr_assert_eq(box.fd, -1);
	struct letter letter = letter_of(1);
	n_seen = 0;
	mailbox_post(&box, &letter.mail);
	cr_assert(mailbox_pending(&box));
	cr_assert_eq(mailbox_run(&box), 1);
	cr_assert_eq(mailbox_run(&box), 0);
	mailbox_fini(&box);
}

Test(mail, outbox_stages_by_receiver)
{
	struct mailbox a, b;
	mailbox_init(&a, true);
	mailbox_init(&b, true);
	struct outbox out;
	outbox_init(&out);
	struct letter letters[6];
	for (int i = 0; i < 6; i++) {
		letters[i] = letter_of(i);
		outbox_add(&out, i % 2 ? &b : &a, &letters[i].mail);
	}
	cr_assert(!mailbox_pending(&a) && !readable(&b));
	outbox_flush(&out);
	cr_assert_eq(out.n, 0);
	n_seen = 0;
	cr_assert_eq(mailbox_run(&a), 3);
	cr_assert_eq(mailbox_run(&b), 3);
	const int want[] = {0, 2, 4, 1, 3, 5};
	for (int i = 0; i < 6; i++)
		cr_assert_eq(seen[i], want[i]);
	outbox_flush(&out);
	cr_assert(!mailbox_pending(&a));
	mailbox_fini(&a);
	mailbox_fini(&b);
}

Test(mail, outbox_with_more_receivers_than_places)
{
	static struct mailbox boxes[OUTBOX_BOXES + 10];
	static struct letter letters[2][OUTBOX_BOXES + 10];
	struct outbox out;
	outbox_init(&out);
	for (int i = 0; i < OUTBOX_BOXES + 10; i++)
		mailbox_init(&boxes[i], false);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < OUTBOX_BOXES + 10; i++) {
			letters[round][i] = letter_of(round);
			outbox_add(&out, &boxes[i], &letters[round][i].mail);
		}
	}
	outbox_flush(&out);
	for (int i = 0; i < OUTBOX_BOXES + 10; i++) {
		n_seen = 0;
		cr_assert_eq(mailbox_run(&boxes[i]), 2);
		cr_assert(seen[0] == 0 && seen[1] == 1, "order is kept");
		mailbox_fini(&boxes[i]);
	}
}
