/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_integer_gather.c - the entry gather of the integer kernels, of every table that this
 * machine runs, value by value: sizes around the widths of vectors, rows and columns in either
 * order or both apart, and zeros behind. Buffers end at a page that may not be touched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/guarded_buffer.h"
#include "support/integer_tables.h"
#include "support/program.h"

static char current[256]; /* parameters of the running case */

enum order { BY_ROWS, TURNED, APART, AT_ONE_PLACE, ORDERS };

static int64_t step_of_rows(enum order order, int32_t columns, int32_t gap)
{
    return order == BY_ROWS ? columns + gap : order == TURNED ? 1 : order == APART ? 3 : 0;
}

static int64_t step_of_columns(enum order order, int32_t rows, int32_t gap)
{
    return order == BY_ROWS  ? 1
           : order == TURNED ? rows + gap
           : order == APART  ? 3 * rows + gap
                             : 0;
}

/* Every element of the caller's has a value of its own, as far as a byte goes. */
static int8_t value_of(int64_t i)
{
    return (int8_t)(uint8_t)(i * 167 + i / 256 * 29);
}

static void run_case(const struct integer_table *table, enum order order, int32_t rows,
                     int32_t columns)
{
    const int32_t gap = (rows + columns) % 3, behind = columns * 7 % 16;
    const int64_t row = step_of_rows(order, columns, gap);
    const int64_t column = step_of_columns(order, rows, gap), stride = columns + behind;
    const int64_t elements =
        rows > 0 && columns > 0 ? (rows - 1) * row + (columns - 1) * column + 1 : 0;
    struct guarded_buffer src = guarded_new((size_t)elements);
    struct guarded_buffer dst = guarded_new((size_t)(rows * stride));

    snprintf(current, sizeof current, "%s order=%d %d x %d\n", table->name, (int)order, (int)rows,
             (int)columns);
    for (int64_t i = 0; i < elements; i++) {
        ((int8_t *)src.data)[i] = value_of(i);
    }
    table->kernels->gather(
        &(struct gqa__integer_gather){dst.data, stride, src.data, row, column, rows, columns});
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t c = 0; c < stride; c++) {
            const int8_t want = c < columns ? value_of(r * row + c * column) : 0;
            if (((int8_t *)dst.data)[r * stride + c] != want) {
                fail_msg("%svalue %d of row %d: %d, not %d", current, (int)c, (int)r,
                         (int)((int8_t *)dst.data)[r * stride + c], (int)want);
            }
        }
    }
    assert_true(guarded_free(&src) && guarded_free(&dst));
}

static void every_form(void **unused)
{
    static const int32_t rows[] = {0, 1, 15, 16, 17, 48, 256};
    static const int32_t columns[] = {1, 8, 31, 32, 33, 48, 63, 64, 65, 80, 96, 127, 128, 200, 512};
    const int32_t forms = 7 * 15 * ORDERS;
    struct integer_table tables[MOST_INTEGER_TABLES];
    const int32_t n = list_integer_tables(tables);

    (void)unused;
    for (int32_t i = 0; i < n; i++) {
        for (int32_t form = 0; form < forms; form++) {
            run_case(&tables[i], (enum order)(form % ORDERS), rows[form / ORDERS % 7],
                     columns[form / ORDERS / 7]);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(every_form)};

    guarded_report(current);
    return run_test_program(argc, argv, tests, sizeof tests / sizeof tests[0], NULL, NULL);
}
