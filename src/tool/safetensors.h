/* safetensors.h - a strict reader and a writer of safetensors files.
 *
 * The file: 8 bytes of little-endian header length N, N bytes of ASCII JSON without backslash
 * escapes, then data; 8 + N is a multiple of 8 (written: of 64) and every tensor starts at a
 * multiple of its element size. The tensors cover the data without overlap, hole or rest. Whatever
 * breaks one of these rules is refused with a message that names the file, the tensor and the byte.
 */
#ifndef GQA__TOOL_SAFETENSORS_H
#define GQA__TOOL_SAFETENSORS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "tool/fault.h"

#define TOOL_RANK_MAX   8
#define TOOL_HEADER_MAX 100000000 /* bytes of JSON */

enum tool_dtype { TOOL_F64, TOOL_F32, TOOL_I32, TOOL_U8, TOOL_BF16, TOOL_DTYPES };

struct tool_tensor {
    const char *name; /* lives as long as the file */
    enum tool_dtype dtype;
    int32_t rank;
    int64_t shape[TOOL_RANK_MAX];
    int64_t count;    /* elements */
    uint64_t begin;   /* bytes from the start of the data */
    uint64_t end;     /* one past the last */
    const void *data; /* aligned to the element */
};

struct tool_file {
    const char *path;
    const unsigned char *bytes; /* the whole file; a mapping, or the caller's */
    size_t size;
    void *mapping; /* NULL when the bytes are the caller's */
    json_t *header;
    json_t *metadata;            /* string -> string; NULL if there is none. Part of header */
    struct tool_tensor *tensors; /* [count], in the order of the data */
    size_t count;
};

/* Map and check the file. On failure nothing is held. */
bool tool_file_open(struct tool_file *file, const char *path, struct tool_fault *fault);

/* The same for bytes in memory, aligned to 8, that outlive the file. path is for messages. */
bool tool_file_parse(struct tool_file *file, const char *path, const void *bytes, size_t size,
                     struct tool_fault *fault);

void tool_file_close(struct tool_file *file);

/* Both paths name one regular file. */
bool tool_file_same(const char *a, const char *b);

/* NULL if there is none. */
const struct tool_tensor *tool_file_find(const struct tool_file *file, const char *name);
const char *tool_file_text(const struct tool_file *file, const char *key);

/* Element i of a floating-point tensor. */
double tool_tensor_value(const struct tool_tensor *tensor, int64_t i);

const char *tool_dtype_name(enum tool_dtype dtype);
size_t tool_dtype_size(enum tool_dtype dtype);

/* "[2, 3]" into text; returns text. */
const char *tool_shape_text(const int64_t *shape, int32_t rank, char text[96]);

/* Write n tensors (name, dtype, rank, shape, count and data are read) and metadata (an object of
 * ASCII strings, may be NULL). Wider elements come first, so that all are aligned. */
bool tool_file_write(const char *path, const struct tool_tensor *tensors, size_t n,
                     const json_t *metadata, struct tool_fault *fault);

#endif
