#include <math.h>

#include "report/scan_tables.h"

enum { EXAMPLES = 5 };

static int64_t count_absent(const lk_scan *scan) {
    int64_t count = 0;
    for (int k = 0; k < scan->source->class_count; k++)
        for (int s = 0; s < LK_SPLIT_COUNT; s++) count += scan->classes[k].absent[s];
    return count;
}

int64_t lk_scan_report_findings(const lk_scan_report *report) {
    const lk_scan *s = report->scan;
    return (int64_t)(s->unreadable_count + s->group_count + s->blank_count + s->grey_count + s->size_count +
                     s->aspect_count) +
           count_absent(s) + lk_scan_is_imbalanced(s) + (report->labels == NULL ? 0 : report->labels->count);
}

/* "  - " or another start and the image's name; what could steer a terminal becomes '?'. */
static void begin_image(const lk_scan *scan, const char *start, int64_t image, FILE *out) {
    fputs(start, out);
    for (const char *at = lk_scan_source_name(scan->source, image); *at != '\0'; at++)
        fputc((unsigned char)*at < 0x20 || *at == 0x7f ? '?' : *at, out);
}

static const char *class_of(const lk_scan *scan, int64_t image) {
    return lk_scan_source_class(scan->source, lk_scan_source_label(scan->source, image));
}

static const char *split_of(const lk_scan *scan, int64_t image) {
    return lk_split_name(lk_scan_source_split(scan->source, image));
}

/* "... and 12 more", where there are. */
static void print_rest(size_t count, FILE *out) {
    if (count > EXAMPLES) fprintf(out, "  ... and %zu more\n", count - EXAMPLES);
}

static void print_group(const lk_scan *s, const lk_scan_group *group, FILE *out) {
    for (int m = 0; m < group->count && m < EXAMPLES; m++) {
        const lk_scan_member *member = &s->members[group->first + m];
        begin_image(s, m == 0 ? "  - " : "    ", member->image, out);
        fprintf(out, " [%s, %s]", split_of(s, member->image), class_of(s, member->image));
        if (member->match == LK_MATCH_NEAR)
            fprintf(out, " near, correlation %.4f\n", member->similarity);
        else
            fprintf(out, " %s\n", lk_scan_match_name(member->match));
    }
    if (group->count > EXAMPLES) fprintf(out, "    ... and %d more in this group\n", group->count - EXAMPLES);
}

static void print_groups(const lk_scan *s, FILE *out) {
    size_t exact = 0, across = 0, labels = 0;
    for (size_t g = 0; g < s->group_count; g++) {
        exact += s->groups[g].match != LK_MATCH_NEAR;
        across += s->groups[g].across_splits;
        labels += s->groups[g].labels_differ;
    }
    fprintf(out,
            "duplicates       %zu group%s of %zu images (%zu exact, %zu near); %zu across splits, %zu with different "
            "labels\n",
            s->group_count, s->group_count == 1 ? "" : "s", s->member_count, exact, s->group_count - exact, across,
            labels);
    /* Those that spoil scores come first. */
    size_t shown = 0;
    for (int grave = 1; grave >= 0; grave--)
        for (size_t g = 0; g < s->group_count && shown < EXAMPLES; g++) {
            const lk_scan_group *group = &s->groups[g];
            if ((group->across_splits || group->labels_differ) != (grave == 1)) continue;
            shown++;
            print_group(s, group, out);
        }
    print_rest(s->group_count, out);
}

static void print_images(const lk_scan *s, const char *title, const int32_t *images, size_t count, FILE *out) {
    fprintf(out, "%-16s %zu\n", title, count);
    for (size_t i = 0; i < count && i < EXAMPLES; i++) {
        begin_image(s, "  - ", images[i], out);
        fprintf(out, " [%s, %s]\n", split_of(s, images[i]), class_of(s, images[i]));
    }
    print_rest(count, out);
}

