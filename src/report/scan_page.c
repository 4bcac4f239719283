#include "report/scan_page.h"

#include <math.h>

#include "core/clock.h"
#include "report/html.h"
#include "report/picture.h"

enum { PICTURE_BYTES = 1500000, MEMBERS = 8, LINES = 200 }; /* of all pictures; images of a group; lines of a list */

typedef struct pages {
    FILE *out;
    const lk_scan_report *report;
    const lk_scan *scan;
    lk_scan_reader reader;
    int pictures_left;
    size_t bytes;
} pages;

static bool has_room(const pages *p) { return p->pictures_left > 0 && p->bytes < PICTURE_BYTES; }

/* One picture with its words. An image that cannot be read any more has words alone. */
static lk_status write_image(pages *p, int32_t image, const char *words, lk_error *err) {
    const lk_scan_source *source = p->scan->source;
    const lk_fingerprint *f = &p->scan->prints[image];
    const char *label = lk_scan_source_class(source, lk_scan_source_label(source, image));
    lk_error ignored = {0};
    fputs("<figure>", p->out);
    if (has_room(p) && f->readable &&
        lk_scan_source_decode(source, image, LK_PICTURE_SIDE, &p->reader, NULL, &ignored) == LK_OK) {
        LK_RETURN_IF(lk_picture_write(p->out, &p->reader.image, label, &p->bytes, err));
        p->pictures_left--;
    }
    fputs("<div><b>", p->out);
    lk_html_text(p->out, label);
    fprintf(p->out, "</b>, %s", lk_split_name(lk_scan_source_split(source, image)));
    if (f->readable) fprintf(p->out, ", %d x %d", f->width, f->height);
    if (words[0] != '\0') fputs("<br>", p->out);
    lk_html_text(p->out, words);
    fputs("<br><small>", p->out);
    lk_html_text(p->out, lk_scan_source_name(source, image));
    fputs("</small></div></figure>\n", p->out);
    return LK_OK;
}

static void write_rest(pages *p, int64_t rest) {
    if (rest > 0)
        fprintf(p->out, "<p class=\"note\">%lld more are not shown: see the CSV file of lockstep scan --csv.</p>\n",
                (long long)rest);
}

static void write_heading(pages *p, const char *title, int64_t count, const char *about) {
    fprintf(p->out, "<h2>%s: %lld</h2>\n<p class=\"note\">%s</p>\n", title, (long long)count, about);
}

static void write_summary(pages *p) {
    const lk_scan *s = p->scan;
    char when[32];
    fputs("<p>", p->out);
    lk_html_text(p->out, s->source->path);
    fprintf(p->out, ": %lld images in %d classes; <b>%lld findings</b>. Written %s by lockstep %s.</p>\n",
            (long long)s->source->count, s->source->class_count, (long long)lk_scan_report_findings(p->report),
            lk_clock_wall_text(when, sizeof when), LK_VERSION);
    if (lk_scan_report_findings(p->report) == 0) fputs("<p>Nothing to complain about.</p>\n", p->out);
}

