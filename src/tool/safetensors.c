/* safetensors.c - the reader's checks; see safetensors.h. */
#include "tool/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA_ALIGN 8 /* of the first data byte in the file: the widest element */

static const struct {
    const char *name;
    size_t size;
} dtypes[TOOL_DTYPES] = {{"F64", 8}, {"F32", 4}, {"I32", 4}, {"U8", 1}, {"BF16", 2}};

const char *tool_dtype_name(enum tool_dtype dtype)
{
    return dtypes[dtype].name;
}

size_t tool_dtype_size(enum tool_dtype dtype)
{
    return dtypes[dtype].size;
}

const char *tool_shape_text(const int64_t *shape, int32_t rank, char text[96])
{
    size_t used = 1;

    strcpy(text, "[");
    for (int32_t i = 0; i < rank && used < 70; i++) {
        used += (size_t)snprintf(text + used, 96 - used, i == 0 ? "%lld" : ", %lld",
                                 (long long)shape[i]);
    }
    snprintf(text + used, 96 - used, "]");
    return text;
}

const struct tool_tensor *tool_file_find(const struct tool_file *file, const char *name)
{
    for (size_t i = 0; i < file->count; i++) {
        if (strcmp(file->tensors[i].name, name) == 0) {
            return &file->tensors[i];
        }
    }
    return NULL;
}

const char *tool_file_text(const struct tool_file *file, const char *key)
{
    return json_string_value(json_object_get(file->metadata, key));
}

double tool_tensor_value(const struct tool_tensor *tensor, int64_t i)
{
    if (tensor->dtype == TOOL_BF16) {
        const uint32_t bits = (uint32_t)((const uint16_t *)tensor->data)[i] << 16;
        float value;

        memcpy(&value, &bits, sizeof value);
        return value;
    }
    return tensor->dtype == TOOL_F64 ? ((const double *)tensor->data)[i]
                                     : (double)((const float *)tensor->data)[i];
}

/* --- the frame ----------------------------------------------------------------------------------
 */

/* Header length and its place in the file. */
static bool check_frame(const struct tool_file *file, size_t *length, struct tool_fault *fault)
{
    uint64_t n = 0;

    if (file->size < 8) {
        return tool_fault_set(fault, file->path,
                              "truncated: %zu bytes, where the header length takes 8", file->size);
    }
    for (int i = 7; i >= 0; i--) {
        n = n << 8 | file->bytes[i];
    }
    if (n > TOOL_HEADER_MAX) {
        return tool_fault_set(fault, file->path, "header length %llu exceeds the limit of %d bytes",
                              (unsigned long long)n, TOOL_HEADER_MAX);
    }
    if (n > file->size - 8) {
        return tool_fault_set(fault, file->path,
                              "truncated header: its length is %llu, but only %zu bytes follow",
                              (unsigned long long)n, file->size - 8);
    }
    if (n < 2) {
        return tool_fault_set(fault, file->path,
                              "header length %llu is too small for a JSON object",
                              (unsigned long long)n);
    }
    if ((8 + n) % DATA_ALIGN != 0) {
        return tool_fault_set(fault, file->path,
                              "header length %llu: the data would start at byte %llu, which is no "
                              "multiple of %d",
                              (unsigned long long)n, (unsigned long long)(8 + n), DATA_ALIGN);
    }
    *length = (size_t)n;
    return true;
}

