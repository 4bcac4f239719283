#include "io/log/crc32c.h"

/* Bit by bit: events are a few dozen bytes each, a table would be larger than all of them. */
uint32_t lk_crc32c(const void *data, size_t size) {
    const unsigned char *bytes = data;
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1u)));
    }
    return ~crc;
}

uint32_t lk_crc32c_masked(const void *data, size_t size) {
    uint32_t crc = lk_crc32c(data, size);
    return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}
