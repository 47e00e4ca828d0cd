/* fault_page.c: /faults, where what is met on purpose is looked at and changed while the server runs.
 *
 *     GET /faults  -> {"seed": 7, "throttle": "0.1", "delay.PutRecord": "0.5:250ms"}
 *     PUT /faults  <- the same; shares may be numbers. All that held before goes; {} lifts everything. Counting begins anew.
 *
 * Thread: the request's worker. The answer to a PUT leaves after the rules were mailed to every worker, and mail goes before sockets: what
 * is sent after the answer was read meets them.
 *
 * admin.c decides which clients may ask. PUT is for clients of this machine alone, and never for a browser's
 * page (it sends Origin), since a page can reach loopback from anywhere.
 *
 * Failure modes: 403 for those who may not; 400 with words for what cannot be understood, and nothing has changed. */
#include <jansson.h>
#include <stdlib.h>

#include "server/fault.h"
#include "server/worker.h"

#define JSON_TYPE "application/json"

static void add_rule(void *arg, const char *name, const char *value) { json_object_set_new(arg, name, json_string(value)); }

json_t *fault_json(const struct fault_rules *rules)
{
	json_t *object = json_object();
	if (!rules)
		return object;
	json_object_set_new(object, "seed", json_integer((json_int_t)rules->seed));
	fault_rules_each(rules, add_rule, object);
	return object;
}

static void answer(struct request *request, int http_status, json_t *object)
{
	struct buf body = {0};
	char *text = json_dumps(object, JSON_INDENT(2));
	json_decref(object);
	if (text)
		buf_put_str(&body, str_of(text));
	free(text);
	buf_put_char(&body, '\n');
	request_answer(request, http_status, JSON_TYPE, &body);
}

static void refuse(struct request *request, int http_status, struct str text)
{
	answer(request, http_status, json_pack("{s:s%}", "message", text.p, text.n));
}

/* False: answered. */
static bool allowed(struct request *request)
{
	if (str_present(request_header(request, "origin")))
		refuse(request, 403, STR("Faults are not changed by a browser's page."));
	else if (!request->transport->local(request))
		refuse(request, 403, STR("Faults are changed from this machine alone."));
	else
		return true;
	return false;
}

/* NULL, or what is wrong, in the arena. */
static const char *take_member(struct request *request, struct fault_rules *rules, const char *key, json_t *value)
{
	char share[32];
	const char *text = json_string_value(value), *wrong;
	if (strcmp(key, "seed") == 0) {
		if (!json_is_integer(value) || json_integer_value(value) < 0)
			return "seed wants a whole number";
		rules->seed = (uint64_t)json_integer_value(value);
		return NULL;
	}
	if (json_is_number(value)) {
		snprintf(share, sizeof(share), "%.9f", json_number_value(value)); /* not %g: 1e-05 is no share */
		text = share;
	}
	wrong = text ? fault_rules_take(rules, key, strlen(key), text) : "wants a share, as a number or as a string with a time behind it";
	return wrong ? arena_printf(&request->arena, "%s %s", key, wrong).p : NULL;
}

static void answer_put(struct request *request)
{
	struct server *server = request->worker->server;
	struct fault_rules rules = {.seed = server->options->faults.seed};
	const char *key, *wrong = NULL;
	json_error_t error;
	json_t *root = json_loadb((const char *)request->exchange->body, request->exchange->body_len, JSON_REJECT_DUPLICATES, &error),
	       *value;
	if (!root || !json_is_object(root))
		wrong = root ? "one JSON object is wanted" : arena_printf(&request->arena, "%s", error.text).p;
	if (!wrong)
		json_object_foreach(root, key, value) if (!wrong) wrong = take_member(request, &rules, key, value);
	json_decref(root);
	if (wrong) {
		refuse(request, 400, str_of(wrong));
		return;
	}
	fault_set(server, &rules);
	answer(request, 200, fault_json(fault_rules_any(&rules) ? &rules : NULL));
}

void fault_page(struct request *request)
{
	if (str_equal(request->exchange->method, STR("GET")))
		answer(request, 200, fault_json(fault_rules_now(request->worker)));
	else if (allowed(request))
		answer_put(request);
}
