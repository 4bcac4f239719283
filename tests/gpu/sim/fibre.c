#include "fibre.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "sim.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define STACK_BYTES ((size_t)256 << 10)
#else
#define STACK_BYTES ((size_t)64 << 10)
#endif

static sim_fibre host;
#if defined(__SANITIZE_ADDRESS__)
static const void *host_bottom;
static size_t host_size;
#endif

#if defined(__x86_64__)
/* Saves what a call must keep and goes on at another stack pointer. */
void sim_switch(void **save, void *to);
__asm__(
    ".text\n"
    ".globl sim_switch\n"
    ".hidden sim_switch\n"
    "sim_switch:\n"
    "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
    "movq %rsp, (%rdi)\n"
    "movq %rsi, %rsp\n"
    "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
    "ret\n");
#endif

static void go(sim_fibre *from, sim_fibre *to) {
#if defined(__SANITIZE_ADDRESS__)
    if (to == &host)
        __sanitizer_start_switch_fiber(&from->fake, host_bottom, host_size);
    else
        __sanitizer_start_switch_fiber(&from->fake, to->stack, STACK_BYTES);
#endif
#if defined(__x86_64__)
    sim_switch(&from->saved, to->saved);
#else
    swapcontext(&from->context, &to->context);
#endif
#if defined(__SANITIZE_ADDRESS__)
    if (from == &host)
        __sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
    else
        __sanitizer_finish_switch_fiber(from->fake, &host_bottom, &host_size);
#endif
}

static void prepare(sim_fibre *f, void (*life)(void)) {
    f->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (f->stack == MAP_FAILED) sim_fault("no stack for a thread of a kernel");
#if defined(__x86_64__)
    void **top = (void **)((char *)f->stack + STACK_BYTES);
    *--top = NULL; /* a life has no caller: keeps the stack as a call would leave it */
    *--top = (void *)life;
    for (int i = 0; i < 6; i++) *--top = NULL;
    f->saved = top;
#else
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&f->context, life, 0);
#endif
}

void sim_fibre_begin(void) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(NULL, &host_bottom, &host_size);
#endif
}

void sim_fibre_enter(sim_fibre *fibre, void (*life)(void)) {
    if (fibre->stack == NULL) prepare(fibre, life);
    go(&host, fibre);
}

void sim_fibre_leave(sim_fibre *self) { go(self, &host); }
