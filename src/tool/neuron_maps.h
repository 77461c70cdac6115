/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_maps.h - files of schema gqa-neuron/1 whose profile is a map of integers: strategy, heads,
 * caches, schedules. */
#ifndef GQA__TOOL_NEURON_MAPS_H
#define GQA__TOOL_NEURON_MAPS_H

#include "tool/neuron_record.h"

/* Compute what the file expects of its maps, from its tables, into the record. */
bool tool_neuron_maps_run(struct tool_neuron_record *record, struct tool_fault *fault);

/* --- for the files of the maps -----------------------------------------------------------------
 */

enum { TOOL_MAPS_ROOM = 1 << 17 }; /* numbers of one result */

/* A run: the record, and room for one result. */
struct tool_maps {
    struct tool_neuron_record *record;
    int32_t *numbers, *more;  /* [TOOL_MAPS_ROOM] */
    uint8_t *bytes;           /* [TOOL_MAPS_ROOM] */
    struct tool_fault *fault; /* the first one stays; then nothing more is computed */
    gqa_error err;
};

/* A tensor of integers of the file: rows of so many columns. A fault and no rows without it. */
struct tool_maps_table {
    const int32_t *row;
    int64_t rows;
};
struct tool_maps_table tool_maps_table(struct tool_maps *maps, const char *name, int64_t columns);

/* n numbers fit a result; a fault if not. */
bool tool_maps_fits(struct tool_maps *maps, int64_t n);
/* status is OK; a fault with the library's words if not. */
bool tool_maps_did(struct tool_maps *maps, const char *call, gqa_status status);

/* Put n more numbers, or bytes, into a tensor, behind those that it has. */
void tool_maps_append(struct tool_maps *maps, const char *name, const int32_t *from, int64_t n);
void tool_maps_append_bytes(struct tool_maps *maps, const char *name, const uint8_t *from,
                            int64_t n);
/* A row of a ragged tensor begins or ends here: its place goes to the tensor's offsets. */
void tool_maps_offset(struct tool_maps *maps, const char *name);

/* One kind of file each. */
void tool_maps_strategy(struct tool_maps *maps);
void tool_maps_heads(struct tool_maps *maps);
void tool_maps_caches(struct tool_maps *maps);
void tool_maps_schedules(struct tool_maps *maps);

#endif
