/* Checks of the machine: what the operating system and the processor say. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "device/module.h"
#include "jobs/doctor.h"

static const double MIB = 1024.0 * 1024, GIB = 1024.0 * 1024 * 1024;

/* Finds a line "KEY...: VALUE" of a file in /proc; false where there is none. */
static bool read_field(const char *path, const char *key, char *value, size_t size) {
    char line[1024];
    FILE *file = fopen(path, "r");
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || colon == NULL) continue;
        snprintf(value, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
        value[strcspn(value, "\n")] = '\0';
        found = true;
    }
    if (file != NULL) fclose(file);
    return found;
}

/* First number of a small file such as a control group's limit; false for "max" or no file. */
static bool read_number(const char *path, double *first, double *second) {
    FILE *file = fopen(path, "r");
    if (file == NULL) return false;
    int count = fscanf(file, "%lf %lf", first, second);
    fclose(file);
    return count >= 1;
}

void lk_check_processor(lk_finding *finding) {
    char model[128] = "unknown processor";
    if (!read_field("/proc/cpuinfo", "model name", model, sizeof model))
        read_field("/proc/cpuinfo", "CPU implementer", model, sizeof model);
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    bool sse41 = __builtin_cpu_supports("sse4.1") != 0, avx2 = __builtin_cpu_supports("avx2") != 0;
    bool avx512 = __builtin_cpu_supports("avx512bw") != 0, bf16 = __builtin_cpu_supports("avx512bf16") != 0;
    if (!sse41) {
        lk_finding_text(finding, LK_FINDING_BAD, "%s: no SSE4.1", model);
        lk_finding_cure(finding, "use a processor made after 2008: oneDNN needs SSE4.1");
    } else if (!avx2) {
        lk_finding_text(finding, LK_FINDING_WARNING, "%s: no AVX2", model);
        lk_finding_cure(finding,
                        "expect a quarter of the speed, or use a processor with AVX2 (in a virtual machine: "
                        "ask for the host's processor type)");
    } else {
        lk_finding_text(finding, LK_FINDING_OK, "%s: AVX2%s%s; compute float32%s", model, avx512 ? ", AVX-512" : "",
                        bf16 ? ", AVX512_BF16" : "", bf16 ? " or bfloat16" : "; no bfloat16 here");
    }
#else
    lk_finding_text(finding, LK_FINDING_NOTE, "%s: not an x86 processor; tested on x86 only", model);
#endif
}

/* Cores that the control group pays for, or 0 where there is no limit. Source: Linux, cgroup-v2, "cpu.max". */
static double cgroup_cores(void) {
    double quota, period = 0;
    if (read_number("/sys/fs/cgroup/cpu.max", &quota, &period) && period > 0) return quota / period;
    double unused;
    if (read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", &quota, &unused) &&
        read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us", &period, &unused) && quota > 0 && period > 0)
        return quota / period;
    return 0;
}

void lk_check_cores(lk_finding *finding) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    cpu_set_t set;
    int bound = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)online;
    double paid = cgroup_cores();
    const char *openmp = getenv("OMP_NUM_THREADS");
    if (paid > 0 && paid < bound) {
        lk_finding_text(finding, LK_FINDING_WARNING, "%d of %ld cores, but the container may use only %.2g of them",
                        bound, online, paid);
        lk_finding_cure(finding, "start %d rank(s) of one core, or raise the container's limit (docker run --cpus)",
                        paid < 1 ? 1 : (int)paid);
    } else if (bound < online) {
        lk_finding_text(finding, LK_FINDING_WARNING, "bound to %d of %ld cores", bound, online);
        lk_finding_cure(finding,
                        "right for one rank of several; otherwise start with 'mpirun --bind-to none' or ask "
                        "the scheduler for more cores (sbatch --cpus-per-task)");
    } else {
        lk_finding_text(finding, LK_FINDING_OK, "%d core(s)%s%s", bound,
                        openmp == NULL ? "" : "; OMP_NUM_THREADS=", openmp == NULL ? "" : openmp);
    }
}

void lk_check_memory(lk_finding *finding) {
    char text[64];
    double available = 0, limit, used = 0, unused;
    if (read_field("/proc/meminfo", "MemAvailable", text, sizeof text)) available = strtod(text, NULL) * 1024;
    bool limited = read_number("/sys/fs/cgroup/memory.max", &limit, &unused);
    if (limited && read_number("/sys/fs/cgroup/memory.current", &used, &unused) && limit - used < available)
        available = limit - used;
    struct rlimit address;
    if (getrlimit(RLIMIT_AS, &address) == 0 && address.rlim_cur != RLIM_INFINITY &&
        (double)address.rlim_cur < available)
        available = (double)address.rlim_cur;
    if (available <= 0) {
        lk_finding_text(finding, LK_FINDING_NOTE, "cannot tell how much memory is free");
    } else if (available < 512 * MIB) {
        lk_finding_text(finding, LK_FINDING_BAD, "%.0f MiB free", available / MIB);
        lk_finding_cure(finding, "end other programs, or raise the limit (ulimit -v, the container's or job's memory)");
    } else if (available < 2 * GIB) {
        lk_finding_text(finding, LK_FINDING_WARNING, "%.1f GiB free: small models only", available / GIB);
        lk_finding_cure(finding, "'lockstep plan JOB.yaml' says what a job needs; a smaller microbatch needs less");
    } else {
        lk_finding_text(finding, LK_FINDING_OK, "%.1f GiB free", available / GIB);
    }
}

