#include "io/model/base64.h"

#include <string.h>

#include "core/memory.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

lk_status lk_base64_encode(char **text, const void *data, size_t size, lk_error *err) {
    const unsigned char *bytes = data;
    LK_RETURN_IF(LK_NEW(text, (size + 2) / 3 * 4 + 1, "a text in base64", err));
    char *out = *text;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        unsigned word = (unsigned)bytes[i] << 16;
        if (left > 1) word |= (unsigned)bytes[i + 1] << 8;
        if (left > 2) word |= bytes[i + 2];
        *out++ = ALPHABET[word >> 18];
        *out++ = ALPHABET[word >> 12 & 63];
        *out++ = left > 1 ? ALPHABET[word >> 6 & 63] : '=';
        *out++ = left > 2 ? ALPHABET[word & 63] : '=';
    }
    return LK_OK;
}

/* Value of a character, or 64. */
static unsigned digit(char c) {
    if (c >= 'A' && c <= 'Z') return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z') return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9') return (unsigned)(c - '0') + 52;
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

bool lk_base64_check_size(const char *text, size_t size) { return strlen(text) == (size + 2) / 3 * 4; }

lk_status lk_base64_decode(void *data, size_t size, const char *text, lk_error *err) {
    unsigned char *bytes = data;
    if (!lk_base64_check_size(text, size))
        return lk_fail(err, LK_ERR_DATA, "a text in base64 has %zu characters instead of %zu", strlen(text),
                       (size + 2) / 3 * 4);
    for (size_t i = 0; i < size; i += 3, text += 4) {
        size_t left = size - i < 3 ? size - i : 3;
        unsigned word = 0;
        for (size_t k = 0; k < 4; k++) {
            bool padding = k > left;
            unsigned value = padding ? (text[k] == '=' ? 0 : 64) : digit(text[k]);
            if (value > 63) return lk_fail(err, LK_ERR_DATA, "a text in base64 holds a character outside its alphabet");
            word = word << 6 | value;
        }
        for (size_t k = 0; k < left; k++) bytes[i + k] = (unsigned char)(word >> (16 - 8 * k));
    }
    return LK_OK;
}
