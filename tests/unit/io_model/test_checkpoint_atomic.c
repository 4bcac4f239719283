/* Writing is all or nothing: kills, full disks, limits, folders that refuse (P11, P12). */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "helpers.h"

#define COUNT 50000
#define KILLS 100

/* Overwrites one file for ever and says when it has done so once; the parent kills it at a random moment then. Without
 * that word a machine at other work would kill most of them before they wrote anything. */
static void write_for_ever(const char *path, int started) {
    lk_error err = {0};
    for (int seed = 1, first = 1;; seed = seed % 1000 + 1, first = 0)
        if (write_small(path, (float)seed, COUNT, &err) != LK_OK || (first && write(started, "", 1) != 1)) _exit(1);
}

static void test_a_kill_at_any_instant_leaves_a_whole_file(void **state) {
    char path[PATH_SIZE];
    lk_error err = {0};
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    assert_int_equal(write_small(join(path, state, "last.h5"), 1, COUNT, &err), LK_OK);
    clock_gettime(CLOCK_MONOTONIC, &end);
    int64_t one_write = (end.tv_sec - start.tv_sec) * INT64_C(1000000000) + end.tv_nsec - start.tv_nsec;
    uint32_t random = 7;
    int changed = 0, before = 1;
    for (int i = 0; i < KILLS; i++) {
        int started[2];
        char word;
        assert_int_equal(pipe(started), 0);
        pid_t child = fork();
        if (child == 0) write_for_ever(path, started[1]);
        close(started[1]);
        assert_int_equal(read(started[0], &word, 1), 1);
        close(started[0]);
        random = random * 1664525u + 1013904223u;
        int64_t wait = (one_write * 3 + 2000000) * (int64_t)(random >> 16) / 65536; /* up to three writes */
        struct timespec delay = {wait / 1000000000, wait % 1000000000};
        nanosleep(&delay, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        int exit_status;
        assert_int_equal(waitpid(child, &exit_status, 0), child);
        assert_true(WIFSIGNALED(exit_status));
        int seed = read_small(path, COUNT, &err);
        if (seed < 1) fail_msg("after kill %d: %s", i, err.message);
        changed += seed != before;
        before = seed;
    }
    assert_in_range(changed, 10, KILLS); /* the kills did fall into writing */
    int removed = -1;
    assert_int_equal(lk_temporaries_remove(*state, &removed, &err), LK_OK);
    assert_in_range(removed, 1, KILLS);
    assert_int_equal(count_files(*state, ".tmp."), 0);
    assert_int_equal(read_small(path, COUNT, &err), before);
}

static int64_t file_size(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_size;
}

/* A limit on the size of files fails the n-th byte, for many n; each ends with the sentence and the old file. */
static void test_a_write_that_fails_anywhere_leaves_the_old_file(void **state) {
    char path[PATH_SIZE];
    lk_error err = {0};
    assert_int_equal(write_small(join(path, state, "last.h5"), 3, COUNT, &err), LK_OK);
    int64_t size = file_size(path);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, limit;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    for (int i = 0; i < 60; i++) {
        limit.rlim_cur = (rlim_t)(i < 20 ? i * 100 : size * (i - 19) / 41);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        lk_error_clear(&err);
        lk_status status = write_small(path, 4, COUNT, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(status, LK_ERR_IO);
        char wanted[PATH_SIZE + 128];
        snprintf(
            wanted, sizeof wanted,
            "cannot write %s: the file size limit is reached; earlier files are untouched, raise the limit and run "
            "again",
            path);
        assert_string_equal(err.message, wanted);
        assert_int_equal(count_files(*state, ".tmp."), 0);
        assert_int_equal(read_small(path, COUNT, &err), 3);
    }
    lk_error_clear(&err);
    assert_int_equal(write_small(path, 4, COUNT, &err), LK_OK);
    assert_int_equal(read_small(path, COUNT, &err), 4);
}

static void print_to(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) _exit(77);
    close(fd);
}

/* In a child with its own mounts: the folder becomes a file system of 700 KB. */
static void fill_small_disk(const char *folder, const char *path) {
    char map[64];
    uid_t user = geteuid();
    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) _exit(77);
        snprintf(map, sizeof map, "0 %d 1", (int)user);
        print_to("/proc/self/uid_map", map);
    }
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", folder, "tmpfs", 0, "size=700k") != 0)
        _exit(77);
    lk_error err = {0};
    if (write_small(path, 2, COUNT, &err) != LK_OK) _exit(1); /* 200 KB and again 200 KB fit */
    if (write_small(path, 3, COUNT, &err) != LK_OK) _exit(2);
    if (write_small(path, 4, COUNT * 4, &err) != LK_ERR_IO) _exit(3);
    char wanted[PATH_SIZE + 128];
    snprintf(wanted, sizeof wanted,
             "cannot write %s: no space left on its file system; earlier files are untouched, free some space and run "
             "again",
             path);
    if (strcmp(err.message, wanted) != 0) _exit(4);
    if (count_files(folder, ".tmp.") != 0) _exit(5);
    if (read_small(path, COUNT, &err) != 3) _exit(6);
    lk_error_clear(&err);
    _exit(write_small(path, 5, COUNT, &err) == LK_OK ? 0 : 8);
}

