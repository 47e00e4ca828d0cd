/* connection.c: calls, and the lines (sockets) that carry them; see connection.h and line.h.
 *
 *   - a call goes to the first line, which has room if any has; else it waits, and a line is opened for it
 *   - what a line reads goes to its protocol, which gathers answers, hands streams on, and marks calls as ended
 *   - at the end of each turn (settle) ended calls are told, waiting ones are placed, and every line that was given something writes once
 *
 * Invariants: on_end is called from settle alone, so no protocol's library is on the stack when a caller makes, cancels or closes
 * something; a line, or the connection, that is to go while a callback runs goes at the end of the turn.
 *
 * Failures: a line that is lost ends its calls as CALL_BROKEN. When an attempt to open one fails and no other is under way, those that wait
 * end as CALL_REFUSED. */
#include "loadtest/connection.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "loadtest/line.h"

#define WINDOW_DEFAULT (4u << 20)
#define LINES_MAX 2048 /* over HTTP/1.1 each of a consumer's 1,024 subscriptions has one, and other calls do not wait for them */

static void settle(struct connection *connection);

/* ---- Calls ---- */

void call_free(struct call *call)
{
	buf_free(&call->body);
	buf_free(&call->answer);
	buf_free(&call->signature.authorization);
}

static const char *content_type(const struct call *call)
{
	return call->encoding == ENCODING_CBOR ? "application/x-amz-cbor-1.1" : "application/x-amz-json-1.1";
}

static void sign(struct call *call, struct signer *signer, char target[TARGET_MAX])
{
	snprintf(target, TARGET_MAX, "Kinesis_20131202.%s", call->operation);
	if (!call->is_signed)
		signer_sign(signer, content_type(call), target, call->body.p, call->body.n, &call->signature);
}

void call_head(struct call *call, struct signer *signer, struct request_head *out)
{
	*out = (struct request_head){.method = call->method ? call->method : "GET", .path = call->path ? call->path : "/"};
	if (!call->operation)
		return;
	out->method = "POST";
	out->path = "/";
	out->content_type = content_type(call);
	sign(call, signer, out->target);
	out->date = call->signature.date;
	out->authorization = (const char *)call->signature.authorization.p;
	out->token = call->signature.token;
}

void call_header(struct call *call, struct str name, struct str value)
{
	struct connection *connection = call->line->connection;
	if (str_equal(name, STR("content-type")))
		call->answer_encoding = memmem(value.p, value.n, "cbor", 4) ? ENCODING_CBOR : ENCODING_JSON;
	else if (str_equal(name, STR("server")) && !connection->server[0])
		snprintf(connection->server, sizeof connection->server, STR_FMT, STR_ARG(value));
}

void call_bytes(struct call *call, const uint8_t *p, size_t n)
{
	if (call->on_data && call->status == 200)
		call->on_data(call, p, n);
	else
		buf_put(&call->answer, p, n);
}

void call_end(struct call *call, enum call_reason reason)
{
	struct line *line = call->line;
	list_remove(&call->link);
	line->n_calls--;
	call->line = NULL;
	call->reason = reason;
	call->ended = true;
	list_append(&line->connection->ended, &call->link);
}

/* ---- Lines ---- */

void line_touch(struct line *line)
{
	if (list_empty(&line->touch_link))
		list_append(&line->connection->touched, &line->touch_link);
}

void line_ready(struct line *line)
{
	line->ready = true;
	line->connection->n_opening--;
	wire_settled(&line->wire);
	wire_stall(&line->wire, line->connection->stalled);
	line_touch(line);
}

void line_lose(struct line *line, const char *why)
{
	struct connection *connection = line->connection;
	if (line->dead)
		return;
	line->dead = true;
	snprintf(connection->why, sizeof connection->why, "%s: %s", connection->endpoint->authority, why);
	wire_close(&line->wire);
	LIST_EACH (node, &line->calls)
		call_end(container_of(node, struct call, link), CALL_BROKEN);
	line_touch(line);
}

static void on_open(struct wire *wire)
{
	struct line *line = container_of(wire, struct line, wire);
	line->ops->open(line);
}

