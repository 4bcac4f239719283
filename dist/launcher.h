/* Who started this process, told from the environment. */
#ifndef LK_DIST_LAUNCHER_H
#define LK_DIST_LAUNCHER_H

#include <stddef.h>

typedef enum lk_launcher_kind {
    LK_LAUNCHER_NONE,    /* started by hand, or by a batch script itself */
    LK_LAUNCHER_OPENMPI, /* mpirun of Open MPI */
    LK_LAUNCHER_PMI,     /* hydra (MPICH, Intel MPI) and others that speak PMI */
    LK_LAUNCHER_SLURM,   /* srun */
    LK_LAUNCHER_PMIX     /* another PMIx launcher; the size isn't in the environment */
} lk_launcher_kind;

typedef struct lk_launcher {
    lk_launcher_kind kind;
    int size; /* processes it started; 0: unknown */
    int rank; /* of this process among them; -1: unknown */
} lk_launcher;

/* get: getenv, or a test's stand-in. Not Collective.
 * Sources: Open MPI, "Environment variables set for MPI applications"; MPICH hydra (PMI_SIZE, PMI_RANK); Slurm, srun(1)
 * "output environment variables": a batch script has SLURM_NTASKS but is one process, only a step has a step's
 * variables. An mpirun inside a Slurm step comes first: its processes inherit the step's variables. */
lk_launcher lk_launcher_detect(char *(*get)(const char *name));

/* "Open MPI's mpirun", static. Not Collective. */
const char *lk_launcher_name(lk_launcher_kind kind);

/* Writes the command that starts `size` processes of a program built with `library` (MPI_Get_library_version), e.g.
 * "mpirun.openmpi -n 4 lockstep ...", preferring launchers that exist in `path` (the variable PATH, may be NULL).
 * Returns text. Not Collective. */
char *lk_launcher_command(char *text, size_t text_size, const char *library, lk_launcher_kind kind, int size,
                          const char *path);

#endif
