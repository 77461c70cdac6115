/* SPDX-License-Identifier: Apache-2.0 */
/* config.h - the layer that a case of attention or a whole layer runs. */
#ifndef GQA_BENCH_CONFIG_H
#define GQA_BENCH_CONFIG_H

#include "gqa/gqa.h"
#include "spec.h"

/* The config of the shape: with hidden states that of gpt-oss, whatever its dims. */
void bench_config(const struct bench_spec *spec, gqa_config *config);

#endif