static void on_bytes(struct wire *wire, const uint8_t *p, size_t n)
{
	struct line *line = container_of(wire, struct line, wire);
	struct connection *connection = line->connection;
	if (connection->closing)
		return;
	connection->read_ns = wire->read_ns;
	connection->inside++;
	if (!line->ops->bytes(line, p, n) && !connection->closing)
		line_lose(line, "the server broke the protocol");
	connection->inside--;
}

static void on_closed(struct wire *wire)
{
	struct line *line = container_of(wire, struct line, wire);
	struct connection *connection = line->connection;
	if (connection->closing)
		return;
	connection->inside++;
	line->ops->eof(line);
	if (!connection->closing)
		line_lose(line, wire->why);
	connection->inside--;
}

static void on_turn(struct wire *wire)
{
	struct line *line = container_of(wire, struct line, wire);
	line_touch(line);
	settle(line->connection);
}

static void line_open(struct connection *connection)
{
	static const struct wire_ops ops = {on_open, on_bytes, on_closed, on_turn};
	struct line *line = xcalloc(1, sizeof *line);
	line->connection = connection;
	line->ops = connection->ops;
	list_init(&line->calls);
	list_init(&line->touch_link);
	list_append(&connection->lines, &line->link);
	connection->n_lines++;
	connection->n_opening++;
	wire_open(&line->wire, connection->base, connection->endpoint, line->ops->alpn, &ops);
}

static void line_free(struct line *line)
{
	struct connection *connection = line->connection;
	list_remove(&line->link);
	list_remove(&line->touch_link);
	connection->n_lines--;
	connection->n_opening -= line->ready ? 0 : 1;
	connection->bytes_in += line->wire.bytes_in;
	wire_close(&line->wire);
	line->ops->free(line);
	free(line);
}

static bool has_room(const struct line *line) { return line->ready && !line->draining && !line->dead && line->ops->room(line); }

/* Lines with room stand first. */
static void place(struct line *line)
{
	struct list *lines = &line->connection->lines;
	list_remove(&line->link);
	list_append(has_room(line) ? lines->next : lines, &line->link);
}

/* ---- The end of a turn ---- */

static void tell_ended(struct connection *connection)
{
	for (struct list *node; !connection->closing && (node = list_pop(&connection->ended));) {
		struct call *call = container_of(node, struct call, link);
		call->is_signed = false; /* if it is made again, it is at another time, and may be with another body */
		call->on_end(call, call->reason == CALL_OK);
	}
}

static void refuse_waiting(struct connection *connection)
{
	LIST_EACH (node, &connection->waiting) {
		struct call *call = container_of(node, struct call, link);
		call->reason = CALL_REFUSED;
		call->ended = true;
	}
	list_splice(&connection->ended, &connection->waiting);
	connection->n_waiting = 0;
}

/* A line that went without having been given a call was no help: those that wait would wait for ever if each next one were like it. */
static void bury(struct line *line)
{
	struct connection *connection = line->connection;
	bool useless = !line->used;
	line_free(line);
	if (useless && connection->n_opening == 0)
		refuse_waiting(connection);
}

/* Flushed first: a wire that was too full to be given anything, and is empty now, would otherwise never be asked again. */
static void write_out(struct line *line)
{
	do
		wire_flush(&line->wire);
	while (line->ops->fill(line));
}

static void tend_touched(struct connection *connection)
{
	for (struct list *node; (node = list_pop(&connection->touched));) {
		struct line *line = container_of(node, struct line, touch_link);
		if (line->wire.phase == WIRE_OPEN)
			write_out(line);
		if (line->dead || (line->draining && line->n_calls == 0))
			bury(line);
		else
			place(line);
	}
}

static struct line *line_with_room(struct connection *connection)
{
	if (list_empty(&connection->lines))
		return NULL;
	struct line *line = container_of(connection->lines.next, struct line, link);
	return has_room(line) ? line : NULL;
}

static void give_waiting(struct connection *connection)
{
	struct line *line;
	while (!list_empty(&connection->waiting) && (line = line_with_room(connection))) {
		struct call *call = container_of(list_pop(&connection->waiting), struct call, link);
		connection->n_waiting--;
		call->line = line;
		list_append(&line->calls, &call->link);
		line->n_calls++;
		line->used = true;
		line->ops->send(line, call);
		line_touch(line);
		if (!has_room(line))
			place(line);
	}
}

