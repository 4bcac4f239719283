#include <inttypes.h>
#include <string.h>

#include "core/text.h"
#include "train/metrics.h"

enum { MIN_NAME = 5, MAX_NAME = 32, MAX_CLASSES = 20, MAX_PAIRS = 20 };

static int name_width(const char *const *names, int classes) {
    int width = MIN_NAME;
    for (int k = 0; k < classes; k++) {
        int own = lk_text_width(names[k]);
        width = own > width ? own : width;
    }
    return width > MAX_NAME ? MAX_NAME : width;
}

static void print_name(const char *name, int width, FILE *out) {
    char text[MAX_NAME * 4 + 8];
    fputs(lk_text_fit(name, width, text, sizeof text), out);
}

/* P3: what absent classes mean for each mean. */
static void print_rule(const lk_metrics *m, const char *const *names, FILE *out) {
    int absent = 0;
    for (int k = 0; k < m->classes; k++) absent += m->per_class[k].support + m->per_class[k].predicted == 0;
    fputs("Precision, recall and F1 are 0 where nothing was predicted or present.", out);
    if (absent == 0) {
        fputs(" Every class occurs.\n", out);
        return;
    }
    fprintf(out,
            "\nClasses that occur neither as label nor as prediction are left out of macro F1; with them as 0 it is "
            "%.4f.\nThey are %d of %d:",
            m->macro_f1_all, absent, m->classes);
    for (int k = 0, listed = 0; k < m->classes; k++) {
        if (m->per_class[k].support + m->per_class[k].predicted > 0) continue;
        if (listed == MAX_PAIRS) {
            fputs(", ...", out);
            break;
        }
        char text[MAX_NAME * 4 + 8];
        int width = lk_text_width(names[k]);
        fprintf(out, "%s %s", listed++ == 0 ? "" : ",",
                lk_text_fit(names[k], width > MAX_NAME ? MAX_NAME : width, text, sizeof text));
    }
    fputc('\n', out);
}

void lk_metrics_print(const lk_metrics *metrics, const char *const *class_names, FILE *out) {
    int width = name_width(class_names, metrics->classes);
    print_name("class", width, out);
    fputs("  support  precision  recall      F1\n", out);
    for (int k = 0; k < metrics->classes; k++) {
        const lk_class_metrics *m = &metrics->per_class[k];
        print_name(class_names[k], width, out);
        fprintf(out, "  %7" PRId64 "     %.4f  %.4f  %.4f\n", m->support, m->precision, m->recall, m->f1);
    }
    fprintf(out, "\nsamples %" PRId64 "  loss %.4f  accuracy %.4f  balanced accuracy %.4f  macro F1 %.4f\n",
            metrics->samples, metrics->loss, metrics->accuracy, metrics->balanced_accuracy, metrics->macro_f1);
    print_rule(metrics, class_names, out);
}

static int digits(int64_t value) {
    int count = 1;
    for (; value >= 10; value /= 10) count++;
    return count;
}

/* With many classes a matrix fits no terminal: the largest confusions instead, largest first, then by row. */
static void print_largest(const int64_t *confusion, const char *const *names, int classes, FILE *out) {
    int64_t above = INT64_MAX, after = -1; /* value and index of the pair printed last */
    int64_t cells = (int64_t)classes * classes;
    fprintf(out, "largest confusions of %d classes (true -> predicted)\n", classes);
    for (int printed = 0; printed < MAX_PAIRS; printed++) {
        int64_t best = -1;
        for (int64_t i = 0; i < cells; i++) {
            bool is_next = confusion[i] < above || (confusion[i] == above && i > after);
            if (i % (classes + 1) == 0 || confusion[i] == 0 || !is_next) continue;
            if (best < 0 || confusion[i] > confusion[best]) best = i;
        }
        if (best < 0) break;
        above = confusion[best];
        after = best;
        char row[MAX_NAME * 4 + 8], column[MAX_NAME * 4 + 8];
        lk_text_fit(names[best / classes], MAX_NAME, row, sizeof row);
        lk_text_fit(names[best % classes], MAX_NAME, column, sizeof column);
        fprintf(out, "%8" PRId64 "  %s -> %s\n", above, row, column);
    }
}

void lk_confusion_print(const int64_t *confusion, const char *const *class_names, int classes, FILE *out) {
    if (classes > MAX_CLASSES) {
        print_largest(confusion, class_names, classes, out);
        return;
    }
    int64_t largest = classes - 1;
    for (int64_t i = 0; i < (int64_t)classes * classes; i++) largest = confusion[i] > largest ? confusion[i] : largest;
    int cell = digits(largest), width = name_width(class_names, classes);
    fprintf(out, "confusion matrix (rows: true, columns: predicted)\n   %*s", width, "");
    for (int k = 0; k < classes; k++) fprintf(out, " %*d", cell, k);
    fputc('\n', out);
    for (int row = 0; row < classes; row++) {
        fprintf(out, "%2d ", row);
        print_name(class_names[row], width, out);
        for (int k = 0; k < classes; k++) fprintf(out, " %*" PRId64, cell, confusion[(int64_t)row * classes + k]);
        fputc('\n', out);
    }
}
