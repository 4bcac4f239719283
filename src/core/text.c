#include "core/text.h"

#include <locale.h>
#include <stdbool.h>
#include <string.h>
#include <wchar.h>

/* One character at `text`: its bytes, and the columns it takes; -1 where it has to be shown as '?'. */
static size_t next_character(const char *text, mbstate_t *state, int *width) {
    wchar_t wide;
    size_t bytes = mbrtowc(&wide, text, strlen(text), state);
    if (bytes == (size_t)-1 || bytes == (size_t)-2 || bytes == 0) {
        memset(state, 0, sizeof *state);
        *width = -1;
        return 1;
    }
    *width = wcwidth(wide);
    return bytes;
}

/* The calling thread decodes UTF-8 until leave_utf8, whatever the user's locale; nothing else changes. */
static locale_t enter_utf8(locale_t *before) {
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    *before = utf8 == (locale_t)0 ? (locale_t)0 : uselocale(utf8);
    return utf8;
}

static void leave_utf8(locale_t utf8, locale_t before) {
    if (utf8 == (locale_t)0) return;
    uselocale(before);
    freelocale(utf8);
}

int lk_text_width(const char *text) {
    locale_t before, utf8 = enter_utf8(&before);
    mbstate_t state = {0};
    int total = 0;
    while (*text != '\0') {
        int width;
        text += next_character(text, &state, &width);
        total += width < 0 ? 1 : width;
    }
    leave_utf8(utf8, before);
    return total;
}

char *lk_text_fit(const char *text, int width, char *out, size_t size) {
    bool cut = lk_text_width(text) > width;
    int room = cut && width >= 3 ? width - 3 : width, used = 0;
    size_t length = 0;
    locale_t before, utf8 = enter_utf8(&before);
    mbstate_t state = {0};
    while (*text != '\0') {
        int columns;
        size_t bytes = next_character(text, &state, &columns);
        int shown = columns < 0 ? 1 : columns;
        if (used + shown > room || length + bytes + (size_t)(width - used) + 1 >= size) break;
        memcpy(out + length, columns < 0 ? "?" : text, columns < 0 ? 1 : bytes);
        length += columns < 0 ? 1 : bytes;
        used += shown;
        text += bytes;
    }
    leave_utf8(utf8, before);
    for (int dots = 0; cut && width >= 3 && dots < 3; dots++, used++) out[length++] = '.';
    for (; used < width && length + 1 < size; used++) out[length++] = ' ';
    out[length] = '\0';
    return out;
}

void lk_text_write_csv(const char *text, FILE *out) {
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"') fputc('"', out);
        fputc(*p, out);
    }
    fputc('"', out);
}
