/* Option tables: defaults, text, YAML, command lines, and what a user reads when something is wrong. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/options.h"
#include "tests/unit/unit.h"

typedef struct job {
    int64_t batch;
    double momentum, lr;
    bool nesterov, help;
    char *model, *resume, *folder;
    int schedule;
    double mean[LK_OPTION_MAX_LIST];
    int mean_count;
} job;

static const char *const schedules[] = {"constant", "step", "cosine", NULL};
#define AT(field) offsetof(job, field)
static const lk_option table[] = {
    {"batch", LK_OPTION_INT, AT(batch), 0, "128", 1, 1e9, NULL, "samples of one update", 'b', false},
    {"optimizer.momentum", LK_OPTION_DOUBLE, AT(momentum), 0, "0.9", 0, 1, NULL, "momentum", 0, false},
    {"model.name", LK_OPTION_STRING, AT(model), 0, "resnet18", 0, 0, NULL, "model", 'm', false},
    {"optimizer.nesterov", LK_OPTION_BOOL, AT(nesterov), 0, "false", 0, 0, NULL, "Nesterov", 'n', false},
    {"optimizer.schedule.kind", LK_OPTION_CHOICE, AT(schedule), 0, "step", 0, 0, schedules, "kind", 0, false},
    {"lr", LK_OPTION_DOUBLE, AT(lr), 0, "0.1", 0, INFINITY, NULL, "learning rate", 0, false},
    {"data.mean", LK_OPTION_DOUBLES, AT(mean), AT(mean_count), "0.5", -10, 10, NULL, "mean", 0, false},
    {"resume", LK_OPTION_STRING, AT(resume), 0, NULL, 0, 0, NULL, "checkpoint", 0, true},
    {"folder", LK_OPTION_STRING, AT(folder), 0, NULL, 0, 0, NULL, "run folder", 'o', false},
    {"help", LK_OPTION_BOOL, AT(help), 0, "false", 0, 0, NULL, "this text", 'h', false},
};
enum { COUNT = sizeof table / sizeof *table };

static void start(job *j, lk_error *err) {
    memset(j, 0xAA, sizeof *j);
    lk_error_clear(err);
    assert_int_equal(lk_options_defaults(table, COUNT, j, err), LK_OK);
}

static void assert_contains(const char *text, const char *part) {
    if (strstr(text, part) == NULL) fail_msg("'%s' lacks '%s'", text, part);
}

static void test_defaults(void **state) {
    (void)state;
    job j;
    lk_error err;
    start(&j, &err);
    assert_int_equal(j.batch, 128);
    assert_true(j.momentum == 0.9);
    assert_string_equal(j.model, "resnet18");
    assert_int_equal(j.schedule, 1);
    assert_int_equal(j.mean_count, 1);
    assert_true(j.mean[0] == 0.5);
    assert_null(j.resume);
    assert_null(j.folder);
    lk_options_free(table, COUNT, &j);
    assert_null(j.model);
}

static void test_bad_default_is_internal(void **state) {
    (void)state;
    const lk_option broken = {"batch", LK_OPTION_INT, AT(batch), 0, "many", 0, 0, NULL, "x", 0, false};
    job j;
    lk_error err = {0};
    assert_int_equal(lk_options_defaults(&broken, 1, &j, &err), LK_ERR_INTERNAL);
}

static void expect_set_error(const char *name, const char *value, const char *part) {
    job j;
    lk_error err;
    start(&j, &err);
    assert_int_equal(lk_options_set(table, COUNT, &j, name, value, "command line", &err), LK_ERR_CONFIG);
    assert_contains(err.message, "command line: ");
    assert_contains(err.message, part);
    assert_null(strchr(err.message, '\n'));
    lk_options_free(table, COUNT, &j);
}

static void test_bad_values(void **state) {
    (void)state;
    expect_set_error("optimizer.momentum", "1.5", "'optimizer.momentum' is '1.5', must be a number from 0 to 1");
    expect_set_error("optimizer.momentum", "nan", "must be a number");
    expect_set_error("lr", "inf", "must be a number of at least 0");
    expect_set_error("lr", "-1", "must be a number of at least 0");
    expect_set_error("lr", "0x1p3", "must be a number");
    expect_set_error("lr", "", "must be a number");
    expect_set_error("batch", "0", "must be an integer from 1 to 1000000000");
    expect_set_error("batch", "12.5", "must be an integer");
    expect_set_error("batch", "99999999999999999999", "must be an integer");
    expect_set_error("batch", "1\n2", "is '1?2'");
    expect_set_error("optimizer.nesterov", "maybe", "must be true or false");
    expect_set_error("optimizer.schedule.kind", "cosin", "one of constant, step, cosine; did you mean 'cosine'?");
    expect_set_error("data.mean", "1, x", "list of at most 16");
    expect_set_error("data.mean", "1,,2", "list of at most 16");
    expect_set_error("data.mean", "1,2] 3", "list of at most 16");
    expect_set_error("data.mean", "1,2,3,4,5,6,7,8,9,10,1,2,3,4,5,6,7", "list of at most 16");
    expect_set_error("optimiser.momentun", "1", "unknown key 'optimiser.momentun'; did you mean 'optimizer.momentum'?");
    expect_set_error("momentum", "1", "did you mean 'optimizer.momentum'?");
    expect_set_error("qqqqqqqq", "1", "unknown key 'qqqqqqqq'");
}

static void test_integers_end_where_64_bits_do(void **state) {
    (void)state;
    const lk_option any = {"batch", LK_OPTION_INT, AT(batch), 0, "0", 0, 0, NULL, "any", 0, false};
    job j;
    lk_error err = {0};
    assert_int_equal(lk_options_set(&any, 1, &j, "batch", "-9223372036854775808", "test", &err), LK_OK);
    assert_true(j.batch == INT64_MIN);
    assert_int_equal(lk_options_set(&any, 1, &j, "batch", "9223372036854775808", "test", &err), LK_ERR_CONFIG);
    assert_string_equal(err.message, "test: 'batch' is '9223372036854775808', must be an integer");
}

static void test_print_reads_back(void **state) {
    (void)state;
    static const double values[] = {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, 3, 0.30000000000000004};
    job j;
    lk_error err;
    start(&j, &err);
    char text[64];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        j.lr = values[i];
        lk_option_print(&table[5], &j, text, sizeof text);
        j.lr = -1;
        assert_int_equal(lk_options_set(table, COUNT, &j, "lr", text, "test", &err), LK_OK);
        assert_true(j.lr == values[i]);
    }
    j.lr = 0.1;
    assert_string_equal(lk_option_print(&table[5], &j, text, sizeof text), "0.1");
    lk_options_free(table, COUNT, &j);
}

static lk_status parse(job *j, const char *text, bool *seen, lk_error *err) {
    start(j, err);
    return lk_options_parse_yaml(table, COUNT, j, text, strlen(text), "recipe.yaml", seen, err);
}

static void test_yaml(void **state) {
    (void)state;
    job j;
    lk_error err;
    bool seen[COUNT] = {false};
    const char *text =
        "# a comment\n"
        "batch: 64\n"
        "optimizer:\n"
        "  momentum: 0.5   # half\n"
        "  schedule: {kind: cosine}\n"
        "  nesterov: true\n"
        "model.name: \"two words: \\\"quoted\\\"\"\n"
        "data:\n"
        "  mean: [0.1, 0.2,\n    -0.3]\n"
        "resume:\n"
        "folder: run/1\n";
    assert_int_equal(parse(&j, text, seen, &err), LK_OK);
    assert_int_equal(j.batch, 64);
    assert_true(j.momentum == 0.5 && j.nesterov);
    assert_int_equal(j.schedule, 2);
    assert_string_equal(j.model, "two words: \"quoted\"");
    assert_int_equal(j.mean_count, 3);
    assert_true(j.mean[2] == -0.3);
    assert_null(j.resume);
    assert_string_equal(j.folder, "run/1");
    assert_true(seen[0] && seen[1] && seen[7] && !seen[5] && !seen[9]);
    lk_options_free(table, COUNT, &j);
    static const char *const empty[] = {"", "# nothing\n", "---\n", "{}\n", "optimizer:\n", "---\nbatch: 3\n...\n"};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(parse(&j, empty[i], NULL, &err), LK_OK);
        assert_int_equal(j.batch, i == 5 ? 3 : 128);
        lk_options_free(table, COUNT, &j);
    }
}

static void expect_yaml_error(const char *text, const char *message) {
    job j;
    lk_error err;
    assert_int_equal(parse(&j, text, NULL, &err), LK_ERR_CONFIG);
    assert_contains(err.message, message);
    assert_null(strchr(err.message, '\n'));
    lk_options_free(table, COUNT, &j);
}

static void test_yaml_errors_have_lines(void **state) {
    (void)state;
    expect_yaml_error("batch: 1\noptimiser:\n  momentun: 1\n",
                      "recipe.yaml line 3: unknown key 'optimiser.momentun'; did you mean 'optimizer.momentum'?");
    expect_yaml_error("optimizer:\n  momentun: 1\n", "line 2: unknown key 'optimizer.momentun'; did you mean");
    expect_yaml_error("qqqqqqq: 1\n", "recipe.yaml line 1: unknown key 'qqqqqqq'");
    expect_yaml_error("batch: 1\nlr: 1\nbatch: 2\n", "line 3: 'batch' is given twice");
    expect_yaml_error("optimizer: {momentum: 1}\noptimizer: {nesterov: true}\n", "line 2: 'optimizer' is given twice");
    expect_yaml_error("optimizer: {momentum: 1}\noptimizer.momentum: 1\n", "line 2: 'optimizer.momentum' is given");
    expect_yaml_error("batch: 1\n\nlr: fast\n", "line 3: 'lr' is 'fast', must be a number");
    expect_yaml_error("lr:\n", "line 1: 'lr' has no value");
    expect_yaml_error("batch: [1]\n", "line 1: 'batch' takes one value, not a list");
    expect_yaml_error("batch: {a: 1}\n", "line 1: 'batch' takes a value, not a group of keys");
    expect_yaml_error("optimizer: 3\n", "'optimizer' is a group of keys ('optimizer.momentum', ...), not a value");
    expect_yaml_error("data:\n  mean: [[1]]\n", "line 2: 'data.mean' must be a list of numbers");
    expect_yaml_error("data: {mean: [1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8]}\n", "a list of at most 16");
    expect_yaml_error("lr: &x 1\n", "line 1: anchors (&name) are not allowed");
    expect_yaml_error("lr: *x\n", "line 1: aliases (*name) are not allowed");
    expect_yaml_error("lr: !!float 1\n", "line 1: tags (!name) are not allowed");
    expect_yaml_error("lr: 1\n---\nlr: 2\n", "line 2: a second document");
    expect_yaml_error("- 1\n", "line 1: the file must be 'key: value' lines");
    expect_yaml_error("hello\n", "line 1: the file must be 'key: value' lines");
    expect_yaml_error("lr: 1\nbatch: \"2\n", "recipe.yaml line 3: not valid YAML");
    expect_yaml_error("a: {b: [\n", "unknown key 'a'");
    expect_yaml_error("model.name: \"a\\0b\"\n", "line 1: a NUL character");
    expect_yaml_error("lr: 1\nmodel.name: \"\xff\"\n", "not valid YAML");
    expect_yaml_error("[a]: 1\n", "a key must be a word");
    expect_yaml_error("\"\": 1\n", "a key is empty");
}

static void test_yaml_limits(void **state) {
    (void)state;
    size_t size = (1 << 20) + 1;
    char *text = malloc(size + 1);
    memset(text, '#', size);
    text[size] = '\0';
    expect_yaml_error(text, "recipe.yaml is larger than 1048576 bytes");
    /* 100,000 nested lists end at the first, in bounded time. */
    memset(text, '[', 100000);
    text[100000] = '\0';
    memcpy(text, "data.mean: ", 11);
    expect_yaml_error(text, "line 1: ");
    free(text);
}

