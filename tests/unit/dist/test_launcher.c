/* Who started this process (P20): the environments that launchers leave behind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dist/launcher.h"
#include "tests/unit/unit.h"

static char *variable(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *at = list; *at != '\0'; at += strlen(at) + 1)
        if (strncmp(at, name, length) == 0 && at[length] == '=') return (char *)at + length + 1;
    return NULL;
}

/* One stand-in for getenv per case: "A=1\0B=2\0". */
#define ENVIRONMENT(name, text) \
    static char *name(const char *wanted) { return variable(text "\0", wanted); }

ENVIRONMENT(empty, "")
ENVIRONMENT(open_mpi, "OMPI_COMM_WORLD_SIZE=4\0OMPI_COMM_WORLD_RANK=1\0PMIX_RANK=1\0")
ENVIRONMENT(hydra, "PMI_RANK=0\0PMI_SIZE=2\0")
ENVIRONMENT(srun_pmix, "SLURM_JOB_ID=7\0SLURM_STEP_ID=0\0SLURM_NTASKS=8\0SLURM_STEP_NUM_TASKS=8\0PMIX_RANK=3\0")
ENVIRONMENT(srun_pmi2,
            "SLURM_JOB_ID=7\0SLURM_STEP_ID=0\0SLURM_NTASKS=8\0SLURM_STEP_NUM_TASKS=8\0PMI_SIZE=8\0PMI_RANK=1\0")
ENVIRONMENT(srun_plain, "SLURM_JOB_ID=7\0SLURM_STEPID=2\0SLURM_NTASKS=8\0")
/* A step of fewer tasks than the job has. */
ENVIRONMENT(srun_part, "SLURM_JOB_ID=7\0SLURM_STEP_ID=1\0SLURM_NTASKS=8\0SLURM_STEP_NUM_TASKS=2\0SLURM_PROCID=5\0")
ENVIRONMENT(batch_script, "SLURM_JOB_ID=7\0SLURM_NTASKS=8\0SLURM_PROCID=0\0")
/* mpirun inside an allocation starts its daemons through srun: one per node. */
ENVIRONMENT(mpirun_in_slurm, "SLURM_JOB_ID=7\0SLURM_STEP_ID=0\0SLURM_STEP_NUM_TASKS=2\0OMPI_COMM_WORLD_SIZE=16\0")
ENVIRONMENT(other_pmix, "PMIX_RANK=0\0")
ENVIRONMENT(nonsense, "OMPI_COMM_WORLD_SIZE=many\0PMI_SIZE=-3\0SLURM_NTASKS=\0")
ENVIRONMENT(huge, "OMPI_COMM_WORLD_SIZE=99999999999999999999\0")

static void test_detect(void **state) {
    (void)state;
    static const struct {
        char *(*get)(const char *);
        lk_launcher_kind kind;
        int size, rank;
    } cases[] = {
        {empty, LK_LAUNCHER_NONE, 1, 0},        {open_mpi, LK_LAUNCHER_OPENMPI, 4, 1},
        {hydra, LK_LAUNCHER_PMI, 2, 0},         {srun_pmix, LK_LAUNCHER_SLURM, 8, 3},
        {srun_pmi2, LK_LAUNCHER_SLURM, 8, 1},   {srun_plain, LK_LAUNCHER_SLURM, 8, -1},
        {srun_part, LK_LAUNCHER_SLURM, 2, -1}, /* no process of it has that number */
        {batch_script, LK_LAUNCHER_NONE, 1, 0}, {mpirun_in_slurm, LK_LAUNCHER_OPENMPI, 16, -1},
        {other_pmix, LK_LAUNCHER_PMIX, 0, 0},   {nonsense, LK_LAUNCHER_NONE, 1, 0},
        {huge, LK_LAUNCHER_NONE, 1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lk_launcher launcher = lk_launcher_detect(cases[i].get);
        assert_int_equal(launcher.kind, cases[i].kind);
        assert_int_equal(launcher.size, cases[i].size);
        assert_int_equal(launcher.rank, cases[i].rank);
    }
}

static void make_program(const char *folder, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(chmod(path, 0755), 0);
}

static void drop_program(const char *folder, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(unlink(path), 0);
}

static void test_command(void **state) {
    (void)state;
    char folder[] = "/tmp/lockstep-launcher-XXXXXX", path[300], text[128];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "/nowhere:%s:", folder);
    const char *open = "Open MPI v4.1.4, package: x", *mpich = "MPICH Version:\t4.0.2\n";
    assert_string_equal(lk_launcher_command(text, sizeof text, open, LK_LAUNCHER_PMI, 4, path),
                        "mpirun -n 4 lockstep ...");
    assert_string_equal(lk_launcher_command(text, sizeof text, mpich, LK_LAUNCHER_OPENMPI, 4, NULL),
                        "mpiexec -n 4 lockstep ...");
    make_program(folder, "mpiexec.hydra");
    assert_string_equal(lk_launcher_command(text, sizeof text, mpich, LK_LAUNCHER_OPENMPI, 4, path),
                        "mpiexec.hydra -n 4 lockstep ...");
    make_program(folder, "mpiexec.mpich");
    make_program(folder, "mpirun.openmpi");
    assert_string_equal(lk_launcher_command(text, sizeof text, mpich, LK_LAUNCHER_OPENMPI, 4, path),
                        "mpiexec.mpich -n 4 lockstep ...");
    assert_string_equal(lk_launcher_command(text, sizeof text, open, LK_LAUNCHER_PMI, 2, path),
                        "mpirun.openmpi -n 2 lockstep ...");
    assert_string_equal(lk_launcher_command(text, sizeof text, open, LK_LAUNCHER_SLURM, 8, path),
                        "srun --mpi=pmix -n 8 lockstep ...");
    assert_string_equal(lk_launcher_command(text, sizeof text, mpich, LK_LAUNCHER_SLURM, 8, path),
                        "srun --mpi=pmi2 -n 8 lockstep ...");
    drop_program(folder, "mpiexec.hydra");
    drop_program(folder, "mpiexec.mpich");
    drop_program(folder, "mpirun.openmpi");
    assert_int_equal(rmdir(folder), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_detect), cmocka_unit_test(test_command)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
