/* options_file.c: --config FILE: one JSON object whose members are the long options, with dashes or underscores.
 *
 *     {"data_dir": "/var/lib/penstock", "workers": 2, "print-ready": true, "limits": "aws", "limit": {"consumers": 50}}
 *
 * Thread: main, before any other runs. Strings are copied and live until the process ends, as argv's do.
 *
 * - each member finds its rule, must have the type that the rule wants, and goes the way that a word of the command line goes
 *
 * Failure modes: one line on stderr that names the file and the member (or where the JSON breaks off); 2. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "penstock/bytes.h"
#include "server/options_rules.h"

static const char *type_name(const json_t *value)
{
	static const char *const names[] = {
		[JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list", [JSON_STRING] = "a string", [JSON_INTEGER] = "a number",
		[JSON_REAL] = "a fraction",  [JSON_TRUE] = "true",    [JSON_FALSE] = "false",     [JSON_NULL] = "null"};

	return names[json_typeof(value)];
}

static bool has_type(const struct option_rule *rule, const json_t *value, const char **wants)
{
	switch (rule->kind) {
	case TAKE_UNSIGNED:
	case TAKE_UINT64:
		*wants = "a number";
		return json_is_integer(value);
	case TAKE_FLAG:
		*wants = "true or false";
		return json_is_boolean(value);
	case TAKE_LIST:
		*wants = "a string, or a list of strings";
		return json_is_string(value) || json_is_array(value);
	case TAKE_FAULT:
		*wants = "an object of shares";
		return json_is_object(value);
	case TAKE_LIMIT:
		*wants = "an object of numbers";
		return json_is_object(value);
	default:
		*wants = "a string";
		return json_is_string(value);
	}
}

static bool is_name(const char *key, const char *name)
{
	for (; *key && *name; key++, name++)
		if (*key != *name && !(*key == '_' && *name == '-'))
			return false;
	return *key == *name;
}

/* --config itself, --help and --version are for the command line alone. */
static const struct option_rule *find_rule(const char *key)
{
	size_t n;
	const struct option_rule *rules = option_rules(&n);

	for (size_t i = 0; i < n; i++)
		if (is_name(key, rules[i].name) && rules[i].kind != SHOW_HELP && rules[i].kind != SHOW_VERSION &&
		    strcmp(rules[i].name, "config") != 0)
			return &rules[i];
	return NULL;
}

static int take_limits(struct option_reader *reader, const struct option_rule *rule, json_t *object)
{
	const char *key;
	json_t *value;
	int code = 0;

	json_object_foreach(object, key, value)
	{
		char *text;

		if (!json_is_integer(value)) {
			fprintf(stderr, "penstock: %s: %s: %s wants a number, not %s\n", reader->file, rule->name, key, type_name(value));
			return 2;
		}
		text = xasprintf("%s=%" JSON_INTEGER_FORMAT, key, json_integer_value(value));
		code = option_take(reader, rule, text);
		free(text);
		if (code)
			break;
	}
	return code;
}

static int take_faults(struct option_reader *reader, const struct option_rule *rule, json_t *object)
{
	const char *key;
	json_t *value;
	int code = 0;

	json_object_foreach(object, key, value)
	{
		char *text;

		if (!json_is_number(value) && !json_is_string(value)) {
			fprintf(stderr, "penstock: %s: %s: %s wants a number or a string, not %s\n", reader->file, rule->name, key,
				type_name(value));
			return 2;
		}
		text = json_is_string(value) ? xasprintf("%s=%s", key, json_string_value(value))
					     : xasprintf("%s=%.9f", key, json_number_value(value));
		code = option_take(reader, rule, text);
		free(text);
		if (code)
			break;
	}
	return code;
}

/* Options point into it: it lives as long as the process. */
static struct arena strings;

static int take_list(struct option_reader *reader, const struct option_rule *rule, const json_t *list)
{
	size_t i;
	json_t *value;
	int code = 0;

	json_array_foreach(list, i, value)
	{
		if (!json_is_string(value)) {
			fprintf(stderr, "penstock: %s: %s wants a list of strings, not %s in it\n", reader->file, rule->name,
				type_name(value));
			return 2;
		}
		code = option_take(reader, rule, arena_str(&strings, str_of(json_string_value(value))).p);
		if (code)
			break;
	}
	return code;
}

static int take_value(struct option_reader *reader, const struct option_rule *rule, json_t *value)
{
	bool keep = rule->kind == TAKE_STRING || rule->kind == TAKE_LIST;
	char *text;
	int code;

	if (json_is_array(value))
		return take_list(reader, rule, value);
	if (rule->kind == TAKE_LIMIT)
		return take_limits(reader, rule, value);
	if (rule->kind == TAKE_FAULT)
		return take_faults(reader, rule, value);
	if (rule->kind == TAKE_FLAG)
		return json_is_true(value) ? option_take(reader, rule, NULL) : 0;
	text = json_is_integer(value) ? xasprintf("%" JSON_INTEGER_FORMAT, json_integer_value(value)) : xstrdup(json_string_value(value));
	code = option_take(reader, rule, keep ? arena_str(&strings, str_of(text)).p : text);
	free(text);
	return code;
}

static int take_member(struct option_reader *reader, bool *seen, const char *key, json_t *value)
{
	const struct option_rule *rule = find_rule(key);
	size_t n, place;
	const char *wants;

	if (!rule) {
		fprintf(stderr, "penstock: %s: \"%s\" is no option; --help lists them\n", reader->file, key);
		return 2;
	}
	place = (size_t)(rule - option_rules(&n));
	if (seen[place]) {
		fprintf(stderr, "penstock: %s: %s is there twice\n", reader->file, rule->name);
		return 2;
	}
	seen[place] = true;
	if (!has_type(rule, value, &wants)) {
		fprintf(stderr, "penstock: %s: %s wants %s, not %s\n", reader->file, rule->name, wants, type_name(value));
		return 2;
	}
	return take_value(reader, rule, value);
}

int options_read_file(struct option_reader *reader, const char *path)
{
	bool seen[OPTIONS_MAX] = {false};
	json_error_t error;
	json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error), *value;
	const char *key;
	int code = 0;

	if (!root) {
		if (error.line > 0)
			fprintf(stderr, "penstock: --config %s, line %d: %s\n", path, error.line, error.text);
		else
			fprintf(stderr, "penstock: --config %s\n", error.text); /* it names the file */
		return 2;
	}
	reader->file = path;
	if (!json_is_object(root)) {
		fprintf(stderr, "penstock: --config %s must hold one JSON object, not %s\n", path, type_name(root));
		code = 2;
	}
	json_object_foreach(root, key, value)
	{
		code = take_member(reader, seen, key, value);
		if (code)
			break;
	}
	json_decref(root);
	return code;
}