static void test_yaml_files(void **state) {
    (void)state;
    job j;
    lk_error err;
    start(&j, &err);
    assert_int_equal(lk_options_read_yaml(table, COUNT, &j, "/nowhere/job.yaml", NULL, &err), LK_ERR_IO);
    assert_string_equal(err.message, "cannot read /nowhere/job.yaml: No such file or directory");
    lk_error_clear(&err);
    assert_int_equal(lk_options_read_yaml(table, COUNT, &j, "/tmp", NULL, &err), LK_ERR_IO);
    assert_contains(err.message, "Is a directory");
    lk_options_free(table, COUNT, &j);
}

static void test_write_reads_back(void **state) {
    (void)state;
    job j, again;
    lk_error err;
    const char *text =
        "batch: 77\noptimizer: {momentum: 0.123456789012345678, nesterov: on, schedule: {kind: constant}}\n"
        "model: {name: \"true \\t # \\u00e9 'x'\\n: 1\"}\ndata: {mean: [1e-300, -0.1]}\nlr: 3\n";
    assert_int_equal(parse(&j, text, NULL, &err), LK_OK);
    char *written = NULL;
    assert_int_equal(lk_options_write_yaml(table, COUNT, &j, &written, &err), LK_OK);
    assert_contains(written, "optimizer:\n  momentum: 0.12345678901234568\n  nesterov: true\n  schedule:\n");
    bool seen[COUNT] = {false};
    assert_int_equal(parse(&again, written, seen, &err), LK_OK);
    assert_string_equal(again.model, j.model);
    assert_true(again.momentum == j.momentum && again.batch == 77 && again.nesterov && again.schedule == 0);
    assert_int_equal(again.mean_count, 2);
    assert_true(again.mean[0] == 1e-300 && again.mean[1] == -0.1 && again.lr == 3);
    for (int i = 0; i < COUNT; i++) assert_true(seen[i] == (i != 7 && i != 8));
    lk_free(written);
    again.model[0] = '\xff';
    assert_int_equal(lk_options_write_yaml(table, COUNT, &again, &written, &err), LK_ERR_CONFIG);
    assert_string_equal(err.message, "'model.name' cannot be written: its text is not UTF-8");
    lk_options_free(table, COUNT, &again);
    lk_options_free(table, COUNT, &j);
}

