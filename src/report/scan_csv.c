#include "core/text.h"
#include "report/scan_tables.h"

/* The first columns: finding, group (0: none), and what is known of the image. */
static void begin_row(const lk_scan *s, const char *finding, size_t group, int64_t image, FILE *out) {
    const lk_fingerprint *f = &s->prints[image];
    int32_t label = lk_scan_source_label(s->source, image);
    fprintf(out, "%s,", finding);
    if (group > 0) fprintf(out, "%zu", group);
    fprintf(out, ",%lld,", (long long)image);
    lk_text_write_csv(lk_scan_source_name(s->source, image), out);
    fprintf(out, ",%s,", lk_split_name(lk_scan_source_split(s->source, image)));
    if (label >= 0) lk_text_write_csv(lk_scan_source_class(s->source, label), out);
    if (f->readable)
        fprintf(out, ",%d,%d,", f->width, f->height);
    else
        fputs(",,,", out);
}

static void write_group_rows(const lk_scan *s, FILE *out) {
    for (size_t g = 0; g < s->group_count; g++)
        for (int m = 0; m < s->groups[g].count; m++) {
            const lk_scan_member *member = &s->members[s->groups[g].first + m];
            begin_row(s, "duplicate", g + 1, member->image, out);
            fprintf(out, "%.6f,%s%s%s\n", member->similarity, lk_scan_match_name(member->match),
                    s->groups[g].across_splits ? "; across splits" : "",
                    s->groups[g].labels_differ ? "; different labels" : "");
        }
}

static void write_outlier_rows(const lk_scan *s, const char *finding, const lk_scan_outlier *list, size_t count,
                               FILE *out) {
    for (size_t i = 0; i < count; i++) {
        begin_row(s, finding, 0, list[i].image, out);
        fprintf(out, "%.6f,%.1f deviations from the median\n", list[i].value, list[i].deviations);
    }
}

static void write_class_rows(const lk_scan *s, FILE *out) {
    for (int k = 0; k < s->source->class_count; k++)
        for (int split = 0; split < LK_SPLIT_COUNT; split++) {
            if (!s->classes[k].absent[split]) continue;
            fprintf(out, "absent,,,,%s,", lk_split_name((lk_split)split));
            lk_text_write_csv(s->source->class_names[k], out);
            fputs(",,,0,no image of the class in the split\n", out);
        }
    if (!lk_scan_is_imbalanced(s)) return;
    fputs("imbalance,,,,,", out);
    lk_text_write_csv(s->source->class_names[s->smallest], out);
    fprintf(out, ",,,%.6g,", s->imbalance);
    char text[512];
    snprintf(text, sizeof text, "times as many images of %.255s", s->source->class_names[s->largest]);
    lk_text_write_csv(text, out);
    fputc('\n', out);
}

void lk_scan_report_write_csv(const lk_scan_report *report, FILE *out) {
    const lk_scan *s = report->scan;
    fputs("finding,group,sample,source,split,label,width,height,value,detail\n", out);
    for (size_t i = 0; i < s->unreadable_count; i++) {
        begin_row(s, "unreadable", 0, s->unreadable[i].image, out);
        fputc(',', out);
        lk_text_write_csv(s->unreadable[i].reason, out);
        fputc('\n', out);
    }
    write_group_rows(s, out);
    for (size_t i = 0; i < s->blank_count; i++) {
        begin_row(s, "blank", 0, s->blank[i], out);
        fprintf(out, "%.3f,standard deviation of grey levels\n", (double)s->prints[s->blank[i]].deviation);
    }
    for (size_t i = 0; i < s->grey_count; i++) {
        begin_row(s, "grey", 0, s->grey[i], out);
        fprintf(out, "%.3f,colourfulness\n", (double)s->prints[s->grey[i]].chroma);
    }
    write_outlier_rows(s, "size", s->sizes, s->size_count, out);
    write_outlier_rows(s, "aspect", s->aspects, s->aspect_count, out);
    write_class_rows(s, out);
    for (int64_t i = 0; report->labels != NULL && i < report->labels->count; i++) {
        const lk_label_error *e = &report->labels->errors[i];
        begin_row(s, "label", 0, e->image, out);
        fprintf(out, "%.6f,", e->margin);
        lk_text_write_csv(lk_scan_source_class(s->source, e->suggested), out);
        fputc('\n', out);
    }
}
