/* tree.h: how the JSON and the CBOR adapter build a value tree, with the caps that both share. One decode, one thread. */
#ifndef CODEC_TREE_H
#define CODEC_TREE_H

#include "penstock/bytes.h"
#include "penstock/value.h"

/* A node costs 64 bytes and a byte of body can ask for one, so a body could take 64 times its size. The largest honest document
 * (PutRecords, 500 entries of a handful of members) has about 3,000 nodes. */
#define TREE_NODES_MAX 65536

struct tree {
	struct arena *arena;
	struct value *root;
	struct str key; /* of the next node, inside a map */
	unsigned depth; /* open containers */
	uint32_t nodes;
	struct {
		struct value *container;
		struct value **tail; /* where its next child is linked */
	} frame[VALUE_DEPTH_MAX];
};

void tree_init(struct tree *tree, struct arena *arena);
/* A zeroed node of that kind, linked into the innermost open container (with tree->key, in a map), or the root.
 * NULL: too many nodes, or a second root. */
struct value *tree_add(struct tree *tree, enum value_kind kind);
/* Adds a LIST or MAP and opens it. NULL: as above, or too deep. */
struct value *tree_open(struct tree *tree, enum value_kind kind);
void tree_close(struct tree *tree);

/* The adapters. The whole body must be one document. False: it is none. */
bool json_value_decode(const uint8_t *body, size_t n, struct tree *tree);
bool cbor_value_decode(const uint8_t *body, size_t n, struct tree *tree);

#endif
