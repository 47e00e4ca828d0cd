/* slog.c: the server's own log, one write per line, so that lines of several threads (or processes on one pipe) do not mix.
 *
 * A line longer than the buffer is cut, and ends with "...". Control characters in a value would break the format: they become '?'.
 *
 * Thread: any; the level is a relaxed atomic. Failure: what cannot be written is lost; a server does not stop for its log. */
#include "penstock/slog.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048 /* below PIPE_BUF (4096): a write to a pipe is one piece */

static atomic_int max_level = SLOG_INFO;

void slog_set_level(enum slog_level level) { atomic_store_explicit(&max_level, (int)level, memory_order_relaxed); }

static size_t put_prefix(char *line, size_t room, enum slog_level level, const char *event)
{
	static const char *const names[] = {"error", "warn ", "info ", "debug"};
	struct timespec now;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(line, room, "%Y-%m-%dT%H:%M:%S", &tm);
	int more = snprintf(line + n, room - n, ".%03dZ %s %.64s", (int)(now.tv_nsec / 1000000), names[level], event);
	return n + (more > 0 ? (size_t)more : 0);
}

static void write_line(const char *line, size_t n)
{
	ssize_t put;
	do
		put = write(STDERR_FILENO, line, n);
	while (put < 0 && errno == EINTR);
}

void slog(enum slog_level level, const char *event, const char *format, ...)
{
	if ((int)level > atomic_load_explicit(&max_level, memory_order_relaxed))
		return;
	int saved = errno; /* a log line must not change what its caller is about to look at */
	char line[LINE_MAX_BYTES];
	size_t room = sizeof(line) - 1; /* for the newline */
	size_t n = put_prefix(line, room, level, event);
	if (format) {
		line[n++] = ' ';
		va_list args;
		va_start(args, format);
		int more = vsnprintf(line + n, room - n, format, args);
		va_end(args);
		if (more > 0 && (size_t)more < room - n) {
			n += (size_t)more;
		} else if (more > 0) {
			n = room;
			memcpy(line + n - 3, "...", 3);
		}
	}
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[n++] = '\n';
	write_line(line, n);
	errno = saved;
}
