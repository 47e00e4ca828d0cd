/* peer_redis.c: Redis streams under ./dev bench peers, with hiredis: each consumer a connection that waits in XREAD BLOCK 0 and, when it
 * has an answer, waits behind the last entry of it; one connection puts, with XADD.
 *
 * hiredis writes and reads its sockets by this file's loop, and the time of receipt is that of the read: as penstock-load takes it. */
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/peer.h"
#include "penstock/bytes.h"

struct consumer {
	redisContext *connection;
	char last[64]; /* the entry behind which it waits */
};

struct redis_peer {
	struct consumer *consumers;
	redisContext *producer; /* its tag is the number of consumers */
};

static redisContext *connect_to(int port)
{
	redisContext *connection = redisConnect("127.0.0.1", port);
	if (!connection || connection->err)
		peer_die("port %d: %s", port, connection ? connection->errstr : "no memory");
	/* Connected while blocking, used without. */
	fcntl(connection->fd, F_SETFL, fcntl(connection->fd, F_GETFL) | O_NONBLOCK);
	connection->flags &= ~REDIS_BLOCK;
	return connection;
}

/* A command is far smaller than the socket's buffer: it is written at once, or the server stands still. */
static void write_out(redisContext *connection)
{
	for (int done = 0; !done;)
		if (redisBufferWrite(connection, &done) != REDIS_OK)
			peer_die("write: %s", connection->errstr);
}

static void wait_for_more(const struct peer *peer, struct consumer *consumer)
{
	if (redisAppendCommand(consumer->connection, "XREAD BLOCK 0 STREAMS %s %s", peer->options.topic, consumer->last) != REDIS_OK)
		peer_die("XREAD: %s", consumer->connection->errstr);
	write_out(consumer->connection);
}

static const redisReply *element(const redisReply *reply, size_t i)
{
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements <= i)
		peer_die("an answer of another shape%s%s", reply->type == REDIS_REPLY_ERROR ? ": " : "",
			 reply->type == REDIS_REPLY_ERROR ? reply->str : "");
	return reply->element[i];
}

/* [[stream, [[id, ["d", data]], ...]]] */
static void take_entries(struct peer *peer, unsigned i, const redisReply *reply, uint64_t at_ns)
{
	struct redis_peer *redis = peer->own;
	const redisReply *entries = element(element(reply, 0), 1);
	for (size_t k = 0; k < entries->elements; k++) {
		const redisReply *entry = element(entries, k), *data = element(element(entry, 1), 1);
		peer_received(peer, i, data->str, data->len, at_ns);
		snprintf(redis->consumers[i].last, sizeof redis->consumers[i].last, "%s", element(entry, 0)->str);
	}
}

static void on_ready(struct peer *peer, unsigned tag)
{
	struct redis_peer *redis = peer->own;
	bool producer = tag == peer->options.consumers;
	redisContext *connection = producer ? redis->producer : redis->consumers[tag].connection;
	redisReply *reply;
	int got = redisBufferRead(connection);
	uint64_t at_ns = peer_now_ns();
	while (got == REDIS_OK && (got = redisGetReplyFromReader(connection, (void **)&reply)) == REDIS_OK && reply) {
		if (producer && reply->type != REDIS_REPLY_STRING)
			peer_die("XADD: %s", reply->str ? reply->str : "an answer of another shape");
		if (!producer) {
			take_entries(peer, tag, reply, at_ns);
			wait_for_more(peer, &redis->consumers[tag]);
		}
		freeReplyObject(reply);
	}
	if (got != REDIS_OK)
		peer_die("read: %s", connection->errstr);
}

static void prepare(struct peer *peer, const void *record, size_t n)
{
	struct redis_peer *redis = peer->own;
	if (redisAppendCommand(redis->producer, "XADD %s * d %b", peer->options.topic, record, n) != REDIS_OK)
		peer_die("XADD: %s", redis->producer->errstr);
}

static void send_it(struct peer *peer)
{
	struct redis_peer *redis = peer->own;
	write_out(redis->producer);
}

int main(int argc, char **argv)
{
	static const struct peer_ops ops = {.prepare = prepare, .send = send_it, .on_ready = on_ready};
	struct peer_options options;
	struct redis_peer redis;
	struct peer peer;
	peer_options_parse(&options, argc, argv);
	peer_init(&peer, &options, &ops, &redis);
	redis.consumers = xcalloc(options.consumers, sizeof *redis.consumers);
	for (unsigned i = 0; i < options.consumers; i++) {
		redis.consumers[i] = (struct consumer){.connection = connect_to(options.port), .last = "0"};
		wait_for_more(&peer, &redis.consumers[i]);
		peer_watch(&peer, redis.consumers[i].connection->fd, i);
	}
	redis.producer = connect_to(options.port);
	peer_watch(&peer, redis.producer->fd, options.consumers);
	peer_run(&peer);
	for (unsigned i = 0; i < options.consumers; i++)
		redisFree(redis.consumers[i].connection);
	redisFree(redis.producer);
	free(redis.consumers);
	peer_fini(&peer);
	return 0;
}
