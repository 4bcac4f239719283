/* ops_test MODE DEVICE [options]: holds a device to account over the list of op cases. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modes.h"

static int usage(void) {
    fprintf(stderr,
            "usage: ops_test compare|own|gradient|support|speed|faults DEVICE [--case PART] [--threads N]\n"
            "           [--type float32|tf32|bfloat16|float16]\n"
            "       ops_test dump DEVICE FOLDER [--case PART]\n"
            "       ops_test list\n");
    return 2;
}

static int list_cases(void) {
    int count;
    const op_case *list = op_cases(&count);
    for (int i = 0; i < count; i++) printf("%-16s %s\n", lk_op_kind_name(list[i].desc.kind), list[i].name);
    return 0;
}

static bool run_mode(const char *mode, op_context *context, const char *folder, bool *known) {
    static const struct {
        const char *name;
        bool (*run)(op_context *context);
    } MODES[] = {{"compare", op_mode_compare}, {"own", op_mode_own},     {"gradient", op_mode_gradient},
                 {"support", op_mode_support}, {"speed", op_mode_speed}, {"faults", op_mode_faults}};
    *known = true;
    for (size_t i = 0; i < sizeof MODES / sizeof MODES[0]; i++)
        if (strcmp(mode, MODES[i].name) == 0) return MODES[i].run(context);
    if (strcmp(mode, "dump") == 0 && folder != NULL) return op_mode_dump(context, folder);
    *known = false;
    return false;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "list") == 0) return list_cases();
    if (argc < 3) return usage();
    setvbuf(stdout, NULL, _IOLBF, 0); /* a crash then shows how far it came */
    op_context context = {.only_kind = -1};
    const char *folder = NULL;
    int threads = 1;
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--case") == 0 && i + 1 < argc)
            context.filter = argv[++i];
        else if (strcmp(argv[i], "--type") == 0 && i + 1 < argc)
            context.type = argv[++i];
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            threads = atoi(argv[++i]);
        else if (folder == NULL && argv[i][0] != '-')
            folder = argv[i];
        else
            return usage();
    }
    lk_error err = {0};
    bool known = true, well = false;
    lk_status status = lk_device_create(&context.reference, "reference", 1, &err);
    if (status == LK_OK) status = lk_device_create(&context.device, argv[2], threads, &err);
    if (status == LK_OK) well = run_mode(argv[1], &context, folder, &known);
    if (status != LK_OK) fprintf(stderr, "ops_test: %s\n", err.message);
    lk_device_free(context.device);
    lk_device_free(context.reference);
    return !known ? usage() : well ? 0 : 1;
}
