/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - the public face of src/config. */
#include "config/config.h"
#include "base/fpmode.h"

void gqa_config_init_sized(gqa_config *config, size_t size)
{
    gqa__config_init(config, size);
}

gqa_status gqa_config_check(const gqa_config *config, gqa_error *err)
{
    gqa_config own;
    gqa_status status = gqa__config_import(config, &own, err);

    if (status == GQA_OK) {
        const gqa__fpmode saved = gqa__fpmode_enter();
        status = gqa__config_check(&own, err);
        gqa__fpmode_leave(saved);
    }
    return status;
}
