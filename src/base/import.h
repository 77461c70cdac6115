/* SPDX-License-Identifier: Apache-2.0 */
/* import.h - plain public structs of any struct_size. */
#ifndef GQA__IMPORT_H
#define GQA__IMPORT_H

#include <stddef.h>

#include "gqa/types.h"

/* Copy the caller's struct (its first member is its uint32_t struct_size) into own, which has
 * own_size bytes: missing tail fields become zero. A caller's struct that is larger than own is
 * accepted only if its extra bytes are all zero (a newer caller that uses nothing new). */
gqa_status gqa__import(void *own, size_t own_size, const void *in, const char *field,
                       gqa_error *err);

/* The way back for output structs: the caller's struct_size bytes of own, its struct_size kept. */
void gqa__export(void *out, const void *own, size_t own_size);

/* One field of it: n bytes at the offset, as far as the caller's struct_size reaches. */
void gqa__export_field(void *out, size_t offset, const void *value, size_t n);

/* Zero size bytes and set struct_size (as far as size reaches). */
void gqa__init_struct(void *own, size_t size);
void gqa__set_struct_size(void *own, size_t size);

#endif
