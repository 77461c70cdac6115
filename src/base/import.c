/* SPDX-License-Identifier: Apache-2.0 */
/* import.c - see import.h. */
#include "base/import.h"

#include <stdbool.h>
#include <string.h>

#include "base/error.h"

/* A struct_size that is further beyond the library's own than this is taken for garbage, not for a
 * newer struct: its tail is not read. */
enum { MAX_GROWTH = 4096 };

static bool all_zero(const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

gqa_status gqa__import(void *own, size_t own_size, const void *in, const char *field,
                       gqa_error *err)
{
    uint32_t size;

    if (in == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, field, "is NULL; a struct is required");
    }
    memcpy(&size, in, sizeof size);
    if (size < sizeof size || size > own_size + MAX_GROWTH) {
        return gqa__fail(err, GQA_ERR_ARG, field,
                         "struct_size is %lu, this library's struct has %lu bytes; call its init "
                         "function first",
                         (unsigned long)size, (unsigned long)own_size);
    }
    if (size > own_size && !all_zero((const unsigned char *)in + own_size, size - own_size)) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, field,
                         "struct_size is %lu and a field beyond this library's %lu bytes is set",
                         (unsigned long)size, (unsigned long)own_size);
    }
    if (size < own_size) {
        memset((unsigned char *)own + size, 0, own_size - size);
    }
    memcpy(own, in, size < own_size ? size : own_size);
    size = (uint32_t)own_size;
    memcpy(own, &size, sizeof size);
    return GQA_OK;
}

void gqa__export(void *out, const void *own, size_t own_size)
{
    uint32_t size;

    memcpy(&size, out, sizeof size);
    memcpy(out, own, size < own_size ? size : own_size);
    memcpy(out, &size, sizeof size);
}

void gqa__export_field(void *out, size_t offset, const void *value, size_t n)
{
    uint32_t size;

    memcpy(&size, out, sizeof size);
    if (offset < size) {
        memcpy((unsigned char *)out + offset, value, size - offset < n ? size - offset : n);
    }
}

void gqa__init_struct(void *own, size_t size)
{
    memset(own, 0, size);
    gqa__set_struct_size(own, size);
}

void gqa__set_struct_size(void *own, size_t size)
{
    const uint32_t size32 = (uint32_t)size;

    memcpy(own, &size32, size < sizeof size32 ? size : sizeof size32);
}