static void write_classes(pages *p) {
    static const char *const heads[] = {"class", "train", "validation", "test", "all", NULL};
    const lk_scan *s = p->scan;
    if (s->source->class_count == 0) return;
    fputs("<h2>Classes</h2>\n<p>", p->out);
    lk_html_text(p->out, s->source->class_names[s->largest]);
    fprintf(p->out, " has <b>%.1f times</b> the images of ", s->imbalance);
    lk_html_text(p->out, s->source->class_names[s->smallest]);
    fprintf(p->out,
            "%s; the %d classes are as good as <b>%.1f</b> equally frequent ones (exponential of the entropy).%s</p>\n",
            s->splits[LK_SPLIT_TRAIN] > 0 ? " in the training split" : "", s->source->class_count, s->effective_classes,
            lk_scan_is_imbalanced(s)
                ? " Choose by macro-F1, and see the job's keys sampler and loss.class_weights for what helps."
                : "");
    lk_html_table_begin(p->out, "Images of each class in each split", heads, 0);
    for (int k = 0; k < s->source->class_count; k++) {
        const lk_scan_class *c = &s->classes[k];
        int64_t all = 0;
        fputs("<tr><th scope=\"row\">", p->out);
        lk_html_text(p->out, s->source->class_names[k]);
        fputs("</th>", p->out);
        for (int split = LK_SPLIT_TRAIN; split <= LK_SPLIT_TEST; split++) {
            all += c->counts[split];
            fprintf(p->out, c->absent[split] ? "<td><b>0: absent</b></td>" : "<td>%lld</td>",
                    (long long)c->counts[split]);
        }
        fprintf(p->out, "<td>%lld</td></tr>\n", (long long)all);
    }
    lk_html_table_end(p->out);
}

static void write_unreadable(pages *p) {
    static const char *const heads[] = {"image", "reason", NULL};
    const lk_scan *s = p->scan;
    if (s->unreadable_count == 0) return;
    write_heading(p, "Unreadable", (int64_t)s->unreadable_count, "Training on them fails: replace or remove them.");
    lk_html_table_begin(p->out, "Images that cannot be read", heads, 1u << 1);
    for (size_t i = 0; i < s->unreadable_count && i < LINES; i++) {
        fputs("<tr><th scope=\"row\">", p->out);
        lk_html_text(p->out, lk_scan_source_name(s->source, s->unreadable[i].image));
        fputs("</th><td class=\"left\">", p->out);
        lk_html_text(p->out, s->unreadable[i].reason);
        fputs("</td></tr>\n", p->out);
    }
    lk_html_table_end(p->out);
    write_rest(p, (int64_t)s->unreadable_count - LINES);
}

static lk_status write_group(pages *p, size_t number, lk_error *err) {
    const lk_scan *s = p->scan;
    const lk_scan_group *group = &s->groups[number];
    char words[96];
    fprintf(p->out, "<h3>Group %zu: %d images, %s%s%s</h3>\n<div class=\"thumbs\">\n", number + 1, group->count,
            lk_scan_match_name(group->match), group->across_splits ? ", across splits" : "",
            group->labels_differ ? ", different labels" : "");
    for (int m = 0; m < group->count && m < MEMBERS; m++) {
        const lk_scan_member *member = &s->members[group->first + m];
        snprintf(words, sizeof words, "%s", lk_scan_match_name(member->match));
        if (member->match == LK_MATCH_NEAR) snprintf(words, sizeof words, "correlation %.4f", member->similarity);
        LK_RETURN_IF(write_image(p, member->image, words, err));
    }
    fputs("</div>\n", p->out);
    if (group->count > MEMBERS)
        fprintf(p->out, "<p class=\"note\">%d more in this group.</p>\n", group->count - MEMBERS);
    return LK_OK;
}

/* Groups that spoil scores first. */
static lk_status write_groups(pages *p, lk_error *err) {
    const lk_scan *s = p->scan;
    int64_t shown = 0;
    if (s->group_count == 0) return LK_OK;
    write_heading(p, "Duplicates", (int64_t)s->group_count,
                  "Groups of equal or nearly equal images. Across splits they make scores too good; with different "
                  "labels one of them is wrong.");
    for (int grave = 1; grave >= 0; grave--)
        for (size_t g = 0; g < s->group_count; g++) {
            const lk_scan_group *group = &s->groups[g];
            if ((group->across_splits || group->labels_differ) != (grave == 1) || !has_room(p)) continue;
            LK_RETURN_IF(write_group(p, g, err));
            shown++;
        }
    write_rest(p, (int64_t)s->group_count - shown);
    return LK_OK;
}

