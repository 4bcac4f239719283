/* Findings of `lockstep doctor`; shared by jobs/doctor*.c only. */
#ifndef LK_JOBS_DOCTOR_H
#define LK_JOBS_DOCTOR_H

typedef enum lk_finding_level {
    LK_FINDING_OK,
    LK_FINDING_NOTE,    /* worth knowing */
    LK_FINDING_WARNING, /* training works, but slower or less safely */
    LK_FINDING_BAD      /* training does not work */
} lk_finding_level;

typedef struct lk_finding {
    lk_finding_level level;
    char text[320]; /* what was found */
    char cure[320]; /* what to do; empty for OK and NOTE */
} lk_finding;

typedef struct lk_check {
    const char *name; /* "memory" */
    void (*run)(lk_finding *finding);
} lk_check;

/* Fill one part of a finding. */
void lk_finding_text(lk_finding *finding, lk_finding_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void lk_finding_cure(lk_finding *finding, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The machine. */
void lk_check_processor(lk_finding *finding);
void lk_check_cores(lk_finding *finding);
void lk_check_memory(lk_finding *finding);
void lk_check_shared_memory(lk_finding *finding);
void lk_check_folder(lk_finding *finding);
void lk_check_open_files(lk_finding *finding);
void lk_check_gpu(lk_finding *finding);

/* What is installed. */
void lk_check_arithmetic(lk_finding *finding);
void lk_check_mpi(lk_finding *finding);
void lk_check_launcher(lk_finding *finding);
void lk_check_hdf5(lk_finding *finding);
void lk_check_gnuplot(lk_finding *finding);

#endif
