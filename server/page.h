/* page.h: what the pages for people and probes (admin.c) share. Thread: the request's worker. */
#ifndef PENSTOCK_PAGE_H
#define PENSTOCK_PAGE_H

#include "server/request.h"

#define PAGE_JSON "application/json"

/* Answers {"__type": type, "message": text}. */
void page_error(struct request *request, int http_status, const char *type, const char *text);

#endif
