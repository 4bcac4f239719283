/* What the GPU was asked for, by name: kernels, copies, fills, and calls in which the host had to wait. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define MOST 256

typedef struct entry {
    const char *name;
    int64_t count;
} entry;

static entry entries[MOST];
static int used;

/* A name ends where a kernel's template arguments or its launch's next argument begin. */
static size_t name_length(const char *name) { return strcspn(name, "<,"); }

void sim_count(const char *name) {
    size_t length = name_length(name);
    for (int i = 0; i < used; i++) {
        if (entries[i].name != name &&
            (name_length(entries[i].name) != length || memcmp(entries[i].name, name, length) != 0))
            continue;
        entries[i].count++;
        return;
    }
    if (used == MOST) sim_fault("more than %d names to count", MOST);
    entries[used++] = (entry){name, 1};
}

__attribute__((destructor)) static void write_counts(void) {
    const char *path = getenv("LK_SIM_COUNTS");
    FILE *file = path == NULL ? NULL : fopen(path, "w");
    if (file == NULL) return;
    for (int i = 0; i < used; i++)
        fprintf(file, "%.*s\t%lld\n", (int)name_length(entries[i].name), entries[i].name, (long long)entries[i].count);
    fclose(file);
}