static void test_a_full_disk_leaves_the_old_file(void **state) {
    char folder[PATH_SIZE], path[PATH_SIZE];
    assert_int_equal(mkdir(join(folder, state, "disk"), 0700), 0);
    join(path, state, "disk/best.h5");
    pid_t child = fork();
    if (child == 0) fill_small_disk(folder, path);
    int exit_status;
    assert_int_equal(waitpid(child, &exit_status, 0), child);
    assert_int_equal(rmdir(folder), 0);
    assert_true(WIFEXITED(exit_status));
    if (WEXITSTATUS(exit_status) == 77) {
        print_message("no small file system can be mounted here: the limit on file sizes above stands in for it\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(exit_status), 0);
}

/* As a user without rights: root may write anywhere. */
static int try_as_nobody(const char *path) {
    if (geteuid() == 0 && (setegid(65534) != 0 || seteuid(65534) != 0)) return 9;
    lk_error err = {0};
    if (write_small(path, 4, 10, &err) != LK_ERR_IO) return 1;
    if (strstr(err.message, path) == NULL || strstr(err.message, "Permission denied") == NULL) return 2;
    lk_error_clear(&err);
    if (lk_text_write(path, "x", &err) != LK_ERR_IO || strstr(err.message, "Permission denied") == NULL) return 3;
    lk_error_clear(&err);
    if (lk_link_replace(path, "x", &err) != LK_ERR_IO || strstr(err.message, "Permission denied") == NULL) return 4;
    return 0;
}

static void test_a_folder_that_refuses_is_named(void **state) {
    char path[PATH_SIZE];
    lk_error err = {0};
    assert_int_equal(write_small(join(path, state, "last.h5"), 3, 10, &err), LK_OK);
    assert_int_equal(chmod(*state, 0555), 0);
    pid_t child = fork();
    if (child == 0) _exit(try_as_nobody(path));
    int exit_status;
    assert_int_equal(waitpid(child, &exit_status, 0), child);
    assert_int_equal(chmod(*state, 0700), 0);
    assert_int_equal(WEXITSTATUS(exit_status), 0);
    assert_int_equal(read_small(path, 10, &err), 3);
    assert_int_equal(write_small(join(path, state, "none/last.h5"), 3, 10, &err), LK_ERR_IO);
    assert_sentence(&err, LK_ERR_IO, "none/last.h5: No such file or directory");
}

static void test_texts_and_links_are_replaced_whole(void **state) {
    char path[PATH_SIZE], link[PATH_SIZE], target[64];
    lk_error err = {0};
    assert_int_equal(lk_text_write(join(path, state, "meta.json"), "{\"a\": 1}\n", &err), LK_OK);
    assert_int_equal(lk_text_write(path, "{}\n", &err), LK_OK);
    size_t size;
    char *text = read_file(path, &size);
    assert_string_equal(text, "{}\n");
    free(text);
    join(link, state, "best.h5");
    const char *names[] = {"001_f1_0.5000.h5", "002_f1_0.6000.h5"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lk_link_replace(link, names[i], &err), LK_OK);
        ssize_t length = readlink(link, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = '\0';
        assert_string_equal(target, names[i]);
    }
    assert_int_equal(count_files(*state, ".tmp."), 0);
}

/* Process 1 lives and belongs to another user, whom a signal may not reach: its file stays. */
static int remove_as_nobody(const char *folder) {
    if (chmod(folder, 0777) != 0) return 1;
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/b.h5.tmp.1", folder);
    write_file(path, "x", 1);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) _exit(9);
        int removed = -1;
        lk_error err = {0};
        lk_status status = lk_temporaries_remove(folder, &removed, &err);
        _exit(status != LK_OK ? 2 : removed == 1 ? 0 : 3); /* the file of the dead writer */
    }
    int exit_status;
    if (waitpid(child, &exit_status, 0) != child) return 4;
    return access(path, F_OK) != 0 ? 5 : WEXITSTATUS(exit_status);
}

static void test_only_files_of_dead_writers_are_removed(void **state) {
    pid_t child = fork();
    if (child == 0) _exit(0);
    assert_int_equal(waitpid(child, NULL, 0), child); /* its id is free now */
    char path[PATH_SIZE], name[64];
    const char *stay[] = {"a.h5", "a.tmp.x", "a.tmp.", "a.tmp.12x", ".tmp.1"};
    for (int i = 0; i < 5; i++) write_file(join(path, state, stay[i]), "x", 1);
    snprintf(name, sizeof name, "a.h5.tmp.%d", (int)getppid());
    write_file(join(path, state, name), "x", 1);
    char dead[PATH_SIZE];
    snprintf(name, sizeof name, "a.h5.tmp.%d", (int)child);
    write_file(join(dead, state, name), "x", 1);
    assert_int_equal(remove_as_nobody(*state), 0);
    write_file(dead, "x", 1);
    int removed = -1;
    lk_error err = {0};
    assert_int_equal(lk_temporaries_remove(*state, &removed, &err), LK_OK);
    assert_int_equal(removed, 1);
    assert_int_not_equal(access(dead, F_OK), 0);
    assert_int_equal(access(path, F_OK), 0);
    for (int i = 0; i < 5; i++) assert_int_equal(access(join(path, state, stay[i]), F_OK), 0);
    assert_int_equal(lk_temporaries_remove(join(path, state, "none"), NULL, &err), LK_ERR_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_kill_at_any_instant_leaves_a_whole_file),
        cmocka_unit_test(test_a_write_that_fails_anywhere_leaves_the_old_file),
        cmocka_unit_test(test_a_full_disk_leaves_the_old_file),
        cmocka_unit_test(test_a_folder_that_refuses_is_named),
        cmocka_unit_test(test_texts_and_links_are_replaced_whole),
        cmocka_unit_test(test_only_files_of_dead_writers_are_removed),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
