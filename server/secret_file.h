/* secret_file.h: files that only their owner may read: credentials, tokens. Any thread. */
#ifndef PENSTOCK_SECRET_FILE_H
#define PENSTOCK_SECRET_FILE_H

#include "penstock/bytes.h"
#include "penstock/status.h"

/* Reads all of an ordinary file of at most 4 MiB whose mode gives rights to its owner alone.
 * option: "--credentials", for the text. STATUS_IO: *why, which the caller frees, names option, file
 * and flaw. The caller ends with secret_file_wipe in any case. */
enum status secret_file_read(const char *option, const char *path, struct buf *text, char **why);
/* Overwrites what was read, and frees it. */
void secret_file_wipe(struct buf *text);

#endif
