/* Stacks to switch between on one host thread. */
#ifndef LK_TESTS_GPU_FIBRE_H
#define LK_TESTS_GPU_FIBRE_H

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

/* Zero: none yet. Its stack is kept for its next life. */
typedef struct sim_fibre {
    void *stack, *saved; /* saved: the stack pointer while another runs */
    void *fake;          /* the address sanitizer's */
#if !defined(__x86_64__)
    ucontext_t context;
#endif
} sim_fibre;

/* Goes on with a fibre until it leaves. life: what a fibre without a stack begins with; it never returns. Not from
 * within a fibre. */
void sim_fibre_enter(sim_fibre *fibre, void (*life)(void));
/* The fibre is `self`, the one that was entered. Returns when it is entered again. */
void sim_fibre_leave(sim_fibre *self);
/* The first thing in a life. */
void sim_fibre_begin(void);

#endif
