/* page.c: see page.h. */
#include "server/page.h"

#include "penstock/writer.h"

void page_error(struct request *request, int http_status, const char *type, const char *text)
{
	struct buf body = {0};
	struct writer w;
	writer_init(&w, ENCODING_JSON, &body);
	write_map(&w);
	write_kv_str(&w, "__type", str_of(type));
	write_kv_str(&w, "message", str_of(text));
	write_map_end(&w);
	buf_put_char(&body, '\n');
	request_answer(request, http_status, PAGE_JSON, &body);
}
