/* slog.h: the server's own log: one line an event, to stderr, logfmt:
 *
 *   2026-11-24T22:04:58.123Z info  stream_opened stream=orders shards=4
 *
 * Any thread; one write per line. Never secrets, bodies or Authorization headers. */
#ifndef PENSTOCK_SLOG_H
#define PENSTOCK_SLOG_H

enum slog_level { SLOG_ERROR, SLOG_WARN, SLOG_INFO, SLOG_DEBUG };

void slog_set_level(enum slog_level level);
/* event: a word; format: the key=value pairs, or NULL. */
void slog(enum slog_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
