/* How every part of this program starts using libhdf5. */
#ifndef LK_IO_HDF5_QUIET_H
#define LK_IO_HDF5_QUIET_H

/* Before the first other call of libhdf5 in a thread: it neither prints nor works after the process has ended. */
void lk_hdf5_quiet(void);

#endif
