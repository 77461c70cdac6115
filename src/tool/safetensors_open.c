/* safetensors_open.c - a file mapped into memory; see safetensors.h. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool/safetensors.h"

static const char *kind_name(mode_t mode)
{
    return S_ISDIR(mode)    ? "a directory"
           : S_ISFIFO(mode) ? "a pipe"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
           : S_ISSOCK(mode) ? "a socket"
                            : "of an unknown kind";
}

bool tool_file_open(struct tool_file *file, const char *path, struct tool_fault *fault)
{
    struct stat status;
    void *mapping = NULL;
    bool good = false;
    /* O_NONBLOCK: a FIFO that nobody writes to would keep open() waiting. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    memset(file, 0, sizeof *file);
    if (fd < 0 || fstat(fd, &status) != 0) {
        tool_fault_set(fault, path, "%s", strerror(errno));
    } else if (!S_ISREG(status.st_mode)) {
        tool_fault_set(fault, path,
                       "not a regular file but %s; files are mapped, so write it to one",
                       kind_name(status.st_mode));
    } else if (status.st_size == 0) {
        tool_fault_set(fault, path, "truncated: the file is empty");
    } else {
        mapping = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (mapping == MAP_FAILED) {
            tool_fault_set(fault, path, "cannot map it: %s", strerror(errno));
        } else if (tool_file_parse(file, path, mapping, (size_t)status.st_size, fault)) {
            file->mapping = mapping;
            good = true;
        } else {
            munmap(mapping, (size_t)status.st_size);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return good;
}

bool tool_file_same(const char *a, const char *b)
{
    struct stat one, other;

    return stat(a, &one) == 0 && stat(b, &other) == 0 && S_ISREG(one.st_mode) &&
           one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

void tool_file_close(struct tool_file *file)
{
    json_decref(file->header);
    free(file->tensors);
    if (file->mapping != NULL) {
        munmap(file->mapping, file->size);
    }
    memset(file, 0, sizeof *file);
}
