/* SPDX-License-Identifier: Apache-2.0 */
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

bool tool_file_open(struct tool_file *file, const char *path, struct tool_fault *fault)
{
    struct stat status;
    void *mapping = NULL;
    bool good = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    memset(file, 0, sizeof *file);
    if (fd < 0 || fstat(fd, &status) != 0) {
        tool_fault_set(fault, path, "%s", strerror(errno));
    } else if (!S_ISREG(status.st_mode)) {
        tool_fault_set(fault, path, "not a regular file");
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

void tool_file_close(struct tool_file *file)
{
    json_decref(file->header);
    free(file->tensors);
    if (file->mapping != NULL) {
        munmap(file->mapping, file->size);
    }
    memset(file, 0, sizeof *file);
}
