#include "io/hdf5/quiet.h"

#include <hdf5.h>

void lk_hdf5_quiet(void) {
    /* After a full disk libhdf5's own exit handler would try to write again what could not be written. It can only be
     * refused before the library starts, whoever starts it. */
    H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}
