/* config.c - the public face of src/config. */
#include "config/config.h"

void gqa_config_init_sized(gqa_config *config, size_t size)
{
    gqa__config_init(config, size);
}

gqa_status gqa_config_check(const gqa_config *config, gqa_error *err)
{
    gqa_config own;
    gqa_status status;

    status = gqa__config_import(config, &own, err);
    return status == GQA_OK ? gqa__config_check(&own, err) : status;
}