static lk_status write_labels(pages *p, lk_error *err) {
    const lk_label_errors *l = p->report->labels;
    char words[512];
    int64_t i = 0;
    if (l == NULL || l->count == 0) return LK_OK;
    write_heading(p, "Likely label errors", l->count,
                  "Images whose given label the runs, which were not trained on them, find less likely than another "
                  "(confident learning). The most likely errors come first. Look before you change a label.");
    fputs("<div class=\"thumbs\">\n", p->out);
    for (; i < l->count && has_room(p); i++) {
        const lk_label_error *e = &l->errors[i];
        snprintf(words, sizeof words, "%.0f%%; rather %.255s: %.0f%%", 100 * e->given_probability,
                 lk_scan_source_class(p->scan->source, e->suggested), 100 * e->probability);
        LK_RETURN_IF(write_image(p, e->image, words, err));
    }
    fputs("</div>\n", p->out);
    write_rest(p, l->count - i);
    return LK_OK;
}

static lk_status write_list(pages *p, const char *title, const int32_t *images, size_t count, const char *about,
                            lk_error *err) {
    size_t i = 0;
    if (count == 0) return LK_OK;
    write_heading(p, title, (int64_t)count, about);
    fputs("<div class=\"thumbs\">\n", p->out);
    for (; i < count && has_room(p); i++) LK_RETURN_IF(write_image(p, images[i], "", err));
    fputs("</div>\n", p->out);
    write_rest(p, (int64_t)(count - i));
    return LK_OK;
}

static lk_status write_outliers(pages *p, const char *title, const lk_scan_outlier *list, size_t count,
                                const char *about, lk_error *err) {
    char words[64];
    size_t i = 0;
    if (count == 0) return LK_OK;
    write_heading(p, title, (int64_t)count, about);
    fputs("<div class=\"thumbs\">\n", p->out);
    for (; i < count && has_room(p); i++) {
        snprintf(words, sizeof words, "%.1f deviations %s", fabs(list[i].deviations),
                 list[i].deviations > 0 ? "above" : "below");
        LK_RETURN_IF(write_image(p, list[i].image, words, err));
    }
    fputs("</div>\n", p->out);
    write_rest(p, (int64_t)(count - i));
    return LK_OK;
}

static lk_status write_oddities(pages *p, lk_error *err) {
    const lk_scan *s = p->scan;
    char about[160];
    LK_RETURN_IF(write_list(p, "Blank", s->blank, s->blank_count, "One colour all over.", err));
    LK_RETURN_IF(write_list(p, "Grey", s->grey, s->grey_count, "Without colour, where most images have some.", err));
    snprintf(about, sizeof about, "Far larger or smaller than the others, whose median is %.0f pixels a side.",
             s->median_size);
    LK_RETURN_IF(write_outliers(p, "Unusual sizes", s->sizes, s->size_count, about, err));
    snprintf(about, sizeof about,
             "Far longer and narrower (or less so) than the others, whose median of long / short side is %.2f.",
             s->median_aspect);
    return write_outliers(p, "Unusual shapes", s->aspects, s->aspect_count, about, err);
}

static lk_status write_body(FILE *out, const void *context, lk_error *err) {
    lk_status status = LK_OK;
    pages p = *(const pages *)context;
    p.out = out;
    LK_TRY(lk_scan_reader_init(&p.reader, err));
    lk_html_begin(out, "Scan of a data set");
    write_summary(&p);
    write_classes(&p);
    write_unreadable(&p);
    LK_TRY(write_groups(&p, err));
    LK_TRY(write_labels(&p, err));
    LK_TRY(write_oddities(&p, err));
    lk_html_end(out);
out:
    lk_scan_reader_free(&p.reader);
    return status;
}

lk_status lk_scan_page_write(const lk_scan_report *report, const char *path, int pictures, lk_error *err) {
    const pages context = {.report = report, .scan = report->scan, .pictures_left = pictures};
    return lk_html_write(path, write_body, &context, err);
}
