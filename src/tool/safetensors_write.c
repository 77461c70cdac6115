/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors_write.c - the writer; see safetensors.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/safetensors.h"

/* Header entries in the order of falling element size, so that every tensor is aligned. */
static json_t *make_header(const struct tool_tensor *tensors, size_t n, const json_t *metadata)
{
    json_t *header = json_object();
    json_int_t at = 0;

    if (metadata != NULL) {
        json_object_set_new(header, "__metadata__", json_deep_copy(metadata));
    }
    for (size_t elem = 8; elem > 0; elem /= 2) {
        for (size_t i = 0; i < n; i++) {
            json_int_t bytes = (json_int_t)((uint64_t)tensors[i].count * elem);
            json_t *shape;

            if (tool_dtype_size(tensors[i].dtype) != elem) {
                continue;
            }
            shape = json_array();
            for (int32_t d = 0; d < tensors[i].rank; d++) {
                json_array_append_new(shape, json_integer(tensors[i].shape[d]));
            }
            json_object_set_new(header, tensors[i].name,
                                json_pack("{s:s, s:o, s:[I, I]}", "dtype",
                                          tool_dtype_name(tensors[i].dtype), "shape", shape,
                                          "data_offsets", at, at + bytes));
            at += bytes;
        }
    }
    return header;
}

static bool write_all(FILE *out, const char *header, const struct tool_tensor *tensors, size_t n)
{
    size_t length = strlen(header);
    size_t padded = (8 + length + 63) / 64 * 64 - 8;
    unsigned char prefix[8];

    for (int i = 0; i < 8; i++) {
        prefix[i] = (unsigned char)((uint64_t)padded >> (8 * i));
    }
    fwrite(prefix, 1, 8, out);
    fwrite(header, 1, length, out);
    for (size_t i = length; i < padded; i++) {
        fputc(' ', out);
    }
    for (size_t elem = 8; elem > 0; elem /= 2) {
        for (size_t i = 0; i < n; i++) {
            if (tool_dtype_size(tensors[i].dtype) == elem && tensors[i].count > 0) {
                fwrite(tensors[i].data, elem, (size_t)tensors[i].count, out);
            }
        }
    }
    return fflush(out) == 0 && !ferror(out);
}

bool tool_file_write(const char *path, const struct tool_tensor *tensors, size_t n,
                     const json_t *metadata, struct tool_fault *fault)
{
    json_t *header = make_header(tensors, n, metadata);
    char *text = json_dumps(header, JSON_COMPACT | JSON_ENSURE_ASCII);
    FILE *out = NULL;
    bool good = false;

    json_decref(header);
    if (text == NULL) {
        return tool_fault_set(fault, path, "no memory for the header");
    }
    out = fopen(path, "wb");
    if (out == NULL) {
        tool_fault_set(fault, path, "%s", strerror(errno));
    } else {
        good = write_all(out, text, tensors, n);
        if (fclose(out) != 0 || !good) {
            good = tool_fault_set(fault, path, "cannot write: %s", strerror(errno));
        }
    }
    free(text);
    return good;
}