static void test_require(void **state) {
    (void)state;
    job j;
    lk_error err;
    start(&j, &err);
    assert_int_equal(lk_options_require(table, COUNT, &j, NULL, "recipe.yaml", &err), LK_ERR_CONFIG);
    assert_string_equal(err.message, "recipe.yaml: 'folder' is missing: run folder");
    lk_error_clear(&err);
    assert_int_equal(lk_options_set(table, COUNT, &j, "folder", "x", "command line", &err), LK_OK);
    assert_int_equal(lk_options_require(table, COUNT, &j, NULL, "recipe.yaml", &err), LK_OK);
    lk_options_free(table, COUNT, &j);
    const lk_option number = {"batch", LK_OPTION_INT, AT(batch), 0, NULL, 0, 0, NULL, "samples", 0, false};
    bool seen = false;
    assert_int_equal(lk_options_require(&number, 1, &j, &seen, "recipe.yaml", &err), LK_ERR_CONFIG);
    seen = true;
    assert_int_equal(lk_options_require(&number, 1, &j, &seen, "recipe.yaml", NULL), LK_OK);
}

static lk_status read_words(job *j, int *arguments, char **argv, lk_error *err) {
    int argc = 0;
    while (argv[argc] != NULL) argc++;
    start(j, err);
    return lk_options_read_argv(table, COUNT, j, argc, argv, arguments, err);
}

