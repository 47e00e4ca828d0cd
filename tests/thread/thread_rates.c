/* thread_rates.c: several workers take of the same limits at once: together they get what the limit says, never more and never less. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "penstock/api.h"
#include "server/rates.h"

#define THREADS 4
#define STREAMS 64 /* as many pairs as have places for sure: none is evicted */
#define NOW UINT64_C(1000000000)

static const struct limits aws = LIMITS_AWS;
static struct rates *rates;
static atomic_int account, streams[STREAMS + 1];

static void *run(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2000; i++) {
		uint64_t stream = 1 + (uint64_t)i % STREAMS;
		account += rates_take(rates, OP_DESCRIBE_STREAM, stream, NOW);
		streams[stream] += rates_take(rates, OP_LIST_STREAM_CONSUMERS, stream, NOW);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	int passed = 0, failed = 0;
	rates = rates_new(&aws);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, run, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	account == aws.describe_stream_calls ? passed++ : failed++;
	for (int i = 1; i <= STREAMS; i++)
		streams[i] == aws.list_consumers_calls ? passed++ : failed++;
	rates_free(rates);
	printf("thread_rates: %d passed, %d failed\n", passed, failed);
	return failed != 0;
}
