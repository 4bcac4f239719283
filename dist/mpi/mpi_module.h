/* What the module lockstep_mpi.so shows: the two calls of dist/comm.h that need MPI (entry.c), which the program loads
 * when it needs them (load.c). */
#ifndef LK_DIST_MPI_MODULE_H
#define LK_DIST_MPI_MODULE_H

#include "dist/comm.h"

#define LK_MPI_EXPORT __attribute__((visibility("default")))

/* lk_comm_mpi_create. Collective. */
LK_MPI_EXPORT LK_MUST_CHECK lk_status lk_mpi_create(lk_comm **out, lk_error *err);
/* lk_comm_mpi_library. Not Collective. */
LK_MPI_EXPORT LK_MUST_CHECK lk_status lk_mpi_library(char *text, size_t size, lk_error *err);

#endif
