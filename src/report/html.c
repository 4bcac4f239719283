#include "report/html.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "io/model/atomic.h"

void lk_html_text(FILE *out, const char *text) {
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        switch (*at) {
            case '&': fputs("&amp;", out); break;
            case '<': fputs("&lt;", out); break;
            case '>': fputs("&gt;", out); break;
            case '"': fputs("&quot;", out); break;
            case '\'': fputs("&#39;", out); break;
            default:
                if (*at >= 0x20 && *at != 0x7f) fputc(*at, out);
        }
    }
}

const char *lk_html_color(int index) {
    static const char *const colors[LK_HTML_COLORS] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                       "#e69f00", "#56b4e9", "#7f7f7f"};
    return colors[index % LK_HTML_COLORS];
}

const char *lk_html_dashes(int index) {
    static const char *const dashes[] = {"", "6 3", "2 2", "8 3 2 3"};
    return dashes[index / LK_HTML_COLORS % 4];
}

static const char style[] =
    ":root{color-scheme:light "
    "dark;--back:#fff;--text:#1b1b1b;--soft:#595959;--line:#c9c9c9;--card:#f5f5f5;--heat:0,114,"
    "178}\n"
    "@media(prefers-color-scheme:dark){:root{--back:#161616;--text:#ececec;--soft:#b5b5b5;--line:#4a4a4a;--card:#222;"
    "--heat:86,180,233}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--text);font:16px/1.45 "
    "system-ui,sans-serif}\n"
    "main{max-width:72rem;margin:0 auto;padding:1rem}h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.2rem;"
    "margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}h3{font-size:1rem;margin:1rem 0 .3rem}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}"
    "th,td{padding:.25rem .55rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}"
    "th:first-child,td:first-child,td.left,th.left{text-align:left}thead "
    "th{position:sticky;top:0;background:var(--back)}\n"
    "th button{all:unset;cursor:pointer;font:inherit;font-weight:bold}th button:focus-visible{outline:2px solid}"
    "th[aria-sort=ascending] button::after{content:' \\25B2'}th[aria-sort=descending] button::after{content:' "
    "\\25BC'}\n"
    "td.cell{text-align:center;min-width:2.4rem;padding:.15rem .3rem}td.cell small{display:block;color:inherit}"
    "small,.note{color:var(--soft)}ul.verdicts{padding-left:1.2rem}ul.verdicts .shown{font-weight:bold}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(19rem,1fr));gap:1rem}figure{margin:0}"
    "figure.chart{max-width:40rem}figcaption{font-size:.9rem;color:var(--soft)}svg{width:100%;height:auto;display:"
    "block}"
    "svg text{fill:var(--text);font:12px system-ui,sans-serif}svg .axis{stroke:var(--text)}svg "
    ".grid{stroke:var(--line)}"
    "svg .frame{fill:none;stroke:var(--line)}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;padding:0;margin:.3rem 0;font-size:.9rem}"
    ".legend svg{display:inline-block;width:1.8rem;height:.7rem;vertical-align:middle;margin-right:.3rem}\n"
    ".thumbs{display:grid;grid-template-columns:repeat(auto-fill,minmax(7rem,1fr));gap:.6rem;font-size:.8rem}"
    ".thumbs img{width:100%;height:7rem;object-fit:contain;background:var(--card);image-rendering:auto}"
    ".thumbs img.small{image-rendering:pixelated}.thumbs div{overflow-wrap:anywhere}\n"
    "@media print{:root{--back:#fff;--text:#000;--soft:#444;--line:#999;--heat:0,114,178}h2{break-after:avoid}"
    "figure,tr,.thumbs>figure{break-inside:avoid}.wide{overflow:visible}}\n";

/* Sorts a table by a column: numbers as numbers (data-value where the text is not one), the rest as text. */
static const char script[] =
    "document.querySelectorAll('table.sortable').forEach(function(table){"
    "table.querySelectorAll('thead th').forEach(function(head,column){"
    "var button=head.querySelector('button');if(!button)return;"
    "button.addEventListener('click',function(){"
    "var up=head.getAttribute('aria-sort')==='descending';"
    "table.querySelectorAll('thead th').forEach(function(h){h.removeAttribute('aria-sort')});"
    "head.setAttribute('aria-sort',up?'ascending':'descending');"
    "var body=table.tBodies[0],value=function(row){var cell=row.cells[column];"
    "return cell.dataset.value!==undefined?cell.dataset.value:cell.textContent.trim()};"
    "Array.from(body.rows).sort(function(a,b){var x=value(a),y=value(b),n=parseFloat(x),m=parseFloat(y);"
    "var order=isNaN(n)||isNaN(m)?(isNaN(n)?(isNaN(m)?x.localeCompare(y):-1):1):n-m;return up?order:-order})"
    ".forEach(function(row){body.appendChild(row)})})})});";

void lk_html_begin(FILE *out, const char *title) {
    fputs(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
        "<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n<title>",
        out);
    lk_html_text(out, title);
    fprintf(out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>", style);
    lk_html_text(out, title);
    fputs("</h1>\n", out);
}

void lk_html_end(FILE *out) { fprintf(out, "</main>\n<script>%s</script>\n</body>\n</html>\n", script); }

void lk_html_table_begin(FILE *out, const char *caption, const char *const *heads, unsigned texts) {
    fputs("<div class=\"wide\"><table class=\"sortable\"><caption hidden>", out);
    lk_html_text(out, caption);
    fputs("</caption><thead><tr>", out);
    for (int i = 0; heads[i] != NULL; i++) {
        bool left = i < 32 && (texts >> i & 1) != 0;
        fprintf(out, "<th scope=\"col\"%s><button type=\"button\">", left ? " class=\"left\"" : "");
        lk_html_text(out, heads[i]);
        fputs("</button></th>", out);
    }
    fputs("</tr></thead><tbody>\n", out);
}

void lk_html_table_end(FILE *out) { fputs("</tbody></table></div>\n", out); }

void lk_html_number(FILE *out, double value, int digits) {
    if (isnan(value))
        fputs("<td>-</td>", out);
    else
        fprintf(out, "<td>%.*f</td>", digits, value);
}

lk_status lk_html_write(const char *path, lk_html_body body, const void *context, lk_error *err) {
    lk_status status = LK_OK;
    lk_atomic_file file = {.fd = -1};
    FILE *out = NULL;
    LK_TRY(lk_atomic_create(&file, path, err));
    int copy = dup(file.fd);
    out = copy < 0 ? NULL : fdopen(copy, "w");
    if (out == NULL) {
        status = lk_fail_errno(err, "write", path);
        if (copy >= 0) close(copy);
        goto out;
    }
    LK_TRY(body(out, context, err));
    bool failed = fflush(out) != 0 || ferror(out);
    int code = errno;
    if (failed)
        status = lk_fail_write(err, code, path);
    else
        status = lk_atomic_commit(&file, err);
out:
    if (out != NULL) fclose(out);
    lk_atomic_discard(&file);
    return status;
}
