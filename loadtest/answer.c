/* answer.c: what an answer means to a client, as the SDKs and the KCL take it. Emulators differ in status and in the member that names the
 * error, so its name is looked for in the whole answer: it is short, and it is only read when the status is not 200. */
#include <stdio.h>

#include "loadtest/load.h"

static bool says(const struct call *call, const char *word)
{
	return call->answer.n && memmem(call->answer.p, call->answer.n, word, strlen(word));
}

enum verdict answer_verdict(const struct call *call, bool complete)
{
	static const struct {
		const char *word;
		enum verdict verdict;
	} known[] = {{"ProvisionedThroughputExceeded", VERDICT_THROTTLED}, {"LimitExceededException", VERDICT_THROTTLED},
		     {"ThrottlingException", VERDICT_THROTTLED},           {"ResourceInUseException", VERDICT_IN_USE},
		     {"ExpiredIteratorException", VERDICT_EXPIRED},        {"ResourceNotFoundException", VERDICT_MISSING},
		     {"UnknownOperation", VERDICT_NO_OPERATION},           {"InvalidAction", VERDICT_NO_OPERATION},
		     {"UnsupportedOperation", VERDICT_NO_OPERATION},       {"NotImplemented", VERDICT_NO_OPERATION}};
	if (!complete)
		return VERDICT_UNSURE;
	if (call->status == 200)
		return VERDICT_GOOD;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (says(call, known[i].word))
			return known[i].verdict;
	if (call->status == 404 || call->status == 405 || call->status == 501)
		return VERDICT_NO_OPERATION;
	if (call->status == 429)
		return VERDICT_THROTTLED;
	return call->status >= 500 ? VERDICT_UNSURE : VERDICT_REFUSED;
}

struct value *answer_tree(const struct call *call, struct arena *arena)
{
	struct value *tree = NULL;
	if (call->answer.n == 0 || value_decode(call->answer_encoding, call->answer.p, call->answer.n, arena, &tree) != STATUS_OK)
		return NULL;
	return tree;
}

struct str text_member(const struct value *map, const char *key)
{
	const struct value *v = map && map->kind == VALUE_MAP ? value_member(map, str_of(key)) : NULL;
	return v && v->kind == VALUE_STRING ? v->str : STR("");
}

void answer_describe(const struct call *call, bool complete, char *out, size_t n)
{
	struct arena arena = {0};
	const struct value *tree = complete ? answer_tree(call, &arena) : NULL;
	struct str type = text_member(tree, "__type"), message = text_member(tree, "message");
	if (message.n == 0)
		message = text_member(tree, "Message");
	if (!complete)
		snprintf(out, n, "no answer");
	else if (type.n || message.n)
		snprintf(out, n, "%d " STR_FMT "%s" STR_FMT, call->status, STR_ARG(type), type.n && message.n ? ": " : "",
			 STR_ARG(message));
	else
		snprintf(out, n, "%d %.*s", call->status, (int)(call->answer.n < 100 ? call->answer.n : 100),
			 call->answer.p ? (const char *)call->answer.p : "");
	arena_free(&arena);
}
