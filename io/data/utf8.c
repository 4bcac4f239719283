#include "io/data/utf8.h"

#include <stdint.h>

/* Bytes of the valid character at `p`, or 0. Zero-terminated text: a missing byte is the terminator, which fits no
 * continuation. */
static int character_length(const uint8_t *p) {
    if (p[0] < 0x20 || p[0] == 0x7f) return 0;
    if (p[0] < 0x80) return 1;
    int length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    uint8_t low = 0x80, high = 0xbf;
    if (p[0] < 0xc2 || p[0] > 0xf4) return 0;
    if (p[0] == 0xe0) low = 0xa0;  /* overlong */
    if (p[0] == 0xed) high = 0x9f; /* surrogates */
    if (p[0] == 0xf0) low = 0x90;  /* overlong */
    if (p[0] == 0xf4) high = 0x8f; /* above U+10FFFF */
    for (int i = 1; i < length; i++) {
        if (p[i] < low || p[i] > high) return 0;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

bool lk_utf8_is_valid(const char *text) {
    for (const uint8_t *p = (const uint8_t *)text; *p != 0;) {
        int length = character_length(p);
        if (length == 0) return false;
        p += length;
    }
    return true;
}

void lk_utf8_clean(char *text) {
    for (uint8_t *p = (uint8_t *)text; *p != 0;) {
        int length = character_length(p);
        if (length == 0) *p = '?';
        p += length == 0 ? 1 : length;
    }
}
