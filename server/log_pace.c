/* log_pace.c: a table of what was logged within the last minute, searched in order: it is only
 * reached by requests that are refused. Two subjects of one hash share a line. */
#include "server/log_pace.h"

static uint64_t add(uint64_t hash, const void *p, size_t n)
{
	const uint8_t *bytes = p;
	for (size_t i = 0; i < n; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
	return hash;
}

bool log_pace_take(struct log_pace *pace, const char *event, struct str subject, uint64_t now_ns)
{
	uint64_t hash = add(add(UINT64_C(0xcbf29ce484222325), event, strlen(event) + 1), subject.p, subject.n);
	int free_place = -1;
	bool found = false;
	pthread_mutex_lock(&pace->lock);
	for (int i = 0; i < LOG_PACE_PLACES && !found; i++) {
		if (pace->places[i].until_ns <= now_ns)
			free_place = i;
		else
			found = pace->places[i].subject == hash;
	}
	if (!found && free_place >= 0) {
		pace->places[free_place].subject = hash;
		pace->places[free_place].until_ns = now_ns + LOG_PACE_NS;
	}
	pthread_mutex_unlock(&pace->lock);
	return !found && free_place >= 0;
}
