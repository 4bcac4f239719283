#include "dist/mpi/mpi_module.h"

lk_status lk_mpi_create(lk_comm **out, lk_error *err) { return lk_comm_mpi_create(out, err); }

lk_status lk_mpi_library(char *text, size_t size, lk_error *err) { return lk_comm_mpi_library(text, size, err); }
