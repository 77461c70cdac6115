/* merge.h - the merge of two raw states of one row, in plain C: what the entry merge of every
 * kernel set does.
 */
#ifndef GQA__MERGE_H
#define GQA__MERGE_H

#include <stdint.h>

/* A raw state of one row. */
struct gqa__row_state {
    float *m, *l;
    float *o; /* [dv] */
};

/* left (lower keys) = merge of left and right. */
void gqa__merge_row(const struct gqa__row_state *left, const struct gqa__row_state *right,
                    int32_t dv);

#endif
