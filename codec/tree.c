/* tree.c: builds a value tree, node by node, in document order. One decode, one thread.
 *
 * Invariants: frame[depth - 1] is the innermost open container and its tail is where the next child goes; the root is set once;
 * depth <= VALUE_DEPTH_MAX; nodes <= TREE_NODES_MAX.
 *
 * - tree_add takes a node from the arena and links it behind its elder sibling: no search, so that a long list stays linear;
 * - tree_open pushes it, tree_close pops it.
 *
 * Failure is a NULL: the adapter gives up the document. What was built stays in the arena and dies with the request. */
#include "codec/tree.h"

#include <assert.h>

void tree_init(struct tree *tree, struct arena *arena)
{
	tree->arena = arena;
	tree->root = NULL;
	tree->key = (struct str){NULL, 0};
	tree->depth = 0;
	tree->nodes = 0;
}

static void link_child(struct tree *tree, struct value *child)
{
	struct value *container = tree->frame[tree->depth - 1].container;
	if (container->kind == VALUE_MAP)
		child->key = tree->key;
	*tree->frame[tree->depth - 1].tail = child;
	tree->frame[tree->depth - 1].tail = &child->next;
	container->n++;
}

struct value *tree_add(struct tree *tree, enum value_kind kind)
{
	if (tree->nodes == TREE_NODES_MAX || (tree->depth == 0 && tree->root))
		return NULL;
	struct value *value = arena_zalloc(tree->arena, sizeof(*value));
	value->kind = kind;
	tree->nodes++;
	if (tree->depth > 0)
		link_child(tree, value);
	else
		tree->root = value;
	return value;
}

struct value *tree_open(struct tree *tree, enum value_kind kind)
{
	if (tree->depth == VALUE_DEPTH_MAX)
		return NULL;
	struct value *container = tree_add(tree, kind);
	if (!container)
		return NULL;
	tree->frame[tree->depth].container = container;
	tree->frame[tree->depth].tail = &container->first;
	tree->depth++;
	return container;
}

void tree_close(struct tree *tree)
{
	assert(tree->depth > 0);
	tree->depth--;
}
