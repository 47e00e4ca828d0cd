/* test_list.c: the intrusive list. */
#include <criterion/criterion.h>

#include "penstock/list.h"

struct item {
	int n;
	struct list link;
};

static void expect(const struct list *head, const int *want, int count)
{
	const struct list *node = head->next;
	for (int i = 0; i < count; i++, node = node->next) {
		cr_assert_neq(node, head);
		cr_assert_eq(container_of(node, struct item, link)->n, want[i]);
		cr_assert_eq(node->next->prev, node);
	}
	cr_assert_eq(node, head);
}

Test(list, order_removal_and_splice)
{
	struct list a, b;
	struct item items[6];
	list_init(&a);
	list_init(&b);
	cr_assert(list_empty(&a));
	cr_assert_null(list_pop(&a));
	for (int i = 0; i < 6; i++) {
		items[i].n = i;
		list_init(&items[i].link);
		list_append(i < 3 ? &a : &b, &items[i].link);
	}
	list_splice(&a, &b);
	cr_assert(list_empty(&b));
	expect(&a, (int[]){0, 1, 2, 3, 4, 5}, 6);
	list_splice(&a, &b);
	expect(&a, (int[]){0, 1, 2, 3, 4, 5}, 6);
	list_remove(&items[2].link);
	list_remove(&items[2].link);
	expect(&a, (int[]){0, 1, 3, 4, 5}, 5);
	LIST_EACH (node, &a) {
		if (container_of(node, struct item, link)->n % 2)
			list_remove(node);
	}
	expect(&a, (int[]){0, 4}, 2);
	cr_assert_eq(list_pop(&a), &items[0].link);
	cr_assert_eq(list_pop(&a), &items[4].link);
	cr_assert(list_empty(&a));
}
