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

/* ---- A receiver that senders may run ---- */

static bool willing;
static int asked;

static bool on_run_here(struct mailbox *box)
{
	asked++;
	return willing && mailbox_run_here(box) > 0;
}

static void init_here(struct mailbox *box)
{
	cr_assert_eq(mailbox_init(box, true), 0);
	box->run_here = on_run_here;
	willing = true;
	asked = n_seen = 0;
}

Test(mail, a_willing_receiver_is_run_by_its_sender)
{
	struct mailbox box;
	init_here(&box);
	struct letter letter = letter_of(1);
	mailbox_post_here(&box, &letter.mail);
	cr_assert_eq(n_seen, 1);
	cr_assert(!readable(&box), "nobody is woken");
	willing = false;
	mailbox_post_here(&box, &letter.mail);
	cr_assert_eq(asked, 2);
	cr_assert_eq(n_seen, 1);
	cr_assert(readable(&box), "who will not be run is woken");
	willing = true;
	struct letter second = letter_of(2);
	mailbox_post_here(&box, &second.mail);
	cr_assert_eq(asked, 2, "the box was not empty: somebody owes the wake-up already");
	mailbox_run(&box);
	cr_assert_eq(n_seen, 3);
	mailbox_post(&box, &letter.mail);
	cr_assert_eq(asked, 2, "an ordinary post never runs anything");
	mailbox_run(&box);
	mailbox_fini(&box);
}

Test(mail, run_in_another_s_place_no_wake_up_is_taken_away)
{
	struct mailbox box;
	init_here(&box);
	struct letter letter = letter_of(1);
	mailbox_post(&box, &letter.mail);
	cr_assert_eq(mailbox_run_here(&box), 1);
	cr_assert(readable(&box));
	cr_assert_eq(mailbox_run(&box), 0);
	cr_assert(!readable(&box));
	mailbox_fini(&box);
}

Test(outbox, light_mail_runs_an_idle_receiver_heavy_mail_wakes_it)
{
	struct mailbox box;
	struct outbox out;
	init_here(&box);
	outbox_init(&out);
	struct letter letters[2] = {letter_of(0), letter_of(1)};
	for (int i = 0; i < 2; i++)
		outbox_add(&out, &box, &letters[i].mail);
	out.bytes = MAIL_LIGHT_BYTES;
	outbox_flush_here(&out);
	cr_assert_eq(asked, 1);
	cr_assert_eq(n_seen, 2);
	cr_assert(seen[0] == 0 && seen[1] == 1);
	cr_assert_eq(out.bytes, 0);
	outbox_add(&out, &box, &letters[0].mail);
	out.bytes = MAIL_LIGHT_BYTES + 1;
	outbox_flush_here(&out);
	cr_assert_eq(asked, 1);
	cr_assert(readable(&box));
	mailbox_run(&box);
	outbox_add(&out, &box, &letters[0].mail);
	outbox_flush(&out);
	cr_assert_eq(asked, 1, "an ordinary flush never runs anything");
	mailbox_run(&box);
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