void lk_check_shared_memory(lk_finding *finding) {
    struct statvfs fs;
    if (statvfs("/dev/shm", &fs) != 0) {
        lk_finding_text(finding, LK_FINDING_WARNING, "/dev/shm: %s", strerror(errno));
        lk_finding_cure(finding, "mount it (mount -t tmpfs tmpfs /dev/shm): MPI moves data between ranks through it");
        return;
    }
    double size = (double)fs.f_blocks * (double)fs.f_frsize, available = (double)fs.f_bavail * (double)fs.f_frsize;
    if (available < 128 * MIB) {
        lk_finding_text(finding, LK_FINDING_WARNING, "/dev/shm has %.0f of %.0f MiB free: too small for MPI's ranks",
                        available / MIB, size / MIB);
        lk_finding_cure(finding, "docker run --shm-size=1g, or mount -o remount,size=1g /dev/shm, or remove old files");
    } else {
        lk_finding_text(finding, LK_FINDING_OK, "/dev/shm has %.1f GiB free", available / GIB);
    }
}

void lk_check_folder(lk_finding *finding) {
    struct statvfs fs;
    if (statvfs(".", &fs) != 0) {
        lk_finding_text(finding, LK_FINDING_BAD, "the current folder: %s", strerror(errno));
        lk_finding_cure(finding, "change to a folder that exists");
        return;
    }
    double available = (double)fs.f_bavail * (double)fs.f_frsize;
    if (access(".", W_OK) != 0) {
        lk_finding_text(finding, LK_FINDING_WARNING, "the current folder is not writable: %s", strerror(errno));
        lk_finding_cure(finding, "give train a folder for the run that is, or change to one");
    } else if (available < 2 * GIB) {
        lk_finding_text(finding, LK_FINDING_WARNING, "%.2f GiB free in the current folder", available / GIB);
        lk_finding_cure(finding,
                        "a run keeps up to 2 + 2 x keep_best checkpoints (ResNet-50: 0.3 GiB each): free some space");
    } else {
        lk_finding_text(finding, LK_FINDING_OK, "%.1f GiB free in the current folder", available / GIB);
    }
}

void lk_check_open_files(lk_finding *finding) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) {
        lk_finding_text(finding, LK_FINDING_NOTE, "cannot tell how many files may be open");
    } else if (files.rlim_cur < 64) {
        lk_finding_text(finding, LK_FINDING_BAD, "only %llu files may be open", (unsigned long long)files.rlim_cur);
        lk_finding_cure(finding, "ulimit -n 1024 in the shell that starts training");
    } else if (files.rlim_cur < 512) {
        lk_finding_text(finding, LK_FINDING_WARNING, "%llu files may be open", (unsigned long long)files.rlim_cur);
        lk_finding_cure(finding, "ulimit -n 1024: many ranks on one node need more");
    } else {
        lk_finding_text(finding, LK_FINDING_OK, "%llu files may be open", (unsigned long long)files.rlim_cur);
    }
}

/* Does the device answer? Where it does not, its sentence says what is missing. */
void lk_check_gpu(lk_finding *finding) {
    int count = 0;
    DIR *folder = opendir("/proc/driver/nvidia/gpus");
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) count += entry->d_name[0] != '.';
    if (folder != NULL) closedir(folder);
    if (!lk_device_module_exists("cuda")) {
        if (count > 0)
            lk_finding_text(finding, LK_FINDING_NOTE,
                            "%d NVIDIA GPU(s) here, but this build has no CUDA device: CPU only", count);
        else
            lk_finding_text(finding, LK_FINDING_OK, "none, and this build has no CUDA device: the CPU trains");
        return;
    }
    lk_error err = {0};
    lk_device *device = NULL;
    if (lk_device_create(&device, "cuda", 1, &err) == LK_OK) {
        lk_finding_text(finding, LK_FINDING_OK, "%.300s", device->identity(device));
    } else if (count > 0) {
        lk_finding_text(finding, LK_FINDING_WARNING, "%d NVIDIA GPU(s) here, but %.260s", count, err.message);
        lk_finding_cure(finding, "see docs/gpu.md: CUDA, cuBLASLt and cuDNN 9 from the system or from pip");
    } else {
        lk_finding_text(finding, LK_FINDING_NOTE, "%.300s", err.message);
    }
    lk_device_free(device);
}
