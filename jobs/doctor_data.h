/* Data that the self-test makes for itself; jobs/doctor*.c only. */
#ifndef LK_JOBS_DOCTOR_DATA_H
#define LK_JOBS_DOCTOR_DATA_H

#include "jobs/doctor_selftest.h"

/* Packs `count` grey training images of size x size pixels into `path`: four classes, a bright square in one of the
 * corners under noise; and 20 each for validation and test. Errors: LK_ERR_IO, LK_ERR_MEMORY; LK_ERR_INTERNAL where
 * packing fails. */
LK_MUST_CHECK lk_status lk_doctor_data(lk_selftest *test, const char *path, int count, int size, lk_error *err);

#endif
