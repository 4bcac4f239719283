/* CRC-32C (Castagnoli), and TFRecord's masked form. */
#ifndef LK_IO_LOG_CRC32C_H
#define LK_IO_LOG_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Source: RFC 3720, appendix B.4 (reflected polynomial 0x82F63B78). Pure. */
uint32_t lk_crc32c(const void *data, size_t size);
/* Rotated right by 15 bits and offset. Source: TensorFlow, record_writer. Pure. */
uint32_t lk_crc32c_masked(const void *data, size_t size);

#endif
