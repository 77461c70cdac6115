/* config.h - a layer's configuration: defaults, import and check. */
#ifndef GQA__CONFIG_H
#define GQA__CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "gqa/config.h"

/* gqa_config_init_sized: the first size bytes of the defaults. */
void gqa__config_init(gqa_config *config, size_t size);

/* Bring a caller's struct of any struct_size to this library's own (absent fields are zero). */
gqa_status gqa__config_import(const gqa_config *in, gqa_config *out, gqa_error *err);

/* The checks of gqa_config_check on an imported config, in the order of the fields; the first
 * fault is reported. Whether the machine has the kernel set is kernel/choice/select.h's to say. */
gqa_status gqa__config_check(const gqa_config *config, gqa_error *err);

/* Does the limit (config.max_isa) admit the kernel set isa? A limit of one architecture says
 * nothing about the other's sets; SCALAR admits nothing but SCALAR, AUTO everything. */
bool gqa__isa_within(gqa_isa isa, gqa_isa limit);

#endif
