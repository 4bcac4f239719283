/* Faults that are planted on purpose, to see that they are caught (tests/gpu/test_planted.py): LK_SIM_PLANT is one of
 *   stride     convolutions go over their input in other steps
 *   padding    convolutions begin elsewhere
 *   axis       products of matrices sum over the wrong axis of their second operand
 *   swap       two weight gradients of one shape lie in each other's place
 *   workspace  weight gradients in 16 bits, which wait in scratch memory to be widened, are not written
 *   wait       a stream does not wait for an event
 *   record     an event is not recorded
 *   read       the host looks at pinned memory before the copy to it is there
 *   free       memory that a convolution reads is freed before its turn comes
 *   rate       a captured update reads the tables (learning rate, step) that its first replay was sent
 *   pointer    a captured pass runs in place of a later one with other addresses
 *   bucket     a rank sends a part of a bucket twice */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

bool sim_planted(const char *fault) {
    const char *planted = getenv("LK_SIM_PLANT");
    return planted != NULL && strcmp(planted, fault) == 0;
}