/* Printable ASCII and blanks only, no escapes. */
static bool check_ascii(const struct tool_file *file, size_t length, struct tool_fault *fault)
{
    long line = 1, column = 1;

    for (size_t i = 0; i < length; i++, column++) {
        unsigned char c = file->bytes[8 + i];

        if (c == '\\') {
            return tool_fault_set(fault, file->path,
                                  "header, line %ld, column %ld: a backslash escape, which the "
                                  "format does not have",
                                  line, column);
        }
        if ((c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c > 0x7e) {
            return tool_fault_set(fault, file->path,
                                  "header, line %ld, column %ld: byte 0x%02x is not ASCII text",
                                  line, column, c);
        }
        if (c == '\n') {
            line++;
            column = 0;
        }
    }
    return true;
}

static bool load_json(struct tool_file *file, size_t length, struct tool_fault *fault)
{
    json_error_t error;

    file->header =
        json_loadb((const char *)file->bytes + 8, length, JSON_REJECT_DUPLICATES, &error);
    if (file->header == NULL) {
        return tool_fault_set(fault, file->path, "header, line %d, column %d: %s", error.line,
                              error.column, error.text);
    }
    if (!json_is_object(file->header)) {
        return tool_fault_set(fault, file->path, "the header is JSON, but no object");
    }
    return true;
}

static bool check_metadata(struct tool_file *file, struct tool_fault *fault)
{
    const char *key;
    json_t *value;

    file->metadata = json_object_get(file->header, "__metadata__");
    if (file->metadata == NULL) {
        return true;
    }
    if (!json_is_object(file->metadata)) {
        return tool_fault_set(fault, file->path, "__metadata__ is no object");
    }
    json_object_foreach(file->metadata, key, value)
    {
        if (!json_is_string(value)) {
            return tool_fault_set(fault, file->path, "__metadata__.%.80s is no string", key);
        }
    }
    return true;
}

/* --- one tensor ---------------------------------------------------------------------------------
 */

/* The fields dtype, shape and data_offsets, and no other. */
static bool check_fields(const char *path, const char *name, const json_t *entry,
                         struct tool_fault *fault)
{
    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    const char *key;
    json_t *value;

    if (!json_is_object(entry)) {
        return tool_fault_set(fault, path, "tensor %.80s is no object", name);
    }
    for (size_t i = 0; i < 3; i++) {
        if (json_object_get(entry, fields[i]) == NULL) {
            return tool_fault_set(fault, path, "tensor %.80s has no %s", name, fields[i]);
        }
    }
    json_object_foreach((json_t *)(uintptr_t)entry, key, value)
    {
        if (strcmp(key, "dtype") != 0 && strcmp(key, "shape") != 0 &&
            strcmp(key, "data_offsets") != 0) {
            return tool_fault_set(fault, path, "tensor %.80s has an unknown field %.80s", name,
                                  key);
        }
    }
    return true;
}

static bool read_dtype(const char *path, const json_t *value, struct tool_tensor *tensor,
                       struct tool_fault *fault)
{
    const char *text = json_string_value(value);

    for (int i = 0; text != NULL && i < TOOL_DTYPES; i++) {
        if (strcmp(text, dtypes[i].name) == 0) {
            tensor->dtype = (enum tool_dtype)i;
            return true;
        }
    }
    return tool_fault_set(fault, path,
                          "tensor %.80s: dtype %.20s; it must be F64, F32, I32, U8 or "
                          "BF16",
                          tensor->name, text != NULL ? text : "is no string");
}

static bool read_shape(const char *path, const json_t *value, struct tool_tensor *tensor,
                       struct tool_fault *fault)
{
    size_t rank = json_array_size(value);
    int64_t limit = INT64_MAX / 8;

    if (!json_is_array(value) || rank > TOOL_RANK_MAX) {
        return tool_fault_set(fault, path,
                              "tensor %.80s: shape must be an array of at most %d numbers",
                              tensor->name, TOOL_RANK_MAX);
    }
    tensor->rank = (int32_t)rank;
    tensor->count = 1;
    for (size_t i = 0; i < rank; i++) {
        const json_t *item = json_array_get(value, i);
        int64_t size = (int64_t)json_integer_value(item);

        if (!json_is_integer(item) || size < 0) {
            return tool_fault_set(fault, path, "tensor %.80s: shape[%zu] is no integer from 0 on",
                                  tensor->name, i);
        }
        if (size > 0 && tensor->count > limit / size) {
            return tool_fault_set(
                fault, path, "tensor %.80s: the shape has more than 2^60 elements", tensor->name);
        }
        tensor->shape[i] = size;
        tensor->count *= size;
    }
    return true;
}

static bool read_offsets(const struct tool_file *file, const json_t *value, size_t data,
                         struct tool_tensor *tensor, struct tool_fault *fault)
{
    const json_t *first = json_array_get(value, 0);
    const json_t *second = json_array_get(value, 1);
    uint64_t available = file->size - data;
    size_t elem = dtypes[tensor->dtype].size;

    if (json_array_size(value) != 2 || !json_is_integer(first) || !json_is_integer(second) ||
        json_integer_value(first) < 0 || json_integer_value(second) < 0) {
        return tool_fault_set(fault, file->path,
                              "tensor %.80s: data_offsets must be two integers from 0 on",
                              tensor->name);
    }
    tensor->begin = (uint64_t)json_integer_value(first);
    tensor->end = (uint64_t)json_integer_value(second);
    if (tensor->begin > tensor->end) {
        return tool_fault_set(fault, file->path, "tensor %.80s: data_offsets [%llu, %llu] fall",
                              tensor->name, (unsigned long long)tensor->begin,
                              (unsigned long long)tensor->end);
    }
    if (tensor->end > available) {
        return tool_fault_set(fault, file->path,
                              "tensor %.80s ends at byte %llu of the data, which has only %llu: "
                              "truncated?",
                              tensor->name, (unsigned long long)tensor->end,
                              (unsigned long long)available);
    }
    if (tensor->end - tensor->begin != (uint64_t)tensor->count * elem) {
        char shape[96];
        return tool_fault_set(fault, file->path,
                              "tensor %.80s: %s %s takes %llu bytes, but data_offsets name %llu",
                              tensor->name, dtypes[tensor->dtype].name,
                              tool_shape_text(tensor->shape, tensor->rank, shape),
                              (unsigned long long)((uint64_t)tensor->count * elem),
                              (unsigned long long)(tensor->end - tensor->begin));
    }
    if (tensor->begin % elem != 0) {
        return tool_fault_set(fault, file->path,
                              "tensor %.80s starts at byte %llu of the data, which is no multiple "
                              "of its %zu-byte elements",
                              tensor->name, (unsigned long long)tensor->begin, elem);
    }
    tensor->data = file->bytes + data + tensor->begin;
    return true;
}

/* --- all tensors --------------------------------------------------------------------------------
 */

static int by_offset(const void *a, const void *b)
{
    const struct tool_tensor *x = a, *y = b;

    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    if (x->end != y->end) {
        return x->end < y->end ? -1 : 1;
    }
    return strcmp(x->name, y->name);
}

/* Sorted by offset they must follow one another to the end of the file. */
static bool check_cover(struct tool_file *file, size_t data, struct tool_fault *fault)
{
    uint64_t at = 0;

    qsort(file->tensors, file->count, sizeof *file->tensors, by_offset);
    for (size_t i = 0; i < file->count; i++) {
        const struct tool_tensor *tensor = &file->tensors[i];

        if (tensor->begin < at) {
            return tool_fault_set(
                fault, file->path, "tensors %.80s and %.80s overlap at byte %llu of the data",
                file->tensors[i - 1].name, tensor->name, (unsigned long long)tensor->begin);
        }
        if (tensor->begin > at) {
            return tool_fault_set(fault, file->path,
                                  "bytes %llu to %llu of the data, before tensor %.80s, belong to "
                                  "no tensor",
                                  (unsigned long long)at, (unsigned long long)tensor->begin,
                                  tensor->name);
        }
        at = tensor->end;
    }
    if (at != file->size - data) {
        return tool_fault_set(fault, file->path, "%llu bytes after the last tensor belong to none",
                              (unsigned long long)(file->size - data - at));
    }
    return true;
}

static bool read_tensors(struct tool_file *file, size_t data, struct tool_fault *fault)
{
    const char *name;
    json_t *entry;
    size_t n = json_object_size(file->header);

    file->tensors = calloc(n > 0 ? n : 1, sizeof *file->tensors);
    if (file->tensors == NULL) {
        return tool_fault_set(fault, file->path, "no memory for %zu tensors", n);
    }
    json_object_foreach(file->header, name, entry)
    {
        struct tool_tensor *tensor = &file->tensors[file->count];

        if (strcmp(name, "__metadata__") == 0) {
            continue;
        }
        tensor->name = name;
        if (!check_fields(file->path, name, entry, fault) ||
            !read_dtype(file->path, json_object_get(entry, "dtype"), tensor, fault) ||
            !read_shape(file->path, json_object_get(entry, "shape"), tensor, fault) ||
            !read_offsets(file, json_object_get(entry, "data_offsets"), data, tensor, fault)) {
            return false;
        }
        file->count++;
    }
    return check_cover(file, data, fault);
}

bool tool_file_parse(struct tool_file *file, const char *path, const void *bytes, size_t size,
                     struct tool_fault *fault)
{
    size_t length = 0;

    memset(file, 0, sizeof *file);
    file->path = path;
    file->bytes = bytes;
    file->size = size;
    if (check_frame(file, &length, fault) && check_ascii(file, length, fault) &&
        load_json(file, length, fault) && check_metadata(file, fault) &&
        read_tensors(file, 8 + length, fault)) {
        return true;
    }
    tool_file_close(file);
    return false;
}
