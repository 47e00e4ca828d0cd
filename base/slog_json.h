/* slog_json.h: a log line as a JSON object. Private to base/slog*.c. */
#ifndef BASE_SLOG_JSON_H
#define BASE_SLOG_JSON_H

#include <stdarg.h>
#include <stddef.h>

/* Writes the whole object, at most `room` bytes (room >= 256) and without newline; returns its length. What has no room is cut, or left
 * out: the object is closed in any case. */
size_t slog_json(char *line, size_t room, const char *ts, const char *level, const char *event, const char *format, va_list args);

#endif
