/* slog.c: the server's own log, one write per line, so that lines of several threads (or processes on one pipe) do not mix.
 *
 * A line longer than the buffer is cut, and ends with "...". Control characters in a value would break the text format: they become '?'.
 * The JSON format is slog_json.c's. What a thread holds back is text already: each line has the time at which it was said.
 *
 * Thread: any; level and format are relaxed atomics. Failure: what cannot be written is lost; a server does not stop for its log. */
#include "penstock/slog.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/slog_json.h"
#include "penstock/bytes.h"

#define LINE_MAX_BYTES 2048 /* below PIPE_BUF (4096): a write to a pipe is one piece */

static atomic_int max_level = SLOG_INFO;
static atomic_int line_format = SLOG_TEXT;
static _Thread_local struct buf *held;

void slog_set_level(enum slog_level level) { atomic_store_explicit(&max_level, (int)level, memory_order_relaxed); }
void slog_set_format(enum slog_format format) { atomic_store_explicit(&line_format, (int)format, memory_order_relaxed); }

static void put_time(char out[32])
{
	struct timespec now;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(out, 24, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, 32 - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

static void write_line(const char *line, size_t n)
{
	ssize_t put;
	do
		put = write(STDERR_FILENO, line, n);
	while (put < 0 && errno == EINTR);
}

static size_t text_line(char *line, size_t room, const char *ts, const char *level, const char *event, const char *format, va_list args)
{
	size_t n = (size_t)snprintf(line, room, "%s %-5s %.64s", ts, level, event);
	if (format) {
		line[n++] = ' ';
		int more = vsnprintf(line + n, room - n, format, args);
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
	return n;
}

void slog(enum slog_level level, const char *event, const char *format, ...)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	if ((int)level > atomic_load_explicit(&max_level, memory_order_relaxed))
		return;
	int saved = errno; /* a log line must not change what its caller is about to look at */
	char line[LINE_MAX_BYTES], ts[32];
	size_t room = sizeof(line) - 1, n; /* for the newline */
	va_list args;
	put_time(ts);
	va_start(args, format);
	if (atomic_load_explicit(&line_format, memory_order_relaxed) == SLOG_JSON)
		n = slog_json(line, room, ts, names[level], event, format, args);
	else
		n = text_line(line, room, ts, names[level], event, format, args);
	va_end(args);
	line[n++] = '\n';
	if (held)
		buf_put(held, line, n);
	else
		write_line(line, n);
	errno = saved;
}

void slog_hold(struct buf *lines) { held = lines; }

void slog_say(const struct buf *lines)
{
	for (size_t at = 0, n; at < lines->n; at += n) {
		const uint8_t *end = memchr(lines->p + at, '\n', lines->n - at);
		n = (size_t)(end - (lines->p + at)) + 1;
		write_line((const char *)lines->p + at, n);
	}
}
