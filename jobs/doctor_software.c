/* Checks of what is installed. HDF5's version is asked of the library that this process has loaded, found by name, so
 * that hdf5.h is not needed here. */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/device.h"
#include "dist/comm.h"
#include "dist/launcher.h"
#include "jobs/doctor.h"

enum { LIBRARY_TEXT = 8192 }; /* MPI_MAX_LIBRARY_VERSION_STRING of MPICH */

/* Full path of a program in PATH, links resolved; false where there is none. */
static bool find_program(const char *name, char resolved[PATH_MAX]) {
    const char *path = getenv("PATH");
    char file[PATH_MAX];
    while (path != NULL && *path != '\0') {
        size_t length = strcspn(path, ":");
        int wanted = snprintf(file, sizeof file, "%.*s/%s", (int)length, path, name);
        if (wanted > 0 && (size_t)wanted < sizeof file && access(file, X_OK) == 0 && realpath(file, resolved) != NULL)
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}

void lk_check_arithmetic(lk_finding *finding) {
    lk_error err = {0};
    lk_device *device = NULL;
    if (lk_device_create(&device, "cpu", 1, &err) != LK_OK) {
        lk_finding_text(finding, LK_FINDING_BAD, "the cpu device does not start: %.250s", err.message);
        lk_finding_cure(finding, "install oneDNN 3 (jobs/quickstart.sh does) and build again");
    } else {
        lk_finding_text(finding, LK_FINDING_OK, "%.300s", device->identity(device));
    }
    lk_device_free(device);
}

void lk_check_mpi(lk_finding *finding) {
    char library[LIBRARY_TEXT], line[160];
    lk_error err = {0};
    if (lk_comm_mpi_library(library, sizeof library, &err) != LK_OK) {
        lk_finding_text(finding, LK_FINDING_WARNING, "one rank only: %.280s", err.message);
        lk_finding_cure(finding,
                        "install the MPI that this program was built with (Debian, Ubuntu: openmpi-bin or mpich)");
        return;
    }
    snprintf(line, sizeof line, "%.*s", (int)strcspn(library, ",\n"), library);
    for (char *p = line; *p != '\0'; p++) *p = *p == '\t' ? ' ' : *p;
    bool open_mpi = strstr(library, "Open MPI") != NULL;
    if (open_mpi && geteuid() == 0 && getenv("OMPI_ALLOW_RUN_AS_ROOT") == NULL) {
        lk_finding_text(finding, LK_FINDING_WARNING, "%s; you are root, and its mpirun refuses to start for root",
                        line);
        lk_finding_cure(finding,
                        "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 in a container, or use "
                        "another account");
    } else {
        lk_finding_text(finding, LK_FINDING_OK, "%s", line);
    }
}

/* Does the first mpirun in PATH belong to the MPI this program was built with? If not, N processes start as N
 * separate worlds (P20). The files that the usual names lead to tell whose they are. */
void lk_check_launcher(lk_finding *finding) {
    char library[LIBRARY_TEXT], program[PATH_MAX], command[200];
    if (lk_comm_mpi_library(library, sizeof library, NULL) != LK_OK) {
        lk_finding_text(finding, LK_FINDING_NOTE, "no MPI, no launcher needed");
        return;
    }
    bool open_mpi = strstr(library, "Open MPI") != NULL;
    lk_launcher launcher = lk_launcher_detect(getenv);
    lk_launcher_command(command, sizeof command, library, launcher.kind, 2, getenv("PATH"));
    bool slurm = getenv("SLURM_JOB_ID") != NULL && find_program("srun", program);
    if (!slurm && !find_program("mpirun", program) && !find_program("mpiexec", program)) {
        lk_finding_text(finding, LK_FINDING_WARNING, "neither mpirun nor mpiexec is in PATH: one rank only");
        lk_finding_cure(finding, "install %s", open_mpi ? "openmpi-bin" : "mpich");
        return;
    }
    const char *slash = strrchr(program, '/'), *base = slash == NULL ? program : slash + 1;
    bool is_open_mpi = strcmp(base, "orterun") == 0 || strcmp(base, "prterun") == 0 || strstr(base, "openmpi") != NULL;
    bool is_hydra = strstr(base, "hydra") != NULL || strstr(base, "mpich") != NULL;
    if ((open_mpi && is_hydra) || (!open_mpi && is_open_mpi)) {
        lk_finding_text(finding, LK_FINDING_WARNING, "mpirun is %.80s, which starts %s, but this program uses %s", base,
                        is_hydra ? "MPICH programs" : "Open MPI programs", open_mpi ? "Open MPI" : "MPICH");
        lk_finding_cure(finding, "start with '%s'", command);
    } else if (!is_open_mpi && !is_hydra && !slurm) {
        lk_finding_text(finding, LK_FINDING_NOTE, "%.80s: cannot tell whose it is; try '%s'", base, command);
    } else {
        lk_finding_text(finding, LK_FINDING_OK, "'%s'", command);
    }
}

void lk_check_hdf5(lk_finding *finding) {
    int (*get_version)(unsigned *, unsigned *, unsigned *) = NULL;
    *(void **)&get_version = dlsym(RTLD_DEFAULT, "H5get_libversion");
    unsigned major = 0, minor = 0, release = 0;
    if (get_version == NULL || get_version(&major, &minor, &release) < 0) {
        lk_finding_text(finding, LK_FINDING_BAD, "no HDF5 library is loaded");
        lk_finding_cure(finding, "install libhdf5-dev and build again");
    } else if (major < 1 || (major == 1 && minor < 10)) {
        lk_finding_text(finding, LK_FINDING_WARNING, "HDF5 %u.%u.%u", major, minor, release);
        lk_finding_cure(finding, "use HDF5 1.10 or newer: older ones are not tested");
    } else {
        lk_finding_text(finding, LK_FINDING_OK, "HDF5 %u.%u.%u", major, minor, release);
    }
}

void lk_check_gnuplot(lk_finding *finding) {
    char program[PATH_MAX];
    if (find_program("gnuplot", program)) {
        lk_finding_text(finding, LK_FINDING_OK, "%.250s", program);
    } else {
        lk_finding_text(finding, LK_FINDING_NOTE,
                        "not installed: 'schedule -o' needs it (apt-get install gnuplot-nox)");
    }
}
