/* secret_file.c: see secret_file.h.
 *
 * A file that grows meanwhile is cut where it ended; one that shrinks is read to its end. */
#include "server/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX ((size_t)4 << 20) /* some 20,000 principals */

static enum status bad_file(const char *option, const char *path, const char *flaw, char **why)
{
	*why = xasprintf("%s %s: %s", option, path, flaw);
	return STATUS_IO;
}

/* Others could read the secrets, or add some of their own. */
static enum status check_file(int fd, const char *option, const char *path, size_t *size, char **why)
{
	struct stat stat;
	if (fstat(fd, &stat) != 0)
		return bad_file(option, path, strerror(errno), why);
	if (!S_ISREG(stat.st_mode))
		return bad_file(option, path, "is no ordinary file", why);
	if (stat.st_mode & (S_IRWXG | S_IRWXO)) {
		*why = xasprintf("%s %s: its mode is %04o, others than its owner can get at it; chmod 600 %s", option, path,
				 stat.st_mode & 07777u, path);
		return STATUS_IO;
	}
	if ((size_t)stat.st_size > FILE_MAX)
		return bad_file(option, path, "is larger than 4 MiB", why);
	*size = (size_t)stat.st_size;
	return STATUS_OK;
}

enum status secret_file_read(const char *option, const char *path, struct buf *text, char **why)
{
	size_t size = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return bad_file(option, path, strerror(errno), why);
	enum status status = check_file(fd, option, path, &size, why);
	ssize_t n = 1;
	buf_reserve(text, size);
	while (!status && text->n < size && n > 0) {
		n = read(fd, text->p + text->n, size - text->n);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n < 0)
			status = bad_file(option, path, strerror(errno), why);
		else
			text->n += (size_t)n;
	}
	close(fd);
	return status;
}

void secret_file_wipe(struct buf *text)
{
	if (text->p)
		OPENSSL_cleanse(text->p, text->cap);
	buf_free(text);
}