static void print_outliers(const lk_scan *s, const char *title, const lk_scan_outlier *list, size_t count,
                           const char *median, FILE *out) {
    fprintf(out, "%-16s %zu (median %s)\n", title, count, median);
    for (size_t i = 0; i < count && i < EXAMPLES; i++) {
        const lk_fingerprint *f = &s->prints[list[i].image];
        begin_image(s, "  - ", list[i].image, out);
        fprintf(out, ": %d x %d, %.1f deviations %s\n", f->width, f->height, fabs(list[i].deviations),
                list[i].deviations > 0 ? "above" : "below");
    }
    print_rest(count, out);
}

static void print_classes(const lk_scan *s, FILE *out) {
    const lk_scan_source *source = s->source;
    if (source->class_count == 0) return;
    bool training = s->splits[LK_SPLIT_TRAIN] > 0;
    fprintf(out, "classes          %d, as good as %.1f equally frequent ones%s; %s has %.1f times the images of %s%s\n",
            source->class_count, s->effective_classes, training ? " (training split)" : "",
            source->class_names[s->largest], s->imbalance, source->class_names[s->smallest],
            lk_scan_is_imbalanced(s) ? ": imbalanced" : "");
    for (int k = 0; k < source->class_count; k++)
        for (int split = 0; split < LK_SPLIT_COUNT; split++)
            if (s->classes[k].absent[split])
                fprintf(out, "  - %s has no image in %s\n", source->class_names[k], lk_split_name((lk_split)split));
}

static void print_labels(const lk_scan_report *report, FILE *out) {
    const lk_label_errors *l = report->labels;
    if (l == NULL) return;
    fprintf(out, "labels           %lld of %lld judged images probably have another label\n", (long long)l->count,
            (long long)l->judged);
    for (int64_t i = 0; i < l->count && i < EXAMPLES; i++) {
        const lk_label_error *e = &l->errors[i];
        begin_image(report->scan, "  - ", e->image, out);
        fprintf(out, ": %s (%.2f) rather %s (%.2f)\n", lk_scan_source_class(report->scan->source, e->given),
                e->given_probability, lk_scan_source_class(report->scan->source, e->suggested), e->probability);
    }
    print_rest((size_t)l->count, out);
}

void lk_scan_report_print(const lk_scan_report *report, FILE *out) {
    const lk_scan *s = report->scan;
    char median[48];
    fprintf(out, "%s: %lld images in %d classes", s->source->path, (long long)s->source->count, s->source->class_count);
    for (int split = 0; split < LK_SPLIT_COUNT; split++)
        if (s->splits[split] > 0)
            fprintf(out, ", %s %lld", lk_split_name((lk_split)split), (long long)s->splits[split]);
    fprintf(out, "\nunreadable       %zu\n", s->unreadable_count);
    for (size_t i = 0; i < s->unreadable_count && i < EXAMPLES; i++) {
        begin_image(s, "  - ", s->unreadable[i].image, out);
        fprintf(out, ": %s\n", s->unreadable[i].reason);
    }
    print_rest(s->unreadable_count, out);
    print_groups(s, out);
    print_images(s, "blank", s->blank, s->blank_count, out);
    print_images(s, "grey", s->grey, s->grey_count, out);
    snprintf(median, sizeof median, "%.0f pixels a side", s->median_size);
    print_outliers(s, "unusual size", s->sizes, s->size_count, median, out);
    snprintf(median, sizeof median, "long / short side %.2f", s->median_aspect);
    print_outliers(s, "unusual shape", s->aspects, s->aspect_count, median, out);
    print_classes(s, out);
    print_labels(report, out);
    int64_t findings = lk_scan_report_findings(report);
    fprintf(out, "%lld finding%s; scanned in %.1f s: %.0f images/s\n", (long long)findings, findings == 1 ? "" : "s",
            s->seconds, (double)s->source->count / (s->seconds > 0 ? s->seconds : 1e-9));
}
