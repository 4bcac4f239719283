#include "dist/launcher.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Positive integer of a variable, or 0. */
static int variable_number(char *(*get)(const char *), const char *name) {
    const char *text = get(name);
    if (text == NULL || *text == '\0') return 0;
    char *end = NULL;
    long value = strtol(text, &end, 10);
    return *end == '\0' && value > 0 && value <= INT_MAX ? (int)value : 0;
}

/* This process's number among those that were started, from the first of `count` variables that holds one; or -1. */
static int variable_rank(char *(*get)(const char *), const char *const *names, int count) {
    for (int i = 0; i < count; i++) {
        const char *text = get(names[i]);
        if (text == NULL || *text == '\0') continue;
        char *end = NULL;
        long value = strtol(text, &end, 10);
        if (*end == '\0' && value >= 0 && value <= INT_MAX) return (int)value;
    }
    return -1;
}

static lk_launcher detect_kind(char *(*get)(const char *name)) {
    static const char *const ranks[] = {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID"};
    int size = variable_number(get, "OMPI_COMM_WORLD_SIZE");
    if (size > 0) return (lk_launcher){LK_LAUNCHER_OPENMPI, size, variable_rank(get, ranks, 1)};

    /* Slurm's PMI plugins set PMI_SIZE too: the command to suggest is then srun's. */
    bool step = get("SLURM_STEP_ID") != NULL || get("SLURM_STEPID") != NULL;
    int rank = variable_rank(get, ranks + 1, step ? 3 : 2);
    size = variable_number(get, "PMI_SIZE");
    if (size > 0) return (lk_launcher){step ? LK_LAUNCHER_SLURM : LK_LAUNCHER_PMI, size, rank};

    bool pmi = get("PMIX_RANK") != NULL || get("PMI_RANK") != NULL;
    size = variable_number(get, "SLURM_STEP_NUM_TASKS");
    if (size == 0) size = variable_number(get, "SLURM_NTASKS");
    if (size > 0 && (step || (pmi && get("SLURM_JOB_ID") != NULL))) return (lk_launcher){LK_LAUNCHER_SLURM, size, rank};
    if (pmi) return (lk_launcher){LK_LAUNCHER_PMIX, 0, rank};
    return (lk_launcher){LK_LAUNCHER_NONE, 1, 0};
}

lk_launcher lk_launcher_detect(char *(*get)(const char *name)) {
    lk_launcher launcher = detect_kind(get);
    if (launcher.size > 0 && launcher.rank >= launcher.size) launcher.rank = -1;
    return launcher;
}

const char *lk_launcher_name(lk_launcher_kind kind) {
    switch (kind) {
        case LK_LAUNCHER_NONE: return "no launcher";
        case LK_LAUNCHER_OPENMPI: return "Open MPI's mpirun";
        case LK_LAUNCHER_PMI: return "the mpiexec of MPICH (or a relative)";
        case LK_LAUNCHER_SLURM: return "srun";
        case LK_LAUNCHER_PMIX: return "a PMIx launcher";
    }
    return "a launcher";
}

static bool program_exists(const char *name, const char *path) {
    char file[PATH_MAX];
    while (path != NULL && *path != '\0') {
        size_t length = strcspn(path, ":");
        int wanted = snprintf(file, sizeof file, "%.*s/%s", (int)length, path, name);
        if (wanted > 0 && (size_t)wanted < sizeof file && access(file, X_OK) == 0) return true;
        path += length + (path[length] == ':');
    }
    return false;
}

char *lk_launcher_command(char *text, size_t text_size, const char *library, lk_launcher_kind kind, int size,
                          const char *path) {
    bool open_mpi = strstr(library, "Open MPI") != NULL;
    if (kind == LK_LAUNCHER_SLURM) {
        snprintf(text, text_size, "srun --mpi=%s -n %d lockstep ...", open_mpi ? "pmix" : "pmi2", size);
        return text;
    }
    const char *program = open_mpi ? "mpirun.openmpi" : "mpiexec.mpich";
    if (!program_exists(program, path)) program = open_mpi ? "mpirun" : "mpiexec.hydra";
    if (!program_exists(program, path)) program = open_mpi ? "mpirun" : "mpiexec";
    snprintf(text, text_size, "%s -n %d lockstep ...", program, size);
    return text;
}
