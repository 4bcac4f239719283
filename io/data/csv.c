#include "io/data/csv.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "core/options.h"

enum { FIELDS_MAX = 4096, FIELD_BYTES_MAX = 65536 };

struct lk_csv {
    char *path;
    FILE *file;
    int64_t line, row_line; /* being read; where the row began */
    char *text;             /* the row's fields, each zero-terminated */
    size_t text_capacity, text_used;
    size_t starts[FIELDS_MAX]; /* of each field in text */
    int fields;
    char **header; /* columns */
    int columns;
};

static lk_status put(lk_csv *csv, int c, lk_error *err) {
    if (csv->text_used - csv->starts[csv->fields] >= FIELD_BYTES_MAX)
        return lk_fail(err, LK_ERR_DATA, "%s line %lld: a field is longer than %d bytes: is a quote missing?",
                       csv->path, (long long)csv->row_line, FIELD_BYTES_MAX);
    LK_RETURN_IF(lk_grow((void **)&csv->text, &csv->text_capacity, csv->text_used + 1, 1, "a row", err));
    csv->text[csv->text_used++] = (char)c;
    return LK_OK;
}

static lk_status end_field(lk_csv *csv, lk_error *err) {
    LK_RETURN_IF(lk_grow((void **)&csv->text, &csv->text_capacity, csv->text_used + 1, 1, "a row", err));
    csv->text[csv->text_used++] = '\0';
    if (++csv->fields == FIELDS_MAX)
        return lk_fail(err, LK_ERR_DATA, "%s line %lld has more than %d fields", csv->path, (long long)csv->row_line,
                       FIELDS_MAX - 1);
    csv->starts[csv->fields] = csv->text_used;
    return LK_OK;
}

static lk_status read_char(lk_csv *csv, int *c, lk_error *err) {
    *c = getc_unlocked(csv->file);
    if (*c == EOF && ferror(csv->file)) return lk_fail_errno(err, "read", csv->path);
    if (*c == '\0')
        return lk_fail(err, LK_ERR_DATA, "%s line %lld: a zero byte: the file is not text in UTF-8", csv->path,
                       (long long)csv->line);
    if (*c == '\n') csv->line++;
    return LK_OK;
}

/* The rest of a quoted field. *after: the character that follows the closing quote. */
static lk_status read_quoted(lk_csv *csv, int *after, lk_error *err) {
    for (;;) {
        LK_RETURN_IF(read_char(csv, after, err));
        if (*after == EOF)
            return lk_fail(err, LK_ERR_DATA, "%s: a quote that opens in the row of line %lld is never closed",
                           csv->path, (long long)csv->row_line);
        if (*after == '"') {
            LK_RETURN_IF(read_char(csv, after, err));
            if (*after != '"') break;
        }
        LK_RETURN_IF(put(csv, *after, err));
    }
    if (*after == ',' || *after == '\n' || *after == '\r' || *after == EOF) return LK_OK;
    return lk_fail(err, LK_ERR_DATA, "%s line %lld: text follows a closing quote: write quotes within a field twice",
                   csv->path, (long long)csv->line);
}

/* One field; *end: what ended it, ',', '\n' or EOF. */
static lk_status read_field(lk_csv *csv, int *end, lk_error *err) {
    LK_RETURN_IF(read_char(csv, end, err));
    if (*end == '"') {
        LK_RETURN_IF(read_quoted(csv, end, err));
    } else {
        while (*end != ',' && *end != '\n' && *end != '\r' && *end != EOF) {
            if (*end == '"')
                return lk_fail(err, LK_ERR_DATA, "%s line %lld: a quote within a field that does not begin with one",
                               csv->path, (long long)csv->line);
            LK_RETURN_IF(put(csv, *end, err));
            LK_RETURN_IF(read_char(csv, end, err));
        }
    }
    if (*end == '\r') {
        LK_RETURN_IF(read_char(csv, end, err));
        if (*end != '\n' && *end != EOF)
            return lk_fail(err, LK_ERR_DATA, "%s line %lld: a carriage return without a line feed", csv->path,
                           (long long)csv->line);
    }
    return end_field(csv, err);
}

