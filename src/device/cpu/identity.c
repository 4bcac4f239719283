/* What identifies the arithmetic of a launch. */
#include <gnu/libc-version.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "device/cpu/cpu_internal.h"

#if defined(__x86_64__)
#include <cpuid.h>

static void processor_print(char *text, size_t size) {
    uint32_t a = 0, b = 0, c = 0, d = 0;
    char vendor[13] = "";
    __get_cpuid(0, &a, &b, &c, &d);
    memcpy(vendor, &b, 4);
    memcpy(vendor + 4, &d, 4);
    memcpy(vendor + 8, &c, 4);
    __get_cpuid(1, &a, &b, &c, &d);
    uint32_t family = (a >> 8) & 15, model = (a >> 4) & 15;
    if (family == 6 || family == 15) model |= ((a >> 16) & 15) << 4;
    if (family == 15) family += (a >> 20) & 255;
    snprintf(text, size, "%s family %u model %u", vendor, family, model);
}
#else
static void processor_print(char *text, size_t size) { snprintf(text, size, "other processor"); }
#endif

static const char *isa_name(dnnl_cpu_isa_t isa) {
    switch (isa) {
        case dnnl_cpu_isa_sse41: return "sse41";
        case dnnl_cpu_isa_avx: return "avx";
        case dnnl_cpu_isa_avx2: return "avx2";
        case dnnl_cpu_isa_avx2_vnni: return "avx2_vnni";
        case dnnl_cpu_isa_avx2_vnni_2: return "avx2_vnni_2";
        case dnnl_cpu_isa_avx512_core: return "avx512_core";
        case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
        case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
        case dnnl_cpu_isa_avx512_core_fp16: return "avx512_core_fp16";
        case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
        case dnnl_cpu_isa_avx512_core_amx_fp16: return "avx512_core_amx_fp16";
        default: return "other";
    }
}

void lk_cpu_identity_print(char *text, size_t size, const char *kernels, int threads) {
    char processor[64];
    const dnnl_version_t *v = dnnl_version();
    processor_print(processor, sizeof processor);
    snprintf(text, size, "oneDNN %d.%d.%d (%.8s) %s, own loops %s, glibc %s, %s, %d thread%s a lane", v->major,
             v->minor, v->patch, v->hash, isa_name(dnnl_get_effective_cpu_isa()), kernels, gnu_get_libc_version(),
             processor, threads, threads == 1 ? "" : "s");
}
