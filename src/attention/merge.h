/* SPDX-License-Identifier: Apache-2.0 */
/* merge.h - the merge of two raw states of one row, in plain C: what every row's merge entry does.
 */
#ifndef GQA__MERGE_H
#define GQA__MERGE_H

#include <stdint.h>

/* One row: *m, *l, o [dv] = merge of it (lower keys) and (m2, l2, o2). */
void gqa__merge_row(float *m, float *l, float *o, float m2, float l2, const float *o2, int32_t dv);

#endif