/* Reads one record, skipping empty lines. *more false: the end. */
static lk_status read_record(lk_csv *csv, bool *more, lk_error *err) {
    for (;;) {
        int end = ',';
        csv->row_line = csv->line;
        csv->text_used = 0;
        csv->fields = 0;
        csv->starts[0] = 0;
        while (end == ',') LK_RETURN_IF(read_field(csv, &end, err));
        *more = true;
        bool empty = csv->fields == 1 && csv->text[0] == '\0';
        if (!empty) return LK_OK;
        if (end == EOF) {
            *more = false;
            return LK_OK;
        }
    }
}

static lk_status take_header(lk_csv *csv, lk_error *err) {
    bool more = false;
    LK_RETURN_IF(read_record(csv, &more, err));
    if (!more) return lk_fail(err, LK_ERR_DATA, "%s is empty: its first line names the columns", csv->path);
    LK_RETURN_IF(LK_NEW(&csv->header, csv->fields, "column names", err));
    for (int i = 0; i < csv->fields; i++) {
        const char *name = lk_csv_field(csv, i);
        for (int j = 0; j < i; j++)
            if (strcmp(csv->header[j], name) == 0)
                return lk_fail(err, LK_ERR_DATA, "%s has two columns named \"%.80s\": rename one", csv->path, name);
        LK_RETURN_IF(lk_strdup(&csv->header[i], name, err));
        csv->columns = i + 1;
    }
    return LK_OK;
}

static void skip_byte_order_mark(FILE *file) {
    static const unsigned char mark[3] = {0xef, 0xbb, 0xbf};
    unsigned char head[3];
    if (fread(head, 1, 3, file) != 3 || memcmp(head, mark, 3) != 0) rewind(file);
}

lk_status lk_csv_open(lk_csv **out, const char *path, lk_error *err) {
    lk_status status = LK_OK;
    lk_csv *csv = NULL;
    struct stat info;
    *out = NULL;
    LK_TRY(LK_NEW(&csv, 1, "a CSV reader", err));
    csv->line = 1;
    LK_TRY(lk_strdup(&csv->path, path, err));
    csv->file = fopen(path, "rbe");
    if (csv->file == NULL) LK_TRY(lk_fail_errno(err, "open", path));
    if (fstat(fileno(csv->file), &info) != 0 || !S_ISREG(info.st_mode))
        LK_TRY(lk_fail(err, LK_ERR_DATA, "%s is not a file", path));
    skip_byte_order_mark(csv->file);
    LK_TRY(take_header(csv, err));
    *out = csv;
    csv = NULL;
out:
    lk_csv_free(csv);
    return status;
}

void lk_csv_free(lk_csv *csv) {
    if (csv == NULL) return;
    if (csv->file != NULL) fclose(csv->file);
    for (int i = 0; i < csv->columns; i++) lk_free(csv->header[i]);
    lk_free(csv->header);
    lk_free(csv->text);
    lk_free(csv->path);
    lk_free(csv);
}

lk_status lk_csv_find(const lk_csv *csv, const char *name, int *column, lk_error *err) {
    for (*column = 0; *column < csv->columns; ++*column)
        if (strcmp(csv->header[*column], name) == 0) return LK_OK;
    char known[512] = "";
    for (int i = 0; i < csv->columns; i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i == 0 ? "" : ", ", csv->header[i]);
    }
    return lk_fail(err, LK_ERR_DATA, "%s has no column \"%.80s\": its columns are %s", csv->path, name, known);
}

lk_status lk_csv_next(lk_csv *csv, bool *more, lk_error *err) {
    LK_RETURN_IF(read_record(csv, more, err));
    if (*more && csv->fields != csv->columns)
        return lk_fail(err, LK_ERR_DATA, "%s line %lld has %d fields, but the header has %d", csv->path,
                       (long long)csv->row_line, csv->fields, csv->columns);
    return LK_OK;
}

const char *lk_csv_field(const lk_csv *csv, int column) { return csv->text + csv->starts[column]; }

int64_t lk_csv_line(const lk_csv *csv) { return csv->row_line; }
