#include "device/gpu_kinds.h"

#include <string.h>

/* Source of rates: NVIDIA's data sheets "H100 Tensor Core GPU" and "A100 Tensor Core GPU", SXM. The H100's properties
 * were read from one; the A100's are from documents. */
static const lk_gpu_kind KINDS[] = {
    {"h100", "NVIDIA H100 SXM 80 GB", "H100", 900, INT64_C(85017493504), 3.35e12, 989.4e12, 494.7e12, 66.9e12, 450e9,
     "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,"
     "\"multiProcessorCount\":132,\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,"
     "\"maxSharedMemoryPerBlockOptin\":232448,\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,"
     "\"maxCtasPerSM\":32,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"pciDeviceId\":6,\"isTccDriver\":0,"
     "\"supportCoopLaunch\":1,\"totalGlobalMem\":85017493504,\"smClockRateKHz\":1980000,\"memClockRateKHz\":2619000,"
     "\"l2CacheSize\":52428800,\"cudaDeviceId\":0,\"deviceVer\":900,\"driverVer\":13000,"
     "\"deviceName\":\"NVIDIA H100 80GB HBM3\"}"},
    {"a100", "NVIDIA A100 SXM 80 GB", "A100", 800, INT64_C(84987740160), 2.039e12, 312e12, 156e12, 19.5e12, 300e9,
     "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,"
     "\"multiProcessorCount\":108,\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,"
     "\"maxSharedMemoryPerBlockOptin\":166912,\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,"
     "\"maxCtasPerSM\":32,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"pciDeviceId\":6,\"isTccDriver\":0,"
     "\"supportCoopLaunch\":1,\"totalGlobalMem\":84987740160,\"smClockRateKHz\":1410000,\"memClockRateKHz\":1593000,"
     "\"l2CacheSize\":41943040,\"cudaDeviceId\":0,\"deviceVer\":800,\"driverVer\":13000,"
     "\"deviceName\":\"NVIDIA A100-SXM4-80GB\"}"},
};

const lk_gpu_kind *lk_gpu_kinds(int *count) {
    *count = sizeof KINDS / sizeof *KINDS;
    return KINDS;
}

const lk_gpu_kind *lk_gpu_kind_find(const char *name) {
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (strcmp(KINDS[i].name, name) == 0) return &KINDS[i];
    return NULL;
}

const lk_gpu_kind *lk_gpu_kind_of(const char *identity) {
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (strstr(identity, KINDS[i].match) != NULL) return &KINDS[i];
    return NULL;
}

double lk_gpu_kind_peak(const lk_gpu_kind *kind, lk_dtype compute) {
    if (compute == LK_TF32) return kind->tf32_flops;
    return compute == LK_F32 ? kind->f32_flops : kind->short_flops;
}