static void test_argv(void **state) {
    (void)state;
    job j;
    lk_error err;
    int arguments;
    char *argv[] = {"train", "one", "--batch",   "7",  "two", "--lr=2", "-o", "out", "--optimizer.nesterov",
                    "-mx",   "-",   "--batch=8", "--", "-o3", NULL};
    assert_int_equal(read_words(&j, &arguments, argv, &err), LK_OK);
    assert_int_equal(arguments, 4);
    assert_string_equal(argv[0], "train");
    assert_string_equal(argv[1], "one");
    assert_string_equal(argv[2], "two");
    assert_string_equal(argv[3], "-");
    assert_string_equal(argv[4], "-o3");
    assert_int_equal(j.batch, 8);
    assert_true(j.lr == 2 && j.nesterov);
    assert_string_equal(j.folder, "out");
    assert_string_equal(j.model, "x");
    lk_options_free(table, COUNT, &j);
    char *no[] = {"train", "-n", "--no-optimizer.nesterov", "--folder=", NULL};
    assert_int_equal(read_words(&j, &arguments, no, &err), LK_OK);
    assert_false(j.nesterov);
    assert_string_equal(j.folder, "");
    lk_options_free(table, COUNT, &j);
    char *help[] = {"train", "--help", NULL};
    assert_int_equal(read_words(&j, &arguments, help, &err), LK_OK);
    assert_true(j.help);
    lk_options_free(table, COUNT, &j);
}

