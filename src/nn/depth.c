#include "nn/depth.h"

#include <ctype.h>
#include <string.h>

/* Length of the block's name at the start of a layer's: its first part and the parts after it that are numbers; 0: the
 * layer is in no block. */
static size_t block_length(const char *name) {
    const char *at = strchr(name, '.'), *end = NULL;
    while (at != NULL && isdigit((unsigned char)at[1])) {
        const char *next = at + 1 + strspn(at + 1, "0123456789");
        if (*next != '.' && *next != '\0') break;
        end = next;
        at = *next == '.' ? next : NULL;
    }
    return end == NULL ? 0 : (size_t)(end - name);
}

static bool same_block(const char *a, const char *b) {
    size_t length = block_length(a);
    return length > 0 && length == block_length(b) && strncmp(a, b, length) == 0;
}

void lk_graph_depths(const lk_graph *graph, int *depths, int *groups) {
    int last_pool = graph->count, depth = 0;
    const char *block = "";
    for (int i = 0; i < graph->count; i++)
        if (graph->nodes[i].op.kind == LK_OP_GLOBAL_AVGPOOL && block_length(graph->nodes[i].name) == 0) last_pool = i;
    for (int i = 0; i < graph->count; i++) {
        const char *name = graph->nodes[i].name;
        if (i == last_pool) {
            depth++;
        } else if (i < last_pool && block_length(name) > 0 && !same_block(name, block)) {
            depth++;
            block = name;
        }
        depths[i] = depth;
    }
    *groups = depth + 1;
}
