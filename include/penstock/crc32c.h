/* crc32c.h: CRC-32C (Castagnoli), by the CPU's instruction where there is one, else by table. Pure. (CRC32 is zlib's.) */
#ifndef PENSTOCK_CRC32C_H
#define PENSTOCK_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc: 0 to begin, else the last result. crc32c(0, "123456789", 9) == 0xe3069283. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

#endif