static void expect_argv_error(const char *word, const char *message) {
    job j;
    lk_error err;
    int arguments;
    char copy[100];
    strcpy(copy, word);
    char *argv[] = {"train", "-o", "x", copy, NULL};
    assert_int_equal(read_words(&j, &arguments, argv, &err), LK_ERR_USAGE);
    assert_string_equal(err.message, message);
    lk_options_free(table, COUNT, &j);
}

static void test_argv_errors(void **state) {
    (void)state;
    expect_argv_error("--bach=1", "train: unknown option '--bach=1'; did you mean '--batch'?");
    expect_argv_error("--zzzzzzzz", "train: unknown option '--zzzzzzzz'; see 'lockstep train --help'");
    expect_argv_error("-x", "train: unknown option '-x'; see 'lockstep train --help'");
    expect_argv_error("--batch", "train: option '--batch' needs a value");
    expect_argv_error("-b", "train: option '-b' needs a value");
    expect_argv_error("--batch=none", "train: 'batch' is 'none', must be an integer from 1 to 1000000000");
    expect_argv_error("-nh", "train: '-n' takes no value and stands alone, not as in '-nh'");
    job j;
    lk_error err;
    int arguments;
    char *argv[] = {"train", "x", NULL};
    assert_int_equal(read_words(&j, &arguments, argv, &err), LK_ERR_USAGE);
    assert_string_equal(err.message, "train: option '--folder' must be given: run folder");
    lk_options_free(table, COUNT, &j);
}

static void test_help(void **state) {
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    lk_options_help(table, COUNT, "--", out);
    lk_options_help(table, COUNT, "", out);
    fclose(out);
    assert_contains(text, "  -b, --batch INTEGER ");
    assert_contains(text, "samples of one update [128; at least 1]\n");
    assert_contains(text, "constant|step|cosine");
    assert_contains(text, "run folder [required]\n");
    assert_contains(text, "  checkpoint\n");
    assert_contains(text, "\n  optimizer.nesterov true|false ");
    assert_contains(text, "learning rate [0.1; at least 0]\n");
    free(text);
}

static void test_nearest(void **state) {
    (void)state;
    static const char *const names[] = {"train", "predict", "eval", "convert"};
    assert_string_equal(lk_nearest_name("tarin", names, 4), "train");
    assert_string_equal(lk_nearest_name("Predict", names, 4), "predict");
    assert_string_equal(lk_nearest_name("evla", names, 4), "eval");
    assert_null(lk_nearest_name("deploy", names, 4));
    assert_null(lk_nearest_name("", names, 4));
    assert_null(lk_nearest_name("train", names, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_bad_default_is_internal),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_integers_end_where_64_bits_do),
        cmocka_unit_test(test_print_reads_back),
        cmocka_unit_test(test_yaml),
        cmocka_unit_test(test_yaml_errors_have_lines),
        cmocka_unit_test(test_yaml_limits),
        cmocka_unit_test(test_yaml_files),
        cmocka_unit_test(test_write_reads_back),
        cmocka_unit_test(test_require),
        cmocka_unit_test(test_argv),
        cmocka_unit_test(test_argv_errors),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