/* One attempt at a time over HTTP/2, which has room for many calls; else one for each that waits. */
static void open_lines(struct connection *connection)
{
	bool shared = connection->endpoint->protocol == PROTOCOL_H2;
	unsigned wanted = shared && connection->n_waiting ? 1 : connection->n_waiting;
	while (connection->n_opening < wanted && connection->n_lines < LINES_MAX)
		line_open(connection);
}

/* Everything but to tell of what ended. */
static void move(struct connection *connection)
{
	tend_touched(connection);
	give_waiting(connection);
	open_lines(connection);
	tend_touched(connection);
}

static void destroy(struct connection *connection)
{
	LIST_EACH (node, &connection->lines)
		line_free(container_of(node, struct line, link));
	event_free(connection->later);
	signer_free(connection->signer);
	free(connection);
}

static void settle(struct connection *connection)
{
	connection->inside++;
	do {
		tell_ended(connection);
		if (!connection->closing)
			move(connection);
	} while (!connection->closing && !list_empty(&connection->ended));
	connection->inside--;
	if (connection->closing)
		destroy(connection);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	settle(arg);
}

/* What a caller has changed outside of callbacks takes effect now; what has ended by it is told by the loop. */
static void changed(struct connection *connection)
{
	if (connection->inside)
		return;
	move(connection);
	if (!list_empty(&connection->ended))
		event_active(connection->later, EV_TIMEOUT, 0);
}

/* ---- For the engine ---- */

struct connection *connection_open(struct event_base *base, const struct endpoint *endpoint, uint32_t window)
{
	struct connection *connection = xcalloc(1, sizeof *connection);
	connection->base = base;
	connection->endpoint = endpoint;
	connection->ops = endpoint->protocol == PROTOCOL_H2 ? &line_h2_ops : &line_h1_ops;
	connection->window = window ? window : WINDOW_DEFAULT;
	connection->signer = signer_new(endpoint);
	connection->later = event_new(base, -1, 0, on_later, connection);
	list_init(&connection->lines);
	list_init(&connection->touched);
	list_init(&connection->waiting);
	list_init(&connection->ended);
	line_open(connection);
	return connection;
}

void connection_close(struct connection *connection)
{
	if (!connection)
		return;
	connection->closing = true;
	if (!connection->inside)
		destroy(connection);
}

void connection_sign(struct connection *connection, struct call *call)
{
	char target[TARGET_MAX];
	call->is_signed = false;
	sign(call, connection->signer, target);
	call->is_signed = true;
}

void connection_call(struct connection *connection, struct call *call)
{
	assert(!connection->closing);
	call->line = NULL;
	call->status = 0;
	call->sent = 0;
	call->answer.n = 0;
	call->answer_encoding = ENCODING_JSON;
	call->reason = CALL_OK;
	call->whole = call->ended = false;
	list_append(&connection->waiting, &call->link);
	connection->n_waiting++;
	changed(connection);
}

void connection_cancel(struct connection *connection, struct call *call)
{
	struct line *line = call->line;
	list_remove(&call->link);
	if (line) {
		line->n_calls--;
		line->ops->cancel(line, call);
		line_touch(line);
		call->line = NULL;
		changed(connection);
	} else if (!call->ended) {
		connection->n_waiting--;
	}
}

void connection_stall(struct connection *connection, bool stalled)
{
	connection->stalled = stalled;
	LIST_EACH (node, &connection->lines) {
		struct line *line = container_of(node, struct line, link);
		if (line->ready)
			wire_stall(&line->wire, stalled);
	}
}

uint64_t connection_bytes_in(const struct connection *connection)
{
	uint64_t sum = connection->bytes_in;
	LIST_EACH (node, (struct list *)(uintptr_t)&connection->lines)
		sum += container_of(node, struct line, link)->wire.bytes_in;
	return sum;
}

uint64_t connection_read_ns(const struct connection *connection) { return connection->read_ns; }
const char *connection_server(const struct connection *connection) { return connection->server; }
const char *connection_why(const struct connection *connection) { return connection->why; }
