/* slog.h: the server's own log: one line an event, to stderr; as text (logfmt)
 *
 *   2026-11-24T22:04:58.123Z info  stream_opened stream=orders shards=4
 *
 * or as one JSON object a line, with the pairs as members:
 *
 *   {"ts":"2026-11-24T22:04:58.123Z","level":"info","event":"stream_opened","stream":"orders","shards":4}
 *
 * Both come from the same call. What stands for a value in `format` is cut out by its blanks and quotes: a number conversion alone, such
 * as %u, is a JSON number, everything else a string. No pair may be called ts, level or event.
 *
 * Any thread; one write per line. Never secrets, bodies or Authorization headers. */
#ifndef PENSTOCK_SLOG_H
#define PENSTOCK_SLOG_H

enum slog_level { SLOG_ERROR, SLOG_WARN, SLOG_INFO, SLOG_DEBUG };
enum slog_format { SLOG_TEXT, SLOG_JSON };

void slog_set_level(enum slog_level level);
void slog_set_format(enum slog_format format); /* before there are threads */
/* event: a word; format: the key=value pairs, or NULL; a value with blanks in it stands in quotes. */
void slog(enum slog_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Work that is done beside other work of its kind, and whose lines must stand together: the calling thread's lines go to `lines` until it
 * is given NULL; whoever knows their turn says them. */
struct buf;
void slog_hold(struct buf *lines);
void slog_say(const struct buf *lines);

#endif
