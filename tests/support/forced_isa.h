/* SPDX-License-Identifier: Apache-2.0 */
/* forced_isa.h - tests under a forced kernel set.
 *
 * The suite may run with GQA_ISA set, so that every layer whose config.isa is AUTO gets that kernel
 * set: gqa_create does not read the environment, but the test programs' calls of it go through
 * forced_isa_create.c, which does. A set that does not serve some numerics makes gqa_create refuse
 * layers of them, as it should (test_select); there is nothing to test on those, and a test skips
 * them.
 */
#ifndef TEST_FORCED_ISA_H
#define TEST_FORCED_ISA_H

#include <stdbool.h>

#include "gqa/gqa.h"

/* True, and a line that says so, if GQA_ISA forces a kernel set that this machine runs but that
 * does not serve these numerics. False for a GQA_ISA that names none of this machine: that must
 * fail. */
bool forced_isa_refuses(gqa_numerics numerics);

/* Then the running test ends here, skipped, if the config leaves the kernel set to GQA_ISA. */
void skip_refused(const gqa_config *config);
void skip_refused_numerics(gqa_numerics numerics);

/* Does gqa_create mind GQA_ISA in this program? False where the linker cannot replace it. */
bool create_is_replaced(void);

/* The library's own gqa_create, whatever GQA_ISA says. */
gqa_status create_unforced(gqa_layer **out, const gqa_config *config, const gqa_weights *weights,
                           const gqa_runtime *runtime, gqa_error *err);

#endif
