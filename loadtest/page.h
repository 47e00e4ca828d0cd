/* page.h: the pieces of the report's page, embedded from loadtest/page/. */
#ifndef PENSTOCK_LOADTEST_PAGE_H
#define PENSTOCK_LOADTEST_PAGE_H

#include "penstock/bytes.h"

/* template, style, script: ours; uplot, uplot_style, uplot_licence: the plot library's (uPlot, MIT). Any other name is not present. */
struct str page_piece(struct str name);

#endif
