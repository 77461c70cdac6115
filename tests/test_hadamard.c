/* SPDX-License-Identifier: Apache-2.0 */
/* test_hadamard.c - the rotation of rows (base/hadamard.h): its bits against support/stored_row.h,
 * its values against the matrix in double, each dim from 1 to 512, with and without lanes.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hadamard.h"
#include "support/oracle.h"
#include "support/program.h"
#include "support/random.h"
#include "support/stored_row.h"

enum { MOST = 512, LANES = 19 };

/* Plain numbers, and now and then a zero of either sign, a denormal or a large one. */
static void draw(float *x, int n, uint64_t *state)
{
    static const float odd[] = {0.0f, -0.0f, 0x1p-149f, -0x1.8p-130f, 0x1p100f};
    for (int d = 0; d < n; d++) {
        x[d] = random_float(state);
        x[d] = random_u32(state) % 50 == 0 ? odd[random_u32(state) % 5] : x[d];
    }
}

static void bits_are_those_of_the_rule(void **state)
{
    uint64_t random = 1;
    (void)state;
    for (int n = 1; n <= MOST; n++) {
        float x[MOST], want[MOST];
        draw(x, n, &random);
        memcpy(want, x, sizeof want);
        stored_rotate(want, n);
        gqa__hadamard(x, n, 1);
        assert_memory_equal(x, want, (size_t)n * sizeof *x);
    }
}

/* A lane's bits are those of the row alone, whatever its neighbours hold. */
static void a_lane_is_a_row(void **state)
{
    static float x[MOST][LANES], row[LANES][MOST];
    uint64_t random = 2;
    (void)state;
    for (int n = 1; n <= MOST; n += n < 70 ? 1 : 13) {
        for (int lanes = 1; lanes <= LANES; lanes += 3) {
            float *const at = &x[0][0]; /* [n][lanes] */
            for (int r = 0; r < lanes; r++) {
                draw(row[r], n, &random);
                row[r][0] = r == 2 ? NAN : row[r][0];
                for (int d = 0; d < n; d++) {
                    at[d * lanes + r] = row[r][d];
                }
            }
            gqa__hadamard(at, n, lanes);
            for (int r = 0; r < lanes; r++) {
                gqa__hadamard(row[r], n, 1);
                for (int d = 0; d < n && r != 2; d++) {
                    assert_memory_equal(&at[d * lanes + r], &row[r][d], sizeof(float));
                }
            }
        }
    }
}

/* Within the bound that support/oracle_num.c derives; and twice gives back what was there, within
 * twice that. */
static void values_are_those_of_the_matrix(void **state)
{
    uint64_t random = 3;
    (void)state;
    for (int n = 1; n <= MOST; n++) {
        float x[MOST], y[MOST];
        oracle_num want[MOST];
        random_floats(&random, x, n, 3.0f);
        for (int d = 0; d < n; d++) {
            y[d] = x[d];
            want[d] = (oracle_num){(double)x[d], 0.0};
        }
        gqa__hadamard(y, n, 1);
        oracle_rotate(want, n);
        for (int d = 0; d < n; d++) {
            assert_true(fabs((double)y[d] - want[d].v) <= want[d].e);
        }
        gqa__hadamard(y, n, 1);
        oracle_rotate(want, n);
        for (int d = 0; d < n; d++) {
            assert_true(fabs((double)x[d] - want[d].v) <= 1e-12); /* H H = 1, by double */
            assert_true(fabs((double)y[d] - (double)x[d]) <= want[d].e + 1e-12);
        }
    }
}

/* What is in one element alone is in all of its block with one size, to the bit, and comes back
 * without leaving anything elsewhere: sums of equal numbers are exact. */
static void one_element_is_spread_evenly(void **state)
{
    static const int dims[] = {8, 9, 20, 64, 80, 96, 128, 129, 256, 512};
    (void)state;
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        for (int at = 0; at < dims[i]; at++) {
            float x[MOST] = {0};
            x[at] = 3.7f;
            gqa__hadamard(x, dims[i], 1);
            int spread = 0;
            for (int d = 0; d < dims[i]; d++) {
                spread += x[d] != 0.0f;
                assert_true(x[d] == 0.0f || fabsf(x[d]) == fabsf(x[at]));
            }
            int first = 0, block = 0; /* that the element is in */
            for (; first + block <= at;) {
                first += block;
                block = 1 << ilogb((double)(dims[i] - first));
            }
            assert_int_equal(spread, block);
            gqa__hadamard(x, dims[i], 1);
            for (int d = 0; d < dims[i]; d++) {
                assert_true(d == at ? fabsf(x[d] - 3.7f) <= 3.7f * 0x1p-22f : x[d] == 0.0f);
            }
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_are_those_of_the_rule),
        cmocka_unit_test(a_lane_is_a_row),
        cmocka_unit_test(values_are_those_of_the_matrix),
        cmocka_unit_test(one_element_is_spread_evenly),
    };
    return RUN_TESTS(argc, argv, tests);
}
